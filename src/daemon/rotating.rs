//! Rotations between passes: what is due reaches the plan, what has ended reaches the log, and a restart knows of both.

use jiff::Timestamp;

use crate::desired::{Desired, InstanceName, NodeName, PoolName};
use crate::error::chain;
use crate::observe::Observed;
use crate::plan::{Mandate, Suspended};
use crate::reconcile::budget::{Occasion, SharedBudget};
use crate::reconcile::memory::{Memory, MemoryError};
use crate::rotation::{Answer, Ended, Rotations};
use crate::sys::clock;

/// The rotations, and where they are written down.
pub(super) struct Rotating {
    rotations: Rotations,
    memory: Memory,
    /// Up to which of its changes it is written.
    written: u64,
    /// Who owed a rotation when the daemon before ended; told once.
    resumed: Vec<InstanceName>,
}

/// What the audit trail is told of rotations, beyond the steps of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// One that was ordered or under way goes on after a restart.
    GoesOn,
    /// One that was ordered or under way is dropped: nobody wants the node any more.
    Dropped,
}

/// Why an order to rotate is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRotated {
    /// No revision is in force.
    #[error("no revision is in force yet")]
    Nothing,
    /// Nothing has that name.
    #[error("there is no node and no pool `{name}`; the pools are: {pools}")]
    Unknown { name: String, pools: String },
    /// It is left alone.
    #[error("{what} is suspended: `exitpool resume` ends that")]
    Suspended { what: String },
    /// It would be forgotten by a restart.
    #[error("the order is not taken, since a restart would forget it")]
    Forgettable(#[from] MemoryError),
}

impl Rotating {
    pub(super) fn of(memory: Memory) -> Self {
        let mut rotations = memory.rotations();
        let resumed = rotations.resume();
        Self { rotations, memory, written: 0, resumed }
    }

    /// What has become of the rotations.
    pub(super) fn rotations(&self) -> &Rotations {
        &self.rotations
    }

    /// Begins what is due, and tells the plan.
    pub(super) fn instruct(&mut self, desired: &Desired, mut mandate: Mandate, budget: &SharedBudget) -> Mandate {
        let (suspended, now) = (mandate.suspended.clone(), clock::steady());
        let may_begin = |name: &InstanceName, before| budget.lock().admit(name, Occasion::Renewal { before }, now);
        self.rotations.begin(desired, |name| suspended.covers(name.pool()), may_begin, now);
        // Before tor hears of it: whoever takes up what has begun has to know which exit was to be left.
        self.write_what_is_new();
        self.rotations.instruct(&mut mandate);
        mandate
    }

    /// Takes in what a pass has seen, and writes down what is new; says what the audit trail has to be told.
    pub(super) fn follow(&mut self, desired: &Desired, observed: &Observed) -> Vec<(InstanceName, Told)> {
        let mut told: Vec<_> = std::mem::take(&mut self.resumed).into_iter().map(|it| (it, Told::GoesOn)).collect();
        for (name, ended) in self.rotations.follow(desired, observed, clock::steady()) {
            match ended {
                Ended::Elsewhere => tracing::debug!(node = %name, "rotated"),
                Ended::AtTheSame => tracing::warn!(node = %name, "rotated to the same exit: no other one fits"),
                Ended::Unread => tracing::warn!(node = %name, "not rotated: no new exit was read in time"),
                Ended::Gone => told.push((name, Told::Dropped)),
            }
        }
        self.write_what_is_new();
        told.retain(|(name, told)| *told == Told::Dropped || self.rotations.knows(name));
        for (name, told) in &told {
            tracing::info!(node = %name, "{}: {}", told.action(), told.cause());
        }
        told
    }

    fn write_what_is_new(&mut self) {
        let changes = self.rotations.changes();
        if changes == self.written {
            return;
        }
        match self.memory.remember_rotations(&self.rotations) {
            Ok(()) => self.written = changes,
            Err(error) => {
                tracing::warn!(error = chain(&error), "a restart would not know which nodes have rotated, and when");
            }
        }
    }

    /// When to look again for the sake of a rotation.
    pub(super) fn next(&self, desired: &Desired, now: Timestamp) -> Option<Timestamp> {
        self.rotations.next(desired, now)
    }

