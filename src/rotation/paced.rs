//! Rotations that wait for their guard relays, which would take their circuits for too many.

use std::collections::BTreeSet;

use super::{Entry, Owed, Rotations, Seen};
use crate::desired::InstanceName;
use crate::plan::Paced;

impl Rotations {
    /// What the rotation of an instance waits for that is due, where its guard relays would take its circuits for too many.
    pub fn paced(&self, name: &InstanceName) -> Option<&Paced> {
        self.instances.get(name).and_then(|entry| entry.live.paced.as_ref())
    }

    /// What all the rotations wait for that are due and have to.
    pub fn all_paced(&self) -> impl Iterator<Item = &Paced> {
        self.instances.values().filter_map(|entry| entry.live.paced.as_ref())
    }

    /// How often an instance has used new circuits, as far as is known.
    pub fn renewals(&self, name: &InstanceName) -> u64 {
        self.instances.get(name).map_or(0, |entry| entry.live.seen.renewals())
    }

    /// Forgets what rotations wait for; says which have waited.
    pub(super) fn take_paced(&mut self) -> BTreeSet<InstanceName> {
        let waited = self.instances.iter_mut().filter_map(|(name, entry)| Some((name, entry.live.paced.take()?)));
        waited.map(|(name, _)| name.clone()).collect()
    }
}

impl Entry {
    /// Whether the exit that it would leave is looked for once more, before it begins.
    pub(super) fn looks_again(&mut self) -> bool {
        let is_known = match &self.live.seen {
            _ if matches!(self.owed, Owed::Interrupted { from: Some(_) }) => true,
            Seen::Serving { exit, only, .. } => exit.is_some() || only.is_some(),
            Seen::Nothing | Seen::Idle => true,
        };
        self.live.looks_again = !is_known && !self.live.looks_again;
        self.live.looks_again
    }
}

impl Seen {
    /// How often it has used new circuits.
    pub(super) fn renewals(&self) -> u64 {
        match self {
            Self::Serving { renewals, .. } => *renewals,
            Self::Nothing | Self::Idle => 0,
        }
    }
}
