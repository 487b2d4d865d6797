//! Per-object backoff: which objects have to wait before they are tried again.
//!
//! An object backs off after a failure, and also when it needs the same repair over and over: a tor that dies at once,
//! or a guard that another program fights over. A step that was not tried before is tried at once, since desired has
//! moved. The clock is the caller's.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::apply::{Failed, Outcome};
use crate::desired::names::digest;
use crate::error::Kind;
use crate::observe::Author;
use crate::plan::{Cause, Object, Step};
use crate::status::{Failure, Failures, Fight, Fights};

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How many successful repairs of one object are free before it backs off: a restart takes a few steps.
const FREE_REPAIRS: u32 = 8;
/// An object that needed nothing for so long starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// The objects that have to wait.
#[derive(Debug, Clone, Default)]
pub struct Backoffs {
    entries: BTreeMap<Object, Entry>,
}

/// What is kept of one of them over a restart of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    object: Object,
    entry: Entry,
}

/// What is remembered of an object that failed, or was repaired lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// The step, by its digest: it may be long, and may have secrets.
    step: String,
    failed: Option<Failed>,
    failures: u32,
    repairs: u32,
    /// When the first of these repairs was made.
    since: Timestamp,
    /// Who made the last of them needed, where that is known: it is told, and decides nothing.
    author: Option<Author>,
    last: Timestamp,
}

impl Backoffs {
    /// Whether a step may be tried now.
    pub fn allows(&self, step: &Step, now: Timestamp) -> bool {
        match self.entries.get(&step.object) {
            None => true,
            Some(entry) if entry.failed.is_some() && entry.step != digest(step) => true,
            // Repairs that never end say nothing of another wish.
            Some(entry) if entry.failed.is_none() && step.cause == Cause::Change => true,
            Some(entry) if entry.is_final() => false,
            Some(entry) => now >= entry.until(&step.object),
        }
    }

    /// Takes in what became of the steps of a pass, and who had changed the guard before it.
    pub fn record(&mut self, outcomes: &[Outcome], guard_author: Option<&Author>, now: Timestamp) {
        self.entries.retain(|_, entry| entry.failed.is_some() || since(entry.last, now) < FORGOTTEN_AFTER);
        for outcome in outcomes {
            let author = guard_author.filter(|_| outcome.step.object == Object::Guard);
            self.record_one(outcome, author, now);
        }
    }

    fn record_one(&mut self, outcome: &Outcome, author: Option<&Author>, now: Timestamp) {
        let object = outcome.step.object.clone();
        let previous = self.entries.remove(&object);
        let (failures, repairs) = previous.as_ref().map_or((0, 0), |entry| (entry.failures, entry.repairs));
        let (failed, failures, repairs) = match &outcome.result {
            Ok(()) if outcome.step.cause != Cause::Drift => return,
            Ok(()) => (None, 0, repairs.saturating_add(1)),
            Err(failed) => (Some(failed.clone()), failures.saturating_add(1), repairs),
        };
        let since = previous.as_ref().filter(|entry| entry.repairs > 0).map_or(now, |entry| entry.since);
        let author = author.cloned().or_else(|| previous.and_then(|entry| entry.author));
        let step = digest(&outcome.step);
        self.entries.insert(object, Entry { step, failed, failures, repairs, since, author, last: now });
    }

    /// What outlives the daemon: what may be tried again, and how often it was.
    pub fn kept(&self) -> Vec<Kept> {
        let kept = self.entries.iter().filter(|(_, entry)| !entry.is_final());
        kept.map(|(object, entry)| Kept { object: object.clone(), entry: entry.clone() }).collect()
    }

    /// Takes up what a daemon before has kept; `moved` says when its times are.
    pub fn recall(kept: Vec<Kept>, moved: impl Fn(Timestamp) -> Timestamp) -> Self {
        let entry = |entry: Entry| Entry { since: moved(entry.since), last: moved(entry.last), ..entry };
        Self { entries: kept.into_iter().map(|kept| (kept.object, entry(kept.entry))).collect() }
    }

    /// Forgets the objects that need nothing more: `open` says which still do.
    pub fn settle(&mut self, open: impl Fn(&Object) -> bool) {
        self.entries.retain(|object, entry| entry.failed.is_none() || open(object));
    }

    /// The failures as they stand.
    pub fn failures(&self) -> Failures {
        let failure = |object: &Object, entry: &Entry| {
            entry.failed.as_ref().map(|failed| Failure {
                message: failed.message.clone(),
                kind: failed.kind,
                attempts: entry.failures,
                retry_at: (!entry.is_final()).then(|| entry.until(object)),
            })
        };
        self.entries.iter().filter_map(|(object, entry)| Some((object.clone(), failure(object, entry)?))).collect()
    }

    /// The objects that need the same repair over and over, and whose next one waits.
    pub fn fights(&self, now: Timestamp) -> Fights {
        let is_one = |object: &Object, entry: &Entry| entry.failed.is_none() && entry.until(object) > now;
        let fight = |object: &Object, entry: &Entry| Fight {
            repairs: entry.repairs,
            over: since(entry.since, entry.last),
            next_at: entry.until(object),
            author: entry.author.clone(),
        };
        let fights = self.entries.iter().filter(|(object, entry)| is_one(object, entry));
        fights.map(|(object, entry)| (object.clone(), fight(object, entry))).collect()
    }

