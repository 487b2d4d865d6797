//! What the health of the instances asks of a plan: repairs, patience, and whose time is over. Judged in `health`, which
//! has the clock; here it is only what is to be heeded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use crate::desired::InstanceName;

/// What the health of the instances asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Care {
    /// The instances that are to be repaired now, and how.
    pub repairs: BTreeMap<InstanceName, Repair>,
    /// The instances that are not started again for now, since they end over and over.
    pub held_down: BTreeMap<InstanceName, HeldDown>,
    /// The instances whose connections have had `reconcile.drain_for`.
    pub drained: BTreeSet<InstanceName>,
    /// The instances that do not count as available: in trouble, or changed so lately that nobody can tell.
    pub unproven: BTreeSet<InstanceName>,
}

/// A repair of an instance that does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// What is tried.
    pub rung: Rung,
    /// What is wrong, in one sentence.
    pub why: String,
}

/// A rung of the ladder of repairs; each changes more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// New connections use new circuits.
    NewCircuits,
    /// The same, and its exit is left alone.
    AvoidExit,
    /// It leaves the network and joins it again, by its options; its process stays.
    Reconnect,
    /// Its process is started again.
    Restart,
    /// The same, without the directory cache that it had.
    RestartAfresh,
}

/// An instance that is not started again for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldDown {
    /// How often it was started again in a short time.
    pub restarts: u32,
    /// Until when.
    pub until: Timestamp,
}

impl Care {
    /// No care at all.
    pub const NONE: Self = Self {
        repairs: BTreeMap::new(),
        held_down: BTreeMap::new(),
        drained: BTreeSet::new(),
        unproven: BTreeSet::new(),
    };
}

impl Rung {
    /// Whether its process becomes another one.
    pub fn restarts(self) -> bool {
        matches!(self, Self::Restart | Self::RestartAfresh)
    }
}

impl fmt::Display for HeldDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { restarts, until } = self;
        write!(f, "held down until {until:.0}: it was started again {restarts} times and did not stay up")
    }
}