    /// Takes an order to rotate nodes and pools, or all where none is named; says what becomes of it.
    pub(super) fn order(
        &mut self,
        desired: Option<&Desired>,
        suspended: &Suspended,
        names: &[String],
        budget: &SharedBudget,
    ) -> Result<Vec<String>, NotRotated> {
        let desired = desired.ok_or(NotRotated::Nothing)?;
        let instances = named(desired, names)?;
        let is_left_alone = |name: &InstanceName| suspended.covers(name.pool());
        if let Some(alone) = instances.iter().find(|name| is_left_alone(name)).filter(|_| !names.is_empty()) {
            return Err(NotRotated::Suspended { what: format!("node {alone}") });
        }
        if *suspended == Suspended::Everything {
            return Err(NotRotated::Suspended { what: "the host".to_owned() });
        }
        let (mut rotations, now) = (self.rotations.clone(), clock::steady());
        let due = instances.into_iter().filter(|name| !is_left_alone(name));
        // The next pass asks in the same way; until then it is a forecast.
        let mut forecast = budget.lock().clone();
        let mut answer = |name: &InstanceName| {
            let (answer, before) = (rotations.order(name, now), rotations.renewals(name));
            let begins = (answer == Answer::Begins).then_some(Occasion::Renewal { before });
            let paced = begins.and_then(|occasion| forecast.admit(name, occasion, now).err());
            paced.map_or_else(|| sentence(name, answer), |paced| format!("{name}: its rotation is {paced}"))
        };
        let said = due.map(|name| answer(&name)).collect();
        let changes = rotations.changes();
        if changes != self.written {
            self.memory.remember_rotations(&rotations)?;
        }
        (self.rotations, self.written) = (rotations, changes);
        Ok(said)
    }

    /// Forgets what was written down: the host is down.
    pub(super) fn forget(&mut self) {
        (self.rotations, self.written) = (Rotations::default(), 0);
    }
}

impl Told {
    /// What is done.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::GoesOn => "its rotation, which was ordered or under way, goes on",
            Self::Dropped => "its rotation, which was ordered or under way, is dropped",
        }
    }

    /// Why.
    pub(super) fn cause(self) -> &'static str {
        match self {
            Self::GoesOn => "the daemon was started again",
            Self::Dropped => "the node is not desired any more",
        }
    }
}

/// The instances that serve the nodes and pools of these names; all of them where there is no name.
fn named(desired: &Desired, names: &[String]) -> Result<Vec<InstanceName>, NotRotated> {
    let instances = desired.instances();
    let mut found: Vec<InstanceName> = Vec::new();
    for name in names {
        let (node, pool) = (name.parse::<NodeName>().ok(), name.parse::<PoolName>().ok());
        let is_meant = |instance: &&crate::desired::Instance| {
            let has_node = instance.nodes.iter().any(|known| node.as_ref() == Some(&known.name));
            has_node || pool.as_ref() == Some(&instance.pool)
        };
        let meant = instances.iter().filter(is_meant).map(|instance| instance.name.clone());
        let before = found.len();
        found.extend(meant);
        if found.len() == before {
            let pools: Vec<String> =
                desired.pools.iter().map(|pool| format!("{} ({} nodes)", pool.name, pool.size)).collect();
            return Err(NotRotated::Unknown { name: name.clone(), pools: pools.join(", ") });
        }
    }
    if names.is_empty() {
        found.extend(instances.into_iter().map(|instance| instance.name));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Says what becomes of an order.
fn sentence(name: &InstanceName, answer: Answer) -> String {
    match answer {
        Answer::Begins => format!("{name}: its rotation begins"),
        Answer::Waits(pause) => {
            let seconds = pause.as_secs_f64().ceil();
            format!(
                "{name}: its rotation begins in {seconds} s, since tor changes circuits at most every 10 s (NEWNYM)"
            )
        }
        Answer::Queued => format!("{name}: its rotation begins when others have ended"),
        Answer::UnderWay => format!("{name}: it rotates already"),
        Answer::NotServing => format!("{name}: its rotation begins when it has bootstrapped"),
    }
}
