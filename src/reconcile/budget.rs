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
//!   instance's guard relays are not known, nobody waits.
//! - What takes several steps, as a rotation does, takes its circuits once.
//! - Circuits count from when they begin, and not from the step that leads to them: those of a start while the tor
//!   bootstraps, however long that takes, and those of a rotation until tor uses new ones.

mod doors;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::pacing::is_under_way;
use crate::desired::{Desired, InstanceName};
use crate::observe::{CircuitLimits, Observed};
use crate::plan::{Action, Paced};
use crate::sys::clock;
use crate::tor::options::Entrance;
use doors::Doors;

/// What the Tor network's consensus says: it counts until a consensus is known.
const USUAL: CircuitLimits = CircuitLimits { connections: 2, burst: 60, rate: 2 };

/// Why an instance begins circuits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// Its tor starts, or joins the network anew.
    Start,
    /// It is told to use new ones, and had done so this often before: that tells one time from the next.
    Renewal {
        /// [`Renewal::done`](crate::observe::Renewal::done) at its beginning.
        before: u64,
    },
    /// It is probed.
    Probe,
}

/// Whether circuits may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// They may, and are taken from the budget.
    Begin,
    /// They are those that may have begun already.
    GoOn,
    /// They have to wait.
    Wait(Paced),
}

/// The circuits that were begun lately.
#[derive(Debug, Clone)]
pub struct Budget {
    limits: Option<CircuitLimits>,
    doors: Doors,
    spent: Vec<Spent>,
    /// Whether somebody waits for a place; whoever does asks again once one is free.
    is_waited_for: bool,
}

/// Circuits that an instance was let begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    at: Timestamp,
    name: InstanceName,
    occasion: Occasion,
    /// Whether its circuits have not all begun, as far as is known.
    is_open: bool,
}

impl Occasion {
    /// How many circuits a tor begins: six after a start, and after it was told to use new ones (measured on 0.4.9.11:
    /// three for exits, three of its own, about one a second); one for a probe.
    pub fn circuits(self) -> u32 {
        match self {
            Self::Start | Self::Renewal { .. } => 6,
            Self::Probe => 1,
        }
    }

    /// What a step has a tor begin circuits for, and can wait: what closes something, or moves it elsewhere, never does.
    /// `before` says how often the tor has used new circuits, where it is to do so.
    pub fn of(action: &Action, before: Option<u64>) -> Option<Self> {
        match action {
            Action::StartInstance { .. }
            | Action::ReplaceInstance { .. }
            | Action::RestartInstance { .. }
            | Action::ReconnectInstance { .. } => Some(Self::Start),
            Action::NewCircuits => before.map(|before| Self::Renewal { before }),
            _ => None,
        }
    }
}

/// The one budget of a host; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SharedBudget(Arc<Mutex<Budget>>);

impl Default for Budget {
    fn default() -> Self {
        Self { limits: Some(USUAL), doors: Doors::default(), spent: Vec::new(), is_waited_for: false }
    }
}

/// What a pass has seen of the instances, and is to do about them.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The wish.
    pub desired: &'a Desired,
    /// The world.
    pub observed: &'a Observed,
    /// The instances that are to use new circuits, as the mandate has them.
    pub renew: &'a BTreeMap<InstanceName, u64>,
    /// The instances whose bootstrap does not go on, for which nobody waits.
    pub stuck: &'a BTreeSet<&'a InstanceName>,
}

impl Spent {
    /// Whether this is another one, or the same at the same stage; when it was counted last does not matter.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        (&self.name, self.occasion, self.is_open) == (&other.name, other.occasion, other.is_open)
    }
}

impl Budget {
    /// What outlives the daemon: not the probes, which are few circuits and many occasions.
    pub fn kept(&self) -> Vec<Spent> {
        self.spent.iter().filter(|spent| spent.occasion != Occasion::Probe).cloned().collect()
    }

    /// Begins with what a daemon before has let begin; `moved` says when its times are.
    pub fn recall(spent: &[Spent], moved: impl Fn(Timestamp) -> Timestamp) -> Self {
        let spent = spent.iter().map(|spent| Spent { at: moved(spent.at), ..spent.clone() }).collect();
        Self { spent, ..Self::default() }
    }

