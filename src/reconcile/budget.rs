//! The circuits that a host begins, as its guard relays count them. Pure: the clock is the caller's.
//!
//! To a guard relay all tors of a host are one client, and one that begins circuits too fast is refused all of them for
//! an hour or two. How fast is too fast is in the consensus. So one budget is kept for the whole host, whatever it is that
//! needs new circuits: a start, a rotation, a repair, a probe.
//!
//! # Guarantees
//!
//! - At a guard relay that counts, what was let begin within any [`window`](CircuitLimits::window) is no more circuits
//!   than [`share`](CircuitLimits::share) allows, or those of one instance.
//! - Where the consensus sets no limit, at a guard relay that too few tors of the host use to be counted, and where an
//!   instance's guard relays are not known yet, nobody waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::desired::{Fingerprint, InstanceName};
use crate::observe::{CircuitLimits, Observed};
use crate::plan::{Action, Object, Step};
use crate::sys::clock;

/// The same occasion of one instance within so long is one: a rotation takes two steps, a start three.
const ONE_OCCASION: Duration = Duration::from_secs(15);

/// Why an instance begins circuits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// Its tor starts, or joins the network anew.
    Start,
    /// It is told to use new ones.
    Renewal,
    /// It is probed.
    Probe,
}

/// Whether circuits may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// They may, and are taken from the budget.
    Begin,
    /// They are those that may have begun already.
    GoOn,
    /// They have to wait.
    Wait,
}

/// The circuits that were begun lately.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    limits: Option<CircuitLimits>,
    /// The guard relays of each instance, also while it is down: a tor keeps them.
    guard_relays: BTreeMap<InstanceName, BTreeSet<Fingerprint>>,
    spent: VecDeque<Spent>,
    /// Whether somebody waits for a place; whoever does asks again once one is free.
    is_waited_for: bool,
}

/// Circuits that an instance was let begin.
#[derive(Debug, Clone)]
struct Spent {
    at: Timestamp,
    name: InstanceName,
    occasion: Occasion,
}

impl Occasion {
    /// How many circuits a tor begins: six after a start, and after it was told to use new ones (measured on 0.4.9.11:
    /// three for exits, three of its own, about one a second); one for a probe.
    pub fn circuits(self) -> u32 {
        match self {
            Self::Start | Self::Renewal => 6,
            Self::Probe => 1,
        }
    }

    /// What a step has a tor begin circuits for, and can wait: what closes something, or moves it elsewhere, never does.
    fn of(action: &Action) -> Option<Self> {
        match action {
            Action::StartInstance { .. }
            | Action::ReplaceInstance { .. }
            | Action::RestartInstance { .. }
            | Action::ReconnectInstance { .. } => Some(Self::Start),
            Action::NewCircuits => Some(Self::Renewal),
            _ => None,
        }
    }
}

/// The one budget of a host; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SharedBudget(Arc<Mutex<Budget>>);

impl Budget {
    /// Takes in the limits of the newest consensus, and the guard relays of each instance.
    pub fn follow(&mut self, observed: &Observed, now: Timestamp) {
        if let Some(relays) = observed.relays.present() {
            self.limits = relays.circuit_limits;
        }
        self.guard_relays.retain(|name, _| observed.instances.contains_key(name));
        for (name, instance) in &observed.instances {
            let relays = instance.control.present().map(|control| &control.guard_relays).filter(|it| !it.is_empty());
            if let Some(relays) = relays {
                let relays = relays.iter().map(|relay| relay.fingerprint).collect();
                self.guard_relays.insert(name.clone(), relays);
            }
        }
        self.forget(now);
    }

    /// Whether an instance may begin circuits now.
    pub fn ask(&mut self, name: &InstanceName, occasion: Occasion, now: Timestamp) -> Word {
        self.forget(now);
        let is_this =
            |spent: &Spent| spent.name == *name && spent.occasion == occasion && since(spent.at, now) < ONE_OCCASION;
        if occasion != Occasion::Probe && self.spent.iter().any(is_this) {
            return Word::GoOn;
        }
        let mut relays = self.guard_relays.get(name).into_iter().flatten();
        if !relays.all(|relay| self.has_room(*relay, occasion.circuits())) {
            self.is_waited_for = true;
            return Word::Wait;
        }
        self.spent.push_back(Spent { at: now, name: name.clone(), occasion });
        Word::Begin
    }

