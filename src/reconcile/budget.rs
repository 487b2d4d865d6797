//! The circuits that a host begins, as its guard relays count them. Pure: the clock is the caller's.
//!
//! To a guard relay all tors of a host are one client, and one that begins circuits too fast is refused all of them for
//! an hour or two. How fast is too fast is in the consensus. So one budget is kept for the whole host, whatever it is that
//! needs new circuits: a start, a rotation, a repair, a probe.
//!
//! # Guarantees
//!
//! - At a guard relay that counts, what was let go begins within any [`window`](CircuitLimits::window) no more circuits
//!   than [`share`](CircuitLimits::share) allows.
//! - Where the consensus sets no limit, and at a guard relay that too few tors of the host use to be counted, nobody waits.
//! - What is done to one instance within a few seconds is one thing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::desired::{Fingerprint, InstanceName};
use crate::observe::{CircuitLimits, Observed};
use crate::plan::{Action, Object, Step};

/// So many circuits a tor begins after a start, and after it was told to use new ones (measured on 0.4.9.11: three for
/// exits, three of its own, about one a second).
pub const OF_A_TOR: u32 = 6;

/// A probe begins one.
pub const OF_A_PROBE: u32 = 1;

/// What is done to one instance within so long is one thing: a rotation takes two steps, a start three.
const ONE_THING: Duration = Duration::from_secs(15);

/// The circuits that were begun lately.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    limits: Option<CircuitLimits>,
    /// The guard relays of each instance, also while it is down: a tor keeps them.
    guard_relays: BTreeMap<InstanceName, BTreeSet<Fingerprint>>,
    spent: VecDeque<Spent>,
    /// Whether somebody waits.
    is_waited_for: bool,
}

/// Circuits that an instance was let begin.
#[derive(Debug, Clone)]
struct Spent {
    at: Timestamp,
    name: InstanceName,
    circuits: u32,
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
        self.is_waited_for = false;
    }

    /// Whether an instance may begin so many circuits now; what may is taken.
    pub fn take(&mut self, name: &InstanceName, circuits: u32, now: Timestamp) -> bool {
        self.forget(now);
        let is_this =
            |spent: &Spent| spent.name == *name && spent.circuits >= circuits && since(spent.at, now) < ONE_THING;
        if self.limits.is_none() || self.spent.iter().any(is_this) {
            return true;
        }
        let fits = self.guard_relays.get(name).into_iter().flatten().all(|relay| self.has_room(*relay, circuits));
        if fits {
            self.spent.push_back(Spent { at: now, name: name.clone(), circuits });
        }
        self.is_waited_for |= !fits;
        fits
    }

    /// Whether a step may be carried out now.
    pub fn lets(&mut self, step: &Step, now: Timestamp) -> bool {
        match &step.object {
            Object::Instance(name) if begins_circuits(&step.action) => self.take(name, OF_A_TOR, now),
            _ => true,
        }
    }

    /// When somebody who waits may go on.
    pub fn next(&self) -> Option<Timestamp> {
        let window = self.limits?.window();
        self.spent.front().filter(|_| self.is_waited_for).map(|oldest| oldest.at + window)
    }

    fn has_room(&self, relay: Fingerprint, circuits: u32) -> bool {
        let Some(limits) = self.limits else { return true };
        let uses = |name: &InstanceName| self.guard_relays.get(name).is_some_and(|relays| relays.contains(&relay));
        let tors = self.guard_relays.keys().filter(|name| uses(name)).count();
        let spent: u32 = self.spent.iter().filter(|spent| uses(&spent.name)).map(|spent| spent.circuits).sum();
        tors < limits.connections as usize || spent + circuits <= limits.share()
    }

    fn forget(&mut self, now: Timestamp) {
        let window = self.limits.map_or(ONE_THING, |limits| limits.window());
        self.spent.retain(|spent| since(spent.at, now) < window);
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
        move |name| budget.lock().take(name, OF_A_PROBE, Timestamp::now())
    }
}

/// Whether a step has a tor begin circuits, and can wait: what closes something, or moves it elsewhere, never does.
fn begins_circuits(action: &Action) -> bool {
    matches!(
        action,
        Action::StartInstance { .. }
            | Action::ReplaceInstance { .. }
            | Action::RestartInstance { .. }
            | Action::ReconnectInstance { .. }
            | Action::NewCircuits
    )
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
            Instance { control: Observation::Present(control), ..Instance::default() }
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
        let goes: Vec<bool> = (0..13).map(|number| crowd.take(&name(number), OF_A_TOR, at(0))).collect();
        assert_eq!(goes.iter().filter(|goes| **goes).count(), 9, "48 of 60 circuits, and who has a relay for itself");
        assert!(goes[12] && !goes[8]);
        assert_eq!(crowd.next(), Some(at(30)));
        assert!(crowd.take(&name(0), OF_A_TOR, at(10)), "it goes on with what it has begun");
        assert!(!crowd.take(&name(8), OF_A_TOR, at(29)));
        assert!(crowd.take(&name(8), OF_A_TOR, at(30)));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut free = budget(None, &[1; 100]);
        assert!((0..100).all(|number| free.take(&name(number), OF_A_TOR, at(0))));
        assert_eq!(free.next(), None);
    }

    proptest! {
        #[test]
        fn no_guard_relay_gets_more_circuits_than_it_allows(
            relays in proptest::collection::vec(0u8..4, 1..40),
            asked in proptest::collection::vec((0usize..40, any::<bool>(), 0i64..4), 1..400),
        ) {
            let mut budget = budget(Some(USUAL), &relays);
            let mut begun: Vec<(i64, u8, u32)> = Vec::new();
            let mut second = 0;
            for (which, is_probe, pause) in asked {
                second += pause;
                let which = which % relays.len();
                let before = budget.spent.len();
                let circuits = if is_probe { OF_A_PROBE } else { OF_A_TOR };
                budget.forget(at(second));
                let kept = budget.spent.len().min(before);
                if budget.take(&name(which), circuits, at(second)) && budget.spent.len() > kept {
                    begun.push((second, relays[which], circuits));
                }
                let counts = relays.iter().filter(|relay| **relay == relays[which]).count() >= 2;
                let lately = begun.iter().filter(|(at, relay, _)| *relay == relays[which] && second - at < 30);
                let sum: u32 = lately.map(|(.., circuits)| circuits).sum();
                prop_assert!(!counts || sum <= USUAL.burst, "{sum} circuits within 30 s at one guard relay");
            }
        }
    }
}
