//! When instances rotate, and how far each has come. Pure: the time is handed in, and nothing is done here.
//!
//! # Flow
//!
//! [`begin`](Rotations::begin) takes what is due, by the file or by an order, and [`instruct`](Rotations::instruct) tells
//! the plan: which exit is left alone, and who is to use new circuits. [`follow`](Rotations::follow) reads from what was
//! observed how far each has come. No step of this waits for another: a rotation goes on over as many passes as it needs.
//!
//! # Guarantees
//!
//! - A rotation counts when tor has said that new connections use new circuits and an exit of those was read.
//! - The exit that was left is left alone until the next rotation: to give it back would have tor abandon its circuits
//!   once more.
//! - Nodes of one pool do not rotate together: the first time is spread over the whole period, the later ones over a
//!   fifth of it. What became due while no daemon ran is spread anew.
//! - An order is written down before it is answered, and a rotation before tor hears of it: what has not ended when the
//!   daemon does is owed by the next one. An instance that is gone by then owes nothing, which is told.
//!
//! # What a restart makes of a rotation that is under way
//!
//! It begins again ([`resume`](Rotations::resume)), whether tor had said that it uses new circuits or not: which circuits are
//! new is known by when it said so, and who has heard that is dead. So tor may be told once more than needed, within its own
//! limit, which it keeps whoever asks. The exit that was to be left stays the one to be left, and the turn is the same: what
//! the instance leaves from in the end is what it would have left from, and it is one rotation.

mod ended;
mod entry;
mod paced;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::desired::{Desired, InstanceName, Pool, PoolName};
use crate::observe::Observed;
use crate::plan::{Mandate, Paced};
use entry::{Entry, Live, Owed, PATIENCE, Pace, Seen, UnderWay, after};

pub use ended::{Ended, Rotation};

/// How soon the exit of new circuits is looked for again.
const READ_AGAIN: Duration = Duration::from_millis(300);
/// So many instances rotate at once: guard relays limit the circuits that one address begins, and a host is one address.
const MOST_AT_ONCE: usize = 16;

/// The rotations of all instances.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rotations {
    instances: BTreeMap<InstanceName, Entry>,
    /// How often something has changed that a restart should know.
    #[serde(skip)]
    changes: u64,
}

/// What becomes of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It begins now.
    Begins,
    /// It begins when tor uses new circuits again.
    Waits(Duration),
    /// It begins when others have ended.
    Queued,
    /// It had begun already.
    UnderWay,
    /// It begins when the instance serves.
    NotServing,
}

impl Rotations {
    /// Takes up what a daemon before has left; says which instances still owe a rotation.
    pub fn resume(&mut self) -> Vec<InstanceName> {
        let mut owing = Vec::new();
        for (name, entry) in &mut self.instances {
            if let Owed::UnderWay(UnderWay { from, .. }) = entry.owed {
                entry.owed = Owed::Interrupted { from };
            }
            owing.extend(entry.owed.is_to_begin().then(|| name.clone()));
        }
        owing
    }

    /// Takes an order to rotate an instance as soon as that can be.
    pub fn order(&mut self, name: &InstanceName, now: Timestamp) -> Answer {
        let others = self.instances.values().filter(|entry| !entry.owed.is_nothing()).count();
        let entry = self.entry(name, now);
        if entry.owed.under_way().is_some() {
            return Answer::UnderWay;
        }
        let is_new = entry.owed.is_nothing();
        if is_new {
            entry.owed = Owed::Ordered;
        }
        let answer = match &entry.live.seen {
            Seen::Serving { .. } => match entry.live.pause(now) {
                Some(pause) => Answer::Waits(pause),
                None if others >= MOST_AT_ONCE => Answer::Queued,
                None => Answer::Begins,
            },
            _ => Answer::NotServing,
        };
        self.changes += u64::from(is_new);
        answer
    }

    /// Begins the rotations that are due; an instance that is `left_alone` has to wait, and one that may not begin circuits,
    /// asked with how often it has used new ones.
    pub fn begin(
        &mut self,
        desired: &Desired,
        left_alone: impl Fn(&InstanceName) -> bool,
        mut may_begin: impl FnMut(&InstanceName, u64) -> Result<(), Paced>,
        now: Timestamp,
    ) {
        let due = |(name, entry): (&InstanceName, &Entry)| {
            let due = entry.due(name, desired).filter(|due| entry.is_due(*due, now))?;
            Some((!entry.owed.is_to_begin(), due, name.clone()))
        };
        let can_begin = |(name, entry): &(&InstanceName, &Entry)| entry.can_begin(now) && !left_alone(name);
        let mut due: Vec<(bool, Timestamp, InstanceName)> =
            self.instances.iter().filter(can_begin).filter_map(due).collect();
        self.instances.iter_mut().filter(|(name, _)| left_alone(name)).for_each(|(_, it)| it.live.looks_again = false);
        // Orders first, then whoever has waited longest.
        due.sort_unstable();
        let waited = self.take_paced();
        let mut places = MOST_AT_ONCE.saturating_sub(self.under_way());
        // Who waits for a guard relay keeps no place from those who enter elsewhere.
        due.retain(|(.., name)| {
            let entry = self.entry(name, now);
            if places == 0 || !waited.contains(name) && entry.looks_again() {
                return false;
            }
            entry.live.paced = may_begin(name, entry.live.seen.renewals()).err();
            places -= usize::from(entry.live.paced.is_none());
            entry.live.paced.is_none()
        });
        self.changes += u64::from(!due.is_empty());
        for (.., name) in due {
            self.entry(&name, now).begin(now);
        }
    }