    /// Whether an instance may begin circuits now, or go on with them.
    pub fn lets_begin(&mut self, name: &InstanceName, occasion: Occasion, now: Timestamp) -> bool {
        self.ask(name, occasion, now) != Word::Wait
    }

    /// Whether a step may be carried out now.
    pub fn lets(&mut self, step: &Step, now: Timestamp) -> bool {
        match (&step.object, Occasion::of(&step.action)) {
            (Object::Instance(name), Some(occasion)) => self.lets_begin(name, occasion, now),
            _ => true,
        }
    }

    /// When somebody who waits may go on.
    pub fn next(&self) -> Option<Timestamp> {
        let window = self.limits?.window().max(ONE_OCCASION);
        self.spent.front().filter(|_| self.is_waited_for).map(|oldest| oldest.at + window)
    }

    fn has_room(&self, relay: Fingerprint, circuits: u32) -> bool {
        let Some(limits) = self.limits else { return true };
        let uses = |name: &InstanceName| self.guard_relays.get(name).is_some_and(|relays| relays.contains(&relay));
        let tors = u32::try_from(self.guard_relays.keys().filter(|name| uses(name)).count()).unwrap_or(u32::MAX);
        let spent: u32 = self.spent.iter().filter(|spent| uses(&spent.name)).map(|it| it.occasion.circuits()).sum();
        // Where one alone is too much, it waits for the others all the same, and then for nobody.
        tors < limits.connections || spent == 0 || spent + circuits <= limits.share(tors)
    }

    fn forget(&mut self, now: Timestamp) {
        let window = self.limits.map_or(ONE_OCCASION, |limits| limits.window().max(ONE_OCCASION));
        let before = self.spent.len();
        self.spent.retain(|spent| since(spent.at, now) < window);
        self.is_waited_for &= self.spent.len() == before;
    }
}

impl SharedBudget {
    /// The budget, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Budget> {
        // It is whole between any two statements, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says of an instance whether it may be probed now.
    pub fn probes(&self) -> impl Fn(&InstanceName) -> bool + Send + Sync + 'static {
        let budget = self.clone();
        move |name| budget.lock().lets_begin(name, Occasion::Probe, clock::steady())
    }
}

