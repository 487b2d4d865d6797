//! One instance that is, or was lately, in trouble.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Examination, Failed, Probed, Suspect, Trouble, repair};
use crate::desired::names::digest;
use crate::desired::{Fingerprint, Instance};
use crate::plan::{HeldDown, Repair, Rung};

/// How far apart two checks of circuits and control sockets are: a circuit takes seconds to be built.
const CHECK_EVERY: Duration = Duration::from_secs(15);

/// An instance stands still after this, which is before a check of it can fail.
const STILL_AFTER: Duration = Duration::from_secs(10);

/// How far apart two checks of a bootstrap are: some of its phases take longer than a circuit.
const BOOTSTRAP_EVERY: Duration = Duration::from_secs(45);

/// An instance that had no trouble for so long is well again.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// So many restarts are free; with the next one an instance is held down.
const FREE_RESTARTS: u32 = 5;

/// An instance that was not restarted for so long starts anew; it is also the first pause, and half of how long one has
/// to stay up after a pause.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// How long an exit is left alone that did not serve.
const AVOID_FOR: Duration = Duration::from_secs(1_800);

/// The first and the longest time that an instance is held down.
const FIRST_HOLD: Duration = Duration::from_secs(300);
const LONGEST_HOLD: Duration = Duration::from_secs(3_600);

/// One instance that is, or was lately, in trouble.
#[derive(Debug, Clone)]
pub(super) struct Patient {
    /// What was wished of it: another wish is another case.
    pub(super) wished: Instance,
    /// What is wrong with it now.
    pub(super) trouble: Option<Trouble>,
    /// How many checks have failed since it was well.
    pub(super) failures: u32,
    /// What is to be tried now.
    pub(super) repair: Option<Repair>,
    /// When it was checked last, or was first seen like this.
    checked: Option<Timestamp>,
    /// How many of its circuits had failed then, one after the other.
    failed: u64,
    /// Since when it is in trouble.
    troubled_since: Option<Timestamp>,
    /// Since when its trouble is the same, without any progress.
    still_since: Option<Timestamp>,
    /// Since when it has had no trouble.
    well_since: Option<Timestamp>,
    /// How often it had used new circuits, when it was told to.
    pub(super) renewed: Option<u64>,
    /// The exits that it leaves alone.
    avoided: BTreeSet<Fingerprint>,
    avoid_until: Option<Timestamp>,
    restarts: u32,
    restarted_at: Option<Timestamp>,
    held_until: Option<Timestamp>,
}

/// How often an instance was started again lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// What was wished of it, by its digest.
    wished: String,
    times: u32,
    last: Timestamp,
}

impl Restarts {
    /// Whether it is still the same wish.
    pub(super) fn are_of(&self, wished: &Instance) -> bool {
        self.wished == digest(wished)
    }

    /// The same where `moved` says when its times are.
    pub fn moved(&self, moved: impl Fn(Timestamp) -> Timestamp) -> Self {
        Self { last: moved(self.last), ..self.clone() }
    }
}

impl Patient {
    /// One of which a daemon before has counted restarts.
    pub(super) fn recalled(wished: &Instance, restarts: &Restarts) -> Self {
        let Restarts { times, last, .. } = *restarts;
        let patient = Self { restarts: times, restarted_at: Some(last), ..Self::of(wished) };
        Self { held_until: patient.hold().map(|hold| last + hold), ..patient }
    }

    /// How often it was started again lately; `None` where it was not.
    pub(super) fn counted(&self) -> Option<Restarts> {
        let (times, last) = (self.restarts, self.restarted_at?);
        Some(Restarts { wished: digest(&self.wished), times, last })
    }

    pub(super) fn of(wished: &Instance) -> Self {
        Self {
            wished: wished.clone(),
            trouble: None,
            failures: 0,
            repair: None,
            checked: None,
            failed: 0,
            troubled_since: None,
            still_since: None,
            well_since: None,
            renewed: None,
            avoided: BTreeSet::new(),
            avoid_until: None,
            restarts: 0,
            restarted_at: None,
            held_until: None,
        }
    }

