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

mod ended;
mod paced;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::desired::{Desired, Fingerprint, InstanceName, PoolName};
use crate::observe::{Control, Observed, ObservedExit};
use crate::plan::draw::draw;
use crate::plan::{Mandate, Paced};

pub use ended::{Ended, Rotation};

/// tor uses new circuits at most so often (`MAX_SIGNEWNYM_RATE` in its source); what comes earlier it puts off.
const SHORTEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest that a rotation may take; one that has no exit by then has failed.
const PATIENCE: Duration = Duration::from_secs(120);
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

/// What is known of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// From when the time to its next rotation counts.
    since: Timestamp,
    pace: Pace,
    /// How often it has begun to rotate.
    turn: u64,
    /// The exits that it leaves alone.
    avoid: BTreeSet<Fingerprint>,
    /// The latest one that has ended well.
    last: Option<Rotation>,
    #[serde(skip)]
    live: Live,
}

/// How the time to the next rotation is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Pace {
    /// From the whole period.
    Spread,
    /// From a fifth of it, around its end.
    Regular,
}

/// What is known of an instance while the daemon runs.
#[derive(Debug, Clone, PartialEq, Default)]
struct Live {
    seen: Seen,
    is_ordered: bool,
    /// Whether it is due, and the exit that it would leave was not known at the last look: it is looked for once more.
    looks_again: bool,
    under_way: Option<UnderWay>,
    /// What its rotation waits for that is due, where its guard relays would take its circuits for too many.
    paced: Option<Paced>,
    /// When it last took new circuits, for whatever reason.
    renewed: Option<Timestamp>,
    /// How many rotations have ended well.
    count: u64,
    /// How many have failed since one has ended well.
    failed: u32,
}

/// What was seen last of an instance.
#[derive(Debug, Clone, PartialEq, Default)]
enum Seen {
    /// Nothing since the daemon started.
    #[default]
    Nothing,
    /// It does not serve, or nobody can tell.
    Idle,
    /// It serves, and has used new circuits so often.
    Serving {
        exit: Option<ObservedExit>,
        /// The one exit that it is told to use, where it is one.
        only: Option<Fingerprint>,
        renewals: u64,
    },
}