fn since(earlier: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(earlier).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observe::{Control, GuardRelay, Instance, Observation};
    use crate::tor::relays::Relays;

    /// What the Tor network's consensus says.
    const USUAL: CircuitLimits = CircuitLimits { connections: 2, burst: 60, rate: 2 };

    fn name(number: usize) -> InstanceName {
        format!("eu-{number}").parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// A budget of instances with these guard relays.
    fn budget(limits: Option<CircuitLimits>, relays: &[u8]) -> Budget {
        let instance = |relay: &u8| {
            let relay = GuardRelay { fingerprint: Fingerprint::from_bytes([*relay; 20]), nickname: String::new() };
            let control = Control { guard_relays: [relay].into(), ..Control::default() };
            Instance { control: Observation::Present(Arc::new(control)), ..Instance::default() }
        };
        let mut known = Relays::new("2026-03-01 12:00:00".to_owned(), BTreeMap::new());
        known.circuit_limits = limits;
        let instances = relays.iter().enumerate().map(|(number, relay)| (name(number), instance(relay))).collect();
        let relays = Observation::Present(Arc::new(known));
        let mut budget = Budget::default();
        budget.follow(&Observed { instances, relays, ..Observed::default() }, at(0));
        budget
    }

    #[test]
    fn a_crowd_waits_at_its_guard_relay_and_nobody_else_does() {
        let mut relays = vec![1; 12];
        relays.push(2);
        let mut crowd = budget(Some(USUAL), &relays);
        let words: Vec<Word> = (0..13).map(|number| crowd.ask(&name(number), Occasion::Start, at(0))).collect();
        let begin = words.iter().filter(|word| **word == Word::Begin).count();
        assert_eq!(
            begin, 3,
            "60 less 12 for consumers and 36 that twelve tors begin by themselves; and who has a relay for itself"
        );
        assert_eq!((words[12], words[2]), (Word::Begin, Word::Wait));
        assert_eq!(crowd.next(), Some(at(30)));
        assert_eq!(crowd.ask(&name(0), Occasion::Start, at(10)), Word::GoOn);
        assert_eq!(crowd.ask(&name(0), Occasion::Renewal, at(10)), Word::Wait, "that is something else");
        assert_eq!(crowd.ask(&name(2), Occasion::Start, at(29)), Word::Wait);
        assert_eq!(crowd.ask(&name(2), Occasion::Start, at(30)), Word::Begin);
    }

    #[test]
    fn without_a_limit_and_without_a_crowd_nobody_waits() {
        let tight = CircuitLimits { connections: 101, burst: 6, rate: 1 };
        for limits in [None, Some(tight)] {
            let mut free = budget(limits, &[1; 100]);
            assert!((0..100).all(|number| free.lets_begin(&name(number), Occasion::Renewal, at(0))));
            assert_eq!(free.next(), None);
        }
    }

    #[test]
    fn a_limit_that_no_start_keeps_lets_one_begin_at_a_time() {
        let mut tight = budget(Some(CircuitLimits { connections: 2, burst: 3, rate: 1 }), &[1; 3]);
        let ask =
            |tight: &mut Budget, second| [0, 1].map(|number| tight.ask(&name(number), Occasion::Start, at(second)));
        assert_eq!(ask(&mut tight, 0), [Word::Begin, Word::Wait]);
        assert_eq!(ask(&mut tight, 14), [Word::GoOn, Word::Wait]);
        assert_eq!(ask(&mut tight, 15), [Word::Begin, Word::Wait]);
    }

    #[test]
    fn an_instance_is_not_made_to_wait_for_a_guard_relay_that_is_not_known() {
        let mut crowd = budget(Some(USUAL), &[1; 12]);
        assert!((100..200).all(|number| crowd.lets_begin(&name(number), Occasion::Start, at(0))));
    }

    proptest! {
        #[test]
        fn no_guard_relay_gets_more_circuits_than_its_share(
            relays in proptest::collection::vec(0u8..4, 1..40),
            asked in proptest::collection::vec((0usize..40, 0usize..3, 0i64..4), 1..400),
        ) {
            let mut budget = budget(Some(USUAL), &relays);
            let mut begun: Vec<(i64, u8, u32)> = Vec::new();
            let mut second = 0;
            for (which, occasion, pause) in asked {
                second += pause;
                let which = which % relays.len();
                let occasion = [Occasion::Start, Occasion::Renewal, Occasion::Probe][occasion];
                if budget.ask(&name(which), occasion, at(second)) == Word::Begin {
                    begun.push((second, relays[which], occasion.circuits()));
                }
                let tors = relays.iter().filter(|relay| **relay == relays[which]).count();
                let lately = begun.iter().filter(|(at, relay, _)| *relay == relays[which] && second - at < 30);
                let sum: u32 = lately.map(|(.., circuits)| circuits).sum();
                // One at a time begins where the share is less than that.
                let most = USUAL.share(u32::try_from(tors).unwrap()).max(Occasion::Start.circuits());
                prop_assert!(tors < 2 || sum <= most, "{sum} circuits within 30 s at one guard relay");
            }
        }

        /// Whoever waits is let begin at the time that is promised, or somebody who asked before has taken the place.
        #[test]
        fn the_budget_is_free_again_after_a_window(relays in proptest::collection::vec(0u8..2, 2..40)) {
            let mut budget = budget(Some(USUAL), &relays);
            let mut waiting: Vec<usize> = (0..relays.len()).collect();
            let mut rounds = 0;
            while !waiting.is_empty() {
                let now = at(rounds * 30);
                let before = waiting.len();
                waiting.retain(|number| budget.ask(&name(*number), Occasion::Start, now) == Word::Wait);
                prop_assert!(waiting.len() < before, "somebody begins in each window");
                rounds += 1;
            }
            prop_assert!(rounds <= i64::try_from(relays.len()).unwrap());
        }
    }
}