    /// Tells the plan what follows from the rotations.
    pub fn instruct(&self, mandate: &mut Mandate) {
        for (name, entry) in &self.instances {
            if entry.turn > 0 {
                mandate.avoid.entry(name.clone()).or_default().extend(&entry.avoid);
                mandate.turns.insert(name.clone(), entry.turn);
            }
            if let Some(UnderWay { renewals, .. }) = entry.owed.under_way() {
                mandate.renew.insert(name.clone(), *renewals);
            }
        }
    }

    /// Takes in what was observed; says which rotations have ended. Instances that nobody wants any more are forgotten.
    pub fn follow(&mut self, desired: &Desired, observed: &Observed, now: Timestamp) -> Vec<(InstanceName, Ended)> {
        let pools: BTreeMap<&PoolName, &Pool> = desired.pools.iter().map(|pool| (&pool.name, pool)).collect();
        let is_wanted =
            |name: &InstanceName| pools.get(name.pool()).is_some_and(|pool| pool.has_instance_at(name.index()));
        let gone: BTreeMap<_, _> = self.instances.extract_if(.., |name, _| !is_wanted(name)).collect();
        self.changes += u64::from(!gone.is_empty());
        let owing = gone.into_iter().filter(|(_, entry)| !entry.owed.is_nothing());
        let mut ended: Vec<_> = owing.map(|(name, _)| (name, Ended::Gone)).collect();
        for (name, instance) in observed.instances.iter().filter(|(name, _)| is_wanted(name)) {
            let serving = instance.control.present().map(Arc::as_ref).filter(|control| control.bootstrap.is_done());
            // What has never served has nothing to rotate from.
            if serving.is_none() && !self.instances.contains_key(name) {
                continue;
            }
            let entry = self.entry(name, now);
            let is_recalled = entry.live.seen == Seen::Nothing && entry.recall(name, desired, now);
            let is_confirmed = entry.see(serving, now);
            let how = entry.end(now);
            self.changes += u64::from(is_recalled || is_confirmed || how.is_some());
            ended.extend(how.map(|how| (name.clone(), how)));
        }
        ended
    }

    /// Whether anything is known of an instance.
    pub fn knows(&self, name: &InstanceName) -> bool {
        self.instances.contains_key(name)
    }

    /// How often something has changed that a restart should know.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// When the next rotation is due, or has failed.
    pub fn next(&self, desired: &Desired, now: Timestamp) -> Option<Timestamp> {
        let next = |(name, entry): (&InstanceName, &Entry)| match entry.owed.under_way() {
            Some(under_way) => Some(match &entry.live.seen {
                // That a circuit was built is no news that presses; here it does.
                Seen::Serving { renewals, .. } if *renewals > under_way.renewals => after(now, READ_AGAIN),
                _ => after(under_way.begun, PATIENCE),
            }),
            None if entry.live.looks_again => Some(after(now, READ_AGAIN)),
            None => {
                let due = entry.due(name, desired)?;
                Some(entry.live.pause(now).map_or(due, |pause| due.max(after(now, pause))))
            }
        };
        self.instances.iter().filter_map(next).filter(|at| *at > now).min()
    }

    /// The latest rotation of an instance that has ended well.
    pub fn last(&self, name: &InstanceName) -> Option<&Rotation> {
        self.instances.get(name).and_then(|entry| entry.last.as_ref())
    }

    /// How many rotations of an instance have ended well since the daemon started.
    pub fn count(&self, name: &InstanceName) -> u64 {
        self.instances.get(name).map_or(0, |entry| entry.live.count)
    }

    /// How many rotations of an instance have failed since one has ended well.
    pub fn failed(&self, name: &InstanceName) -> u32 {
        self.instances.get(name).map_or(0, |entry| entry.failed)
    }

    fn under_way(&self) -> usize {
        self.instances.values().filter(|entry| entry.owed.under_way().is_some()).count()
    }

    fn entry(&mut self, name: &InstanceName, now: Timestamp) -> &mut Entry {
        self.changes += u64::from(!self.instances.contains_key(name));
        self.instances.entry(name.clone()).or_insert_with(|| Entry {
            since: now,
            pace: Pace::Spread,
            turn: 0,
            avoid: BTreeSet::new(),
            last: None,
            owed: Owed::Nothing,
            failed: 0,
            live: Live::default(),
        })
    }
}

#[cfg(test)]
mod tests;