    /// Checks it once more; `excused` where the trouble is not its own.
    pub(super) fn check(
        &mut self,
        exam: &Examination<'_>,
        wished: &Instance,
        trouble: Option<Trouble>,
        probed: Option<&Probed>,
        excused: bool,
    ) {
        if self.wished != *wished {
            *self = Self::of(wished);
        }
        let now = exam.now;
        let Some(trouble) = trouble else { return self.is_well(now, probed) };
        self.well_since = None;
        let is_same = self.trouble.as_ref().is_some_and(|before| trouble.is_as(before));
        if !is_same {
            self.still_since = Some(now);
        }
        let begun = probed.filter(|_| matches!(trouble, Trouble::Probe(_))).map_or(now, |probed| probed.at);
        let since_when = *self.troubled_since.get_or_insert(begun);
        // tor knows best which of its problems go away by themselves.
        let is_ignorable = matches!(trouble, Trouble::Bootstrap { ignorable: true, .. });
        if is_ignorable || excused && trouble != Trouble::Hangs || self.may_be_all(exam, &trouble, since_when) {
            self.repair = None;
            self.checked(&trouble, now);
            self.trouble = Some(trouble);
            return;
        }
        if self.fails(&trouble, is_same, probed, now) {
            self.failures += 1;
            self.checked(&trouble, now);
            let rung = rung(&trouble, self.failures, exam.desired.health.restart_after);
            // A restart that waits for its turn is not forgotten for something smaller.
            if !self.repair.as_ref().is_some_and(|repair| repair.rung.restarts()) {
                self.repair = rung.map(|rung| repair(self.climb(rung, exam), &trouble, self.failures));
            }
        } else if !is_same {
            self.checked(&trouble, now);
            // Before it is judged it is asked for a circuit: one that nobody uses begins none by itself.
            if let (Trouble::NoneBuilt { .. }, Some(control)) = (&trouble, super::control(exam, &self.wished)) {
                self.renewed = Some(control.renewal.done);
            }
        }
        self.trouble = Some(trouble);
    }

    fn checked(&mut self, trouble: &Trouble, now: Timestamp) {
        self.checked = Some(now);
        self.failed = failed(trouble);
    }

    /// Whether it may well be the trouble of all, who have not noticed it yet: one other has to have passed its probe
    /// since, where others are probed.
    fn may_be_all(&self, exam: &Examination<'_>, trouble: &Trouble, since_when: Timestamp) -> bool {
        let says_so = super::control(exam, &self.wished).is_some_and(|control| control.network_live == Some(false));
        let is_alone = exam.observed.instances.len() < 2;
        let is_doubtful = says_so || matches!(trouble, Trouble::Probe(_)) && !is_alone;
        let others = exam.probes.iter().filter(|(name, _)| **name != self.wished.name).map(|(_, probed)| probed);
        is_doubtful && !others.into_iter().any(|probed| probed.outcome.is_ok() && probed.at >= since_when)
    }

    /// Takes a rung, or the next one where it cannot be taken.
    fn climb(&mut self, rung: Rung, exam: &Examination<'_>) -> Rung {
        let Some(control) = super::control(exam, &self.wished) else { return rung };
        // Where no circuit is left to read it from, it is the one that all circuits have to use.
        let exit = control.exit.as_ref().map(|exit| exit.fingerprint).or_else(|| control.only_exit());
        self.renewed = matches!(rung, Rung::NewCircuits | Rung::AvoidExit).then_some(control.renewal.done);
        match (rung, exit) {
            (Rung::AvoidExit, Some(exit)) => {
                self.avoided.insert(exit);
                self.avoid_until = Some(exam.now + AVOID_FOR);
                rung
            }
            (Rung::AvoidExit, None) => {
                self.renewed = None;
                Rung::Reconnect
            }
            _ => rung,
        }
    }

    /// The exits that it leaves alone; none for a while after that was over, so that its options are taken back.
    pub(super) fn avoided(&self, now: Timestamp) -> Option<BTreeSet<Fingerprint>> {
        let until = self.avoid_until.filter(|until| now < *until + FORGOTTEN_AFTER)?;
        Some(if now < until { self.avoided.clone() } else { BTreeSet::new() })
    }

    /// Whether there was no progress for so long that it is no coincidence where all others are so as well.
    pub(super) fn stands_still(&self, now: Timestamp) -> bool {
        self.still_since.is_some_and(|still| since(still, now) >= STILL_AFTER)
    }

    /// Whether this check fails: nothing has moved since the one before, and that was long enough ago.
    fn fails(&self, trouble: &Trouble, is_same: bool, probed: Option<&Probed>, now: Timestamp) -> bool {
        match trouble {
            Trouble::Probe(_) => probed.is_some_and(|probed| self.checked.is_none_or(|checked| probed.at > checked)),
            Trouble::Hangs if !is_same => true,
            // It was asked for a circuit: until one more has failed, nobody knows.
            Trouble::NoneBuilt { .. } if failed(trouble) <= self.failed => false,
            _ => is_same && self.checked.is_some_and(|checked| since(checked, now) >= interval(trouble)),
        }
    }