/// A rotation that has begun.
#[derive(Debug, Clone, PartialEq)]
struct UnderWay {
    begun: Timestamp,
    from: Option<Fingerprint>,
    /// How often it had used new circuits before.
    renewals: u64,
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
    /// Takes an order to rotate an instance as soon as that can be.
    pub fn order(&mut self, name: &InstanceName, now: Timestamp) -> Answer {
        let others = self.under_way() + self.instances.values().filter(|entry| entry.live.is_ordered).count();
        let live = &mut self.entry(name, now).live;
        if live.under_way.is_some() {
            return Answer::UnderWay;
        }
        live.is_ordered = true;
        match &live.seen {
            Seen::Serving { .. } => match live.pause(now) {
                Some(pause) => Answer::Waits(pause),
                None if others >= MOST_AT_ONCE => Answer::Queued,
                None => Answer::Begins,
            },
            _ => Answer::NotServing,
        }
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
        let mut due: Vec<(bool, Timestamp, InstanceName)> = self
            .instances
            .iter()
            .filter(|(name, entry)| entry.can_begin(now) && !left_alone(name))
            .filter_map(|(name, entry)| Some((!entry.live.is_ordered, entry.due(name, desired)?, name.clone())))
            .filter(|(_, at, _)| *at <= now)
            .collect();
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
            if let Some(UnderWay { renewals, .. }) = entry.live.under_way {
                mandate.renew.insert(name.clone(), renewals);
            }
        }
    }

    /// Takes in what was observed; says which rotations have ended. Instances that nobody wants any more are forgotten.
    pub fn follow(&mut self, desired: &Desired, observed: &Observed, now: Timestamp) -> Vec<(InstanceName, Ended)> {
        let sizes: BTreeMap<&PoolName, u16> = desired.pools.iter().map(|pool| (&pool.name, pool.size)).collect();
        let is_wanted = |name: &InstanceName| sizes.get(name.pool()).is_some_and(|size| name.index() < *size);
        let known = self.instances.len();
        self.instances.retain(|name, _| is_wanted(name));
        self.changes += u64::from(self.instances.len() < known);
        let mut ended = Vec::new();
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

    /// How often something has changed that a restart should know.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// When the next rotation is due, or has failed.
    pub fn next(&self, desired: &Desired, now: Timestamp) -> Option<Timestamp> {
        let next = |(name, entry): (&InstanceName, &Entry)| match &entry.live.under_way {
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
        self.instances.get(name).map_or(0, |entry| entry.live.failed)
    }

    fn under_way(&self) -> usize {
        self.instances.values().filter(|entry| entry.live.under_way.is_some()).count()
    }

    fn entry(&mut self, name: &InstanceName, now: Timestamp) -> &mut Entry {
        self.changes += u64::from(!self.instances.contains_key(name));
        self.instances.entry(name.clone()).or_insert_with(|| Entry {
            since: now,
            pace: Pace::Spread,
            turn: 0,
            avoid: BTreeSet::new(),
            last: None,
            live: Live::default(),
        })
    }
}

impl Entry {
    /// When it is due: at once where that was ordered; `None` where neither the file nor anybody asks for it.
    fn due(&self, name: &InstanceName, desired: &Desired) -> Option<Timestamp> {
        if self.live.is_ordered {
            return Some(self.since);
        }
        let every = desired.pool(name.pool())?.rotate_every?;
        let lot = draw(&[name.to_string().as_bytes(), &self.turn.to_be_bytes()]);
        Some(after(self.since, every.mul_f64(self.pace.share(lot))))
    }

    fn can_begin(&self, now: Timestamp) -> bool {
        let is_serving = matches!(self.live.seen, Seen::Serving { .. });
        self.live.under_way.is_none() && is_serving && self.live.pause(now).is_none()
    }

    fn begin(&mut self, now: Timestamp) {
        let Seen::Serving { exit, only, renewals } = &self.live.seen else { return };
        let from = exit.as_ref().map(|exit| exit.fingerprint).or(*only);
        self.live.under_way = Some(UnderWay { begun: now, from, renewals: *renewals });
        self.live.is_ordered = false;
        self.turn += 1;
        if let Some(from) = from {
            self.avoid = BTreeSet::from([from]);
        }
    }

    /// Spreads anew what became due while no daemon ran, or else all of it would rotate at once; says whether that was so.
    fn recall(&mut self, name: &InstanceName, desired: &Desired, now: Timestamp) -> bool {
        let is_overdue = self.due(name, desired).is_some_and(|due| due <= now) && !self.live.is_ordered;
        if is_overdue {
            (self.since, self.pace) = (now, Pace::Spread);
        }
        is_overdue
    }

    /// Takes in what was seen; says whether the exit of the last rotation is confirmed now that was a guess.
    fn see(&mut self, serving: Option<&Control>, now: Timestamp) -> bool {
        let renewals = serving.map_or(0, |control| control.renewal.done);
        if let (Seen::Serving { renewals: before, .. }, Some(_)) = (&self.live.seen, serving)
            && renewals > *before
        {
            self.live.renewed = Some(now);
        }
        let Some(control) = serving else {
            self.live.seen = Seen::Idle;
            return false;
        };
        // Another process, or another daemon's: it counts from the beginning.
        if let Some(under_way) = &mut self.live.under_way {
            under_way.renewals = under_way.renewals.min(renewals);
        }
        self.live.seen = Seen::Serving { exit: control.exit.clone(), only: control.only_exit(), renewals };
        match (&mut self.last, &control.exit) {
            (Some(last), Some(ObservedExit { fingerprint, confirmed: true })) if last.to == *fingerprint => {
                !std::mem::replace(&mut last.confirmed, true)
            }
            _ => false,
        }
    }

    /// Ends the rotation that is under way, where it has ended.
    fn end(&mut self, now: Timestamp) -> Option<Ended> {
        let UnderWay { begun, from, renewals } = self.live.under_way.clone()?;
        let to = match &self.live.seen {
            Seen::Serving { exit, renewals: seen, .. } if *seen > renewals => exit.clone(),
            _ => None,
        };
        if to.is_none() && now < after(begun, PATIENCE) {
            return None;
        }
        self.live.under_way = None;
        (self.since, self.pace) = (now, Pace::Regular);
        let Some(ObservedExit { fingerprint: to, confirmed }) = to else {
            self.live.failed += 1;
            return Some(Ended::Unread);
        };
        self.last = Some(Rotation { at: now, from, to, confirmed });
        (self.live.count, self.live.failed) = (self.live.count + 1, 0);
        Some(if from == Some(to) { Ended::AtTheSame } else { Ended::Elsewhere })
    }
}

impl Live {
    /// How long it takes until tor uses new circuits again; `None` where it does so at once, as far as is known.
    fn pause(&self, now: Timestamp) -> Option<Duration> {
        let until = after(self.renewed?, SHORTEST_PAUSE);
        Duration::try_from(until.duration_since(now)).ok().filter(|pause| !pause.is_zero())
    }
}

impl Pace {
    /// The share of the period that a lot between 0 and 1 stands for.
    fn share(self, lot: f64) -> f64 {
        match self {
            Self::Spread => lot,
            Self::Regular => 0.9 + 0.2 * lot,
        }
    }
}

/// A time later; the end of all time where there is none so late.
fn after(time: Timestamp, length: Duration) -> Timestamp {
    let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
    time.checked_add(length).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