    /// The objects that wait, however long.
    pub fn waiting(&self, now: Timestamp) -> Vec<Object> {
        let waits = |object: &Object, entry: &Entry| entry.is_final() || entry.until(object) > now;
        self.entries.iter().filter(|(object, entry)| waits(object, entry)).map(|(object, _)| object.clone()).collect()
    }

    /// When the next object may be tried again.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.entries.iter().filter(|(_, entry)| !entry.is_final());
        waiting.map(|(object, entry)| entry.until(object)).filter(|at| *at > now).min()
    }
}

impl Entry {
    /// Until when its object waits.
    fn until(&self, object: &Object) -> Timestamp {
        let tries = self.failures.max(self.repairs.saturating_sub(FREE_REPAIRS));
        self.last + pause(tries, object)
    }

    /// Whether trying the same step again cannot help.
    fn is_final(&self) -> bool {
        self.failed.as_ref().is_some_and(|failed| matches!(failed.kind, Kind::Bug | Kind::Desired))
    }
}

/// The pause after so many tries: doubled each time, capped, and spread by up to a tenth so that objects that failed
/// together are not tried together.
fn pause(tries: u32, object: &Object) -> Duration {
    let Some(doublings) = tries.checked_sub(1) else {
        return Duration::ZERO;
    };
    let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(doublings.min(16))).min(LONGEST_PAUSE);
    let spread =
        object.to_string().bytes().fold(tries, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 100;
    pause + pause / 1_000 * spread
}

fn since(earlier: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(earlier).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Action;

    fn step(cause: Cause) -> Step {
        Step { object: Object::Guard, cause, action: Action::RemoveGuard }
    }

    fn outcome(cause: Cause, failed: Option<Kind>) -> Outcome {
        let result = failed.map_or(Ok(()), |kind| Err(Failed { message: "no".to_owned(), kind }));
        Outcome { step: step(cause), took: Duration::ZERO, result }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_failure_waits_longer_each_time_and_a_success_forgets_it() {
        let mut backoffs = Backoffs::default();
        let failing = outcome(Cause::Change, Some(Kind::Tor));
        backoffs.record(std::slice::from_ref(&failing), None, at(0));
        assert!(!backoffs.allows(&failing.step, at(0)) && backoffs.allows(&failing.step, at(2)));
        for _ in 0..20 {
            backoffs.record(std::slice::from_ref(&failing), None, at(10));
        }
        assert!(!backoffs.allows(&failing.step, at(10 + 299)) && backoffs.allows(&failing.step, at(10 + 331)));
        assert_eq!(backoffs.failures()[&Object::Guard].attempts, 21);
        backoffs.record(&[outcome(Cause::Change, None)], None, at(400));
        assert!(backoffs.failures().is_empty() && backoffs.allows(&failing.step, at(400)));
    }

    #[test]
    fn another_step_is_tried_at_once() {
        let mut backoffs = Backoffs::default();
        backoffs.record(&[outcome(Cause::Change, Some(Kind::Desired))], None, at(0));
        assert!(!backoffs.allows(&step(Cause::Change), at(10_000)), "only a change of desired can help");
        assert_eq!(backoffs.failures()[&Object::Guard].retry_at, None);
        assert!(backoffs.allows(&step(Cause::Drift), at(0)));
    }

    #[test]
    fn repairs_that_never_end_back_off_and_are_forgiven_after_a_while() {
        let mut backoffs = Backoffs::default();
        let repair = outcome(Cause::Drift, None);
        for _ in 0..FREE_REPAIRS {
            assert!(backoffs.allows(&repair.step, at(0)));
            backoffs.record(std::slice::from_ref(&repair), None, at(0));
        }
        assert!(backoffs.allows(&repair.step, at(0)));
        backoffs.record(std::slice::from_ref(&repair), None, at(0));
        assert!(!backoffs.allows(&repair.step, at(0)));
        assert!(backoffs.allows(&step(Cause::Change), at(0)), "desired has moved");
        assert_eq!(backoffs.next(at(0)).map(|next| next < at(2)), Some(true));
        backoffs.record(&[], None, at(200));
        assert!(backoffs.allows(&repair.step, at(200)));
    }

    #[test]
    fn who_keeps_changing_the_guard_is_told_while_its_repair_waits() {
        let mut backoffs = Backoffs::default();
        let repair = outcome(Cause::Drift, None);
        let nft = |pid| Author { pid: Some(pid), name: Some("nft".to_owned()), at: at(0) };
        for n in 0..u32::from(9_u8) {
            assert!(backoffs.fights(at(n.into())).is_empty(), "{n}: the first repairs are free");
            // Once, nobody knows who it was.
            let author = (n != 8).then(|| nft(n));
            backoffs.record(std::slice::from_ref(&repair), author.as_ref(), at(n.into()));
        }
        assert_eq!((backoffs.waiting(at(8)), backoffs.waiting(at(3_600))), (vec![Object::Guard], vec![]));
        let fight = backoffs.fights(at(8)).remove(&Object::Guard).unwrap();
        assert_eq!((fight.repairs, fight.over), (9, Duration::from_secs(8)));
        assert_eq!(fight.author, Some(nft(7)));
        assert!(fight.next_at > at(8) && backoffs.fights(fight.next_at).is_empty());
    }
}