    fn is_well(&mut self, now: Timestamp, probed: Option<&Probed>) {
        let since_when = *self.well_since.get_or_insert(now);
        self.trouble = None;
        (self.troubled_since, self.still_since) = (None, None);
        self.repair = None;
        self.renewed = None;
        let is_new = |probed: &Probed| self.checked.is_none_or(|checked| probed.at > checked);
        let is_proven = probed.is_some_and(|probed| probed.outcome.is_ok() && is_new(probed));
        if is_proven || since(since_when, now) >= WELL_AFTER {
            self.failures = 0;
            self.checked = None;
        }
    }

    /// It was started again.
    pub(super) fn restarted(&mut self, now: Timestamp) {
        let forgotten = self.last_hold().saturating_mul(2).max(FORGOTTEN_AFTER);
        if self.restarted_at.is_some_and(|last| since(last, now) >= forgotten) {
            self.restarts = 0;
        }
        self.restarts = self.restarts.saturating_add(1);
        self.restarted_at = Some(now);
        self.repair = None;
        self.held_until = self.hold().map(|hold| now + hold);
    }

    /// What was counted of it is forgotten; what is wrong with it, and which exits it leaves alone, is not.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
        self.restarts = 0;
        (self.restarted_at, self.held_until) = (None, None);
    }

    /// How long it is held down after so many restarts; `None` while they are free.
    fn hold(&self) -> Option<Duration> {
        let beyond = self.restarts.checked_sub(FREE_RESTARTS)?;
        Some(FIRST_HOLD.saturating_mul(2u32.saturating_pow(beyond.min(16))).min(LONGEST_HOLD))
    }

    fn last_hold(&self) -> Duration {
        self.hold().unwrap_or_default()
    }

    /// Whether it is left alone for now. One that serves meanwhile is not in anybody's way.
    pub(super) fn held_down(&self, now: Timestamp) -> Option<HeldDown> {
        let until = self.held_until.filter(|until| now < *until)?;
        Some(HeldDown { restarts: self.restarts, until })
    }

    /// Whether it was restarted just now and does not serve yet.
    pub(super) fn is_under_way(&self, now: Timestamp) -> bool {
        self.well_since.is_none() && self.restarted_at.is_some_and(|last| since(last, now) < super::UNDER_WAY)
    }

    /// Whether there is still anything to know of it.
    pub(super) fn is_of_interest(&self, now: Timestamp) -> bool {
        let forgotten = self.last_hold().saturating_mul(2).max(FORGOTTEN_AFTER);
        let lately = self.restarted_at.is_some_and(|last| since(last, now) < forgotten);
        self.trouble.is_some() || self.failures > 0 || lately || self.avoided(now).is_some()
    }

    /// When it has to be looked at again.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let check = self.trouble.as_ref().zip(self.checked).map(|(trouble, checked)| checked + interval(trouble));
        let held = self.held_until.filter(|until| now < *until);
        let free = self.repair.as_ref().and(self.restarted_at).map(|last| last + super::UNDER_WAY);
        let still = self.still_since.map(|since| since + STILL_AFTER);
        [check, held, free, self.avoid_until, still].into_iter().flatten().filter(|at| *at > now).min()
    }
}

/// How many circuits have failed, one after the other.
fn failed(trouble: &Trouble) -> u64 {
    if let Trouble::NoneBuilt { failed, .. } = trouble { *failed } else { 0 }
}

/// How far apart two checks are.
fn interval(trouble: &Trouble) -> Duration {
    match trouble {
        Trouble::Bootstrap { .. } => BOOTSTRAP_EVERY,
        Trouble::Hangs | Trouble::NoCircuit | Trouble::NoneBuilt { .. } | Trouble::Probe(_) => CHECK_EVERY,
    }
}

/// What is tried with so many failed checks.
fn rung(trouble: &Trouble, failures: u32, restart_after: u32) -> Option<Rung> {
    let (times, step) = (failures / restart_after, failures % restart_after);
    match trouble {
        // It has reached the site, or was not asked at all: no restart would change what came back.
        Trouble::Probe(Failed { suspect: Suspect::Host, .. }) => None,
        Trouble::Probe(Failed { suspect: Suspect::Site, .. }) => match failures {
            1 => Some(Rung::NewCircuits),
            2 => Some(Rung::AvoidExit),
            _ => None,
        },
        _ if step == 0 && times.is_multiple_of(2) && *trouble != Trouble::Hangs => Some(Rung::RestartAfresh),
        _ if step == 0 => Some(Rung::Restart),
        // Nothing else can be said to one that does not listen.
        Trouble::Hangs | Trouble::Bootstrap { .. } => None,
        Trouble::NoCircuit | Trouble::NoneBuilt { .. } | Trouble::Probe(_) => Some(match step {
            1 => Rung::NewCircuits,
            2 => Rung::AvoidExit,
            _ => Rung::Reconnect,
        }),
    }
}

fn since(earlier: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(earlier).try_into().unwrap_or_default()
}
