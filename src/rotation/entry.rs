//! What is known of one instance: what it owes, what was seen of it, and how far its rotation has come.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Ended, Rotation};
use crate::desired::{Desired, Fingerprint, InstanceName};
use crate::observe::{Control, ObservedExit};
use crate::plan::Paced;
use crate::plan::draw::draw;

/// tor uses new circuits at most so often (`MAX_SIGNEWNYM_RATE` in its source); what comes earlier it puts off.
const SHORTEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest that a rotation may take; one that has no exit by then has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// What is known of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// From when the time to its next rotation counts.
    pub(super) since: Timestamp,
    pub(super) pace: Pace,
    /// How often it has begun to rotate.
    pub(super) turn: u64,
    /// The exits that it leaves alone.
    pub(super) avoid: BTreeSet<Fingerprint>,
    /// The latest one that has ended well.
    pub(super) last: Option<Rotation>,
    /// What has not ended, or not begun.
    #[serde(default, skip_serializing_if = "Owed::is_nothing")]
    pub(super) owed: Owed,
    /// How many have failed since one has ended well.
    #[serde(default)]
    pub(super) failed: u32,
    #[serde(skip)]
    pub(super) live: Live,
}

/// How the time to the next rotation is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pace {
    /// From the whole period.
    Spread,
    /// From a fifth of it, around its end.
    Regular,
}

/// What is known of an instance while the daemon runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Live {
    pub(super) seen: Seen,
    /// Whether it is due, and the exit that it would leave was not known at the last look: it is looked for once more.
    pub(super) looks_again: bool,
    /// What its rotation waits for that is due, where its guard relays would take its circuits for too many.
    pub(super) paced: Option<Paced>,
    /// When it last took new circuits, for whatever reason.
    pub(super) renewed: Option<Timestamp>,
    /// How many rotations have ended well.
    pub(super) count: u64,
}

/// What an instance owes: a restart of the daemon does not pay it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owed {
    /// Nothing.
    #[default]
    Nothing,
    /// A rotation as soon as that can be.
    Ordered,
    /// The same, once more: it was under way when a daemon ended.
    Interrupted {
        /// The exit that was to be left, where it was known.
        from: Option<Fingerprint>,
    },
    /// The end of the one that is under way.
    UnderWay(UnderWay),
}

/// What was seen last of an instance.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Seen {
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct UnderWay {
    pub(super) begun: Timestamp,
    pub(super) from: Option<Fingerprint>,
    /// How often it had used new circuits before, as this daemon counts.
    #[serde(skip)]
    pub(super) renewals: u64,
}

impl Entry {
    /// When it is due by the file, or since when it waits for what was ordered; `None` where neither the file nor anybody
    /// asks for it.
    pub(super) fn due(&self, name: &InstanceName, desired: &Desired) -> Option<Timestamp> {
        if self.owed.is_to_begin() {
            return Some(self.since);
        }
        let every = desired.pool(name.pool())?.rotate_every?;
        let lot = draw(&[name.to_string().as_bytes(), &self.turn.to_be_bytes()]);
        Some(after(self.since, every.mul_f64(self.pace.share(lot))))
    }

    /// Whether it is due now: what was ordered is, whatever the clocks of daemons before have said.
    pub(super) fn is_due(&self, due: Timestamp, now: Timestamp) -> bool {
        self.owed.is_to_begin() || due <= now
    }

    pub(super) fn can_begin(&self, now: Timestamp) -> bool {
        let is_serving = matches!(self.live.seen, Seen::Serving { .. });
        self.owed.under_way().is_none() && is_serving && self.live.pause(now).is_none()
    }

    pub(super) fn begin(&mut self, now: Timestamp) {
        let Seen::Serving { exit, only, renewals } = &self.live.seen else { return };
        let renewals = *renewals;
        if let Owed::Interrupted { from: Some(from) } = self.owed {
            self.owed = Owed::UnderWay(UnderWay { begun: now, from: Some(from), renewals });
            return;
        }
        let from = exit.as_ref().map(|exit| exit.fingerprint).or(*only);
        self.owed = Owed::UnderWay(UnderWay { begun: now, from, renewals });
        self.turn += 1;
        if let Some(from) = from {
            self.avoid = BTreeSet::from([from]);
        }
    }

    /// Spreads anew what became due while no daemon ran, or else all of it would rotate at once; says whether that was so.
    pub(super) fn recall(&mut self, name: &InstanceName, desired: &Desired, now: Timestamp) -> bool {
        let is_overdue = self.due(name, desired).is_some_and(|due| due <= now) && !self.owed.is_to_begin();
        if is_overdue {
            (self.since, self.pace) = (now, Pace::Spread);
        }
        is_overdue
    }

    /// Takes in what was seen; says whether the exit of the last rotation is confirmed now that was a guess.
    pub(super) fn see(&mut self, serving: Option<&Control>, now: Timestamp) -> bool {
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
        if let Owed::UnderWay(under_way) = &mut self.owed {
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
    pub(super) fn end(&mut self, now: Timestamp) -> Option<Ended> {
        let UnderWay { begun, from, renewals } = self.owed.under_way().cloned()?;
        let to = match &self.live.seen {
            Seen::Serving { exit, renewals: seen, .. } if *seen > renewals => exit.clone(),
            _ => None,
        };
        if to.is_none() && now < after(begun, PATIENCE) {
            return None;
        }
        self.owed = Owed::Nothing;
        (self.since, self.pace) = (now, Pace::Regular);
        let Some(ObservedExit { fingerprint: to, confirmed }) = to else {
            self.failed = self.failed.saturating_add(1);
            return Some(Ended::Unread);
        };
        self.last = Some(Rotation { at: now, from, to, confirmed });
        (self.live.count, self.failed) = (self.live.count + 1, 0);
        Some(if from == Some(to) { Ended::AtTheSame } else { Ended::Elsewhere })
    }
}

impl Owed {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }

    /// Whether a rotation is to begin as soon as that can be.
    pub(super) fn is_to_begin(&self) -> bool {
        matches!(self, Self::Ordered | Self::Interrupted { .. })
    }

    pub(super) fn under_way(&self) -> Option<&UnderWay> {
        match self {
            Self::UnderWay(under_way) => Some(under_way),
            _ => None,
        }
    }
}

impl Live {
    /// How long it takes until tor uses new circuits again; `None` where it does so at once, as far as is known.
    pub(super) fn pause(&self, now: Timestamp) -> Option<Duration> {
        let until = after(self.renewed?, SHORTEST_PAUSE);
        Duration::try_from(until.duration_since(now)).ok().filter(|pause| !pause.is_zero())
    }
}

impl Pace {
    /// The share of the period that a lot between 0 and 1 stands for.
    pub(super) fn share(self, lot: f64) -> f64 {
        match self {
            Self::Spread => lot,
            Self::Regular => 0.9 + 0.2 * lot,
        }
    }
}

/// A time later; the end of all time where there is none so late.
pub(super) fn after(time: Timestamp, length: Duration) -> Timestamp {
    let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
    time.checked_add(length).unwrap_or(Timestamp::MAX)
}