    /// Takes in the limits of the newest consensus, the guard relays of each instance, and what has become of those that
    /// were let begin circuits.
    pub fn follow(&mut self, seen: &Seen<'_>, now: Timestamp) {
        if let Some(relays) = seen.observed.relays.present() {
            self.limits = relays.circuit_limits;
        }
        self.doors.follow(seen.desired, seen.observed);
        for spent in self.spent.iter_mut().filter(|spent| spent.is_open) {
            (spent.at, spent.is_open) = (now, seen.is_open(spent));
        }
        self.forget(now);
    }

    /// Whether an instance may begin circuits now.
    pub fn ask(&mut self, name: &InstanceName, occasion: Occasion, now: Timestamp) -> Word {
        self.forget(now);
        let is_this = |spent: &Spent| spent.is_open && spent.name == *name && spent.occasion == occasion;
        if matches!(occasion, Occasion::Renewal { .. }) && self.spent.iter().any(is_this) {
            return Word::GoOn;
        }
        let full = self.doors.of(name).find(|door| !self.has_room(*door, occasion.circuits()));
        if let Some(paced) = full.and_then(|door| self.paced(door)) {
            self.is_waited_for = true;
            return Word::Wait(paced);
        }
        let is_open = occasion != Occasion::Probe;
        self.spent.push(Spent { at: now, name: name.clone(), occasion, is_open });
        Word::Begin
    }

    /// Lets an instance begin circuits now, or go on with them; else says what they wait for.
    pub fn admit(&mut self, name: &InstanceName, occasion: Occasion, now: Timestamp) -> Result<(), Paced> {
        match self.ask(name, occasion, now) {
            Word::Begin | Word::GoOn => Ok(()),
            Word::Wait(paced) => Err(paced),
        }
    }

    /// When somebody who waits may go on.
    pub fn next(&self) -> Option<Timestamp> {
        let window = self.limits?.window();
        self.spent.iter().map(|spent| spent.at + window).min().filter(|_| self.is_waited_for)
    }

    fn has_room(&self, door: Entrance, circuits: u32) -> bool {
        let Some(limits) = self.limits else { return true };
        let tors = self.doors.users(door);
        let here = self.spent.iter().filter(|spent| self.doors.has(&spent.name, door));
        let spent: u32 = here.map(|spent| spent.occasion.circuits()).sum();
        // Where one alone is too much, it waits for the others all the same, and then for nobody.
        tors < limits.connections || spent == 0 || spent + circuits <= limits.share(tors)
    }

    /// What is waited for at a guard relay.
    fn paced(&self, door: Entrance) -> Option<Paced> {
        let limits = self.limits?;
        let circuits = limits.share(self.doors.users(door)).max(Occasion::Start.circuits());
        Some(Paced { relay: self.doors.told(door), circuits, seconds: limits.window().as_secs() })
    }

    fn forget(&mut self, now: Timestamp) {
        let before = self.spent.len();
        let window = self.limits.map_or(Duration::ZERO, CircuitLimits::window);
        self.spent.retain(|spent| spent.is_open || since(spent.at, now) < window);
        self.is_waited_for &= self.spent.len() == before;
    }
}

impl Seen<'_> {
    /// Whether circuits that were let begin may not all have begun.
    fn is_open(&self, spent: &Spent) -> bool {
        let Some(instance) = self.observed.instances.get(&spent.name) else { return false };
        match spent.occasion {
            Occasion::Start => is_under_way(instance) && !self.stuck.contains(&spent.name),
            Occasion::Renewal { before } => {
                let has_not = instance.control.present().is_some_and(|control| control.renewal.done <= before);
                has_not && self.renew.get(&spent.name) == Some(&before)
            }
            Occasion::Probe => false,
        }
    }
}

impl From<Budget> for SharedBudget {
    fn from(budget: Budget) -> Self {
        Self(Arc::new(Mutex::new(budget)))
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
        move |name| budget.lock().admit(name, Occasion::Probe, clock::steady()).is_ok()
    }
}

fn since(earlier: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(earlier).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
