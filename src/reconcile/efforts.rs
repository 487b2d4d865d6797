//! What was tried lately, kept over a restart of the daemon: how often each instance was started again, what fails, what
//! is repaired over and over, and which circuits were begun. Else a daemon that ends over and over would begin to count anew
//! each time: it would start tors again for ever, and begin more circuits than guard relays let one host begin.
//!
//! # Guarantees
//!
//! - It is written when there is something new, and at no other time. A restart of a tor, and circuits, are written before
//!   they are begun: whoever dies of them has begun them.
//! - Its times count from the boot, so nobody who sets the host's clock makes anything wait longer, or less. After another
//!   boot all of it begins anew.
//! - What only another program can mend, as a defect of this one, is not kept: a new daemon may be another program.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Wellbeing;
use super::backoff::{Backoffs, Kept};
use super::budget::{Budget, Spent};
use super::memory::Memory;
use crate::desired::InstanceName;
use crate::error::chain;
use crate::health::{Health, Restarts};
use crate::sys::clock::{self, Reckoning};

/// What was tried lately, and where it is written down.
#[derive(Debug, Clone)]
pub struct Efforts {
    memory: Memory,
    reckoning: Reckoning,
    written: Written,
}

/// What is written down.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Written {
    /// How its times are to be understood.
    reckoning: Option<Reckoning>,
    restarts: BTreeMap<InstanceName, Restarts>,
    backoffs: Vec<Kept>,
    circuits: Vec<Spent>,
}

impl Efforts {
    /// What a daemon before has written down.
    pub fn of(memory: Memory) -> Self {
        Self { reckoning: Reckoning::of_this_process(), written: memory.efforts(), memory }
    }

    /// What of it still holds.
    pub fn recall(&self) -> (Backoffs, Wellbeing) {
        self.written.recalled(&self.reckoning, clock::steady())
    }

    /// Writes down what is new.
    pub fn keep(&mut self, backoffs: &Backoffs, health: &Health, circuits: Vec<Spent>) {
        let (restarts, backoffs) = (health.restarts(), backoffs.kept());
        let now = Written { reckoning: Some(self.reckoning.clone()), restarts, backoffs, circuits };
        if !now.is_new_to(&self.written) {
            return;
        }
        match self.memory.remember_efforts(&now) {
            Ok(()) => self.written = now,
            Err(error) => tracing::warn!(error = chain(&error), "a restart would begin to count restarts anew"),
        }
    }
}

impl Written {
    /// Whether another daemon would have to know more than it would from what is written. Circuits count for seconds: that
    /// they do not any more, everybody knows by the time.
    fn is_new_to(&self, written: &Self) -> bool {
        let is_known = |circuits: &Spent| written.circuits.iter().any(|known| known.is_as(circuits));
        self.restarts != written.restarts
            || self.backoffs != written.backoffs
            || !self.circuits.iter().all(is_known)
            || self.reckoning != written.reckoning && !self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.restarts.is_empty() && self.backoffs.is_empty() && self.circuits.is_empty()
    }

    /// What holds for a process that reckons like this.
    fn recalled(&self, reckoning: &Reckoning, now: Timestamp) -> (Backoffs, Wellbeing) {
        let Some(ahead) = self.reckoning.as_ref().and_then(|theirs| reckoning.ahead_of(theirs)) else {
            return Default::default();
        };
        // What was done is never still to come, whatever a file says.
        let moved = |time: Timestamp| time.checked_add(ahead).map_or(now, |time| time.min(now));
        let restarts = self.restarts.iter().map(|(name, restarts)| (name.clone(), restarts.moved(moved))).collect();
        let wellbeing = Wellbeing::recall(Health::recall(restarts), Budget::recall(&self.circuits, moved));
        (Backoffs::recall(self.backoffs.clone(), moved), wellbeing)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::apply::{Failed, Outcome};
    use crate::desired::{Desired, load::load};
    use crate::error::Kind;
    use crate::health::Examination;
    use crate::observe::Observed;
    use crate::plan::{Action, Cause, Object, Step};
    use crate::reconcile::budget::Occasion;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn desired(port: u16) -> Desired {
        let text = format!("version: 1\npools:\n  - {{name: us, size: 2, countries: [us], socks_port: {port}}}\n");
        load("a test", crate::desired::lists::Given { document: text.as_bytes(), lists: &Default::default() })
            .unwrap()
            .desired
    }

    fn outcome(cause: Cause, failed: Option<Kind>) -> Outcome {
        let step = Step { object: Object::Guard, cause, action: Action::RemoveGuard };
        let result = failed.map_or(Ok(()), |kind| Err(Failed { message: "no".to_owned(), kind }));
        Outcome { step, took: Duration::ZERO, result }
    }

    fn reckoning(boot: &str, booted: i64) -> Reckoning {
        serde_json::from_value(serde_json::json!({"boot": boot, "booted": at(booted)})).unwrap()
    }

    /// What another process makes of what is written, whose clock is an hour ahead.
    fn over_a_restart(boot: &str, backoffs: &Backoffs, health: &Health, now: Timestamp) -> (Backoffs, Health) {
        let (restarts, backoffs) = (health.restarts(), backoffs.kept());
        let written = Written { reckoning: Some(reckoning("a", -500)), restarts, backoffs, circuits: Vec::new() };
        let json = serde_json::to_vec(&written).unwrap();
        let read: Written = serde_json::from_slice(&json).unwrap();
        assert_eq!(read, written);
        let (backoffs, wellbeing) = read.recalled(&reckoning(boot, -500 + 3_600), now);
        (backoffs, wellbeing.health)
    }

    #[test]
    fn a_node_that_is_held_down_is_so_over_a_restart_and_not_over_a_boot_or_another_wish() {
        let (wished, mut health) = (desired(30_000), Health::default());
        let first = &wished.instances()[0];
        for second in 0..5 {
            health.restarted(first, at(second));
        }
        let held = |health: &mut Health, desired: &Desired, now: Timestamp| {
            let (observed, probes) = (Observed::default(), Default::default());
            health.examine(&Examination {
                desired,
                observed: &observed,
                probes: &probes,
                settling: &BTreeMap::new(),
                now,
            });
            health.care(desired, now).held_down.into_values().map(|held| (held.restarts, held.until)).next()
        };
        assert_eq!(held(&mut health, &wished, at(10)), Some((5, at(304))));
        let over = |boot, now| over_a_restart(boot, &Backoffs::default(), &health, now).1;
        let later = 3_600 + 100;
        let mut next = over("a", at(later));
        assert_eq!(next.restarts().len(), 1, "also before it is first looked at");
        assert_eq!(held(&mut next, &wished, at(later)), Some((5, at(3_600 + 304))));
        next.restarted(first, at(3_600 + 310));
        assert_eq!(held(&mut next, &wished, at(3_600 + 311)), Some((6, at(3_600 + 910))), "and goes on from there");
        assert_eq!(held(&mut over("b", at(later)), &wished, at(later)), None, "another boot");
        assert_eq!(held(&mut over("a", at(later)), &desired(30_100), at(later)), None, "another wish");
        // A file that says what is still to come.
        assert_eq!(held(&mut over("a", at(50)), &wished, at(50)), Some((5, at(350))));
    }

    #[test]
    fn what_waits_waits_over_a_restart_with_its_count() {
        let mut backoffs = Backoffs::default();
        let failing = outcome(Cause::Change, Some(Kind::Tor));
        for _ in 0..4 {
            backoffs.record(std::slice::from_ref(&failing), None, at(0));
        }
        let ((mut next, _), later) = (over_a_restart("a", &backoffs, &Health::default(), at(3_601)), at(3_601));
        assert!(!next.allows(&failing.step, later) && next.allows(&outcome(Cause::Drift, None).step, later));
        let (before, after) = (&backoffs.failures()[&Object::Guard], next.failures()[&Object::Guard].clone());
        assert_eq!((before.attempts, &before.message), (after.attempts, &after.message));
        let hour = jiff::SignedDuration::from_secs(3_600);
        assert_eq!(before.retry_at.map(|at| at + hour), after.retry_at);
        next.record(&[failing], None, later);
        assert_eq!(next.failures()[&Object::Guard].attempts, 5);

        let mut fight = Backoffs::default();
        let repair = outcome(Cause::Drift, None);
        for _ in 0..9 {
            fight.record(std::slice::from_ref(&repair), None, at(0));
        }
        let (next, _) = over_a_restart("a", &fight, &Health::default(), at(3_600));
        assert_eq!(next.fights(at(3_600))[&Object::Guard].repairs, 9);
    }

    #[test]
    fn what_another_program_may_mend_is_not_kept() {
        let mut backoffs = Backoffs::default();
        backoffs.record(&[outcome(Cause::Change, Some(Kind::Bug))], None, at(0));
        assert!(backoffs.kept().is_empty());
    }

    #[test]
    fn nothing_is_written_while_nothing_changes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(crate::reconcile::memory::EFFORTS);
        let mut efforts = Efforts::of(Memory::new(directory.path()));
        let (mut backoffs, Wellbeing { health, budget, .. }) = efforts.recall();
        let mut writes = |backoffs: &Backoffs, circuits: Vec<Spent>| {
            efforts.keep(backoffs, &health, circuits);
            std::fs::remove_file(&file).is_ok()
        };
        assert!(!writes(&backoffs, vec![]));
        backoffs.record(&[outcome(Cause::Change, Some(Kind::Tor))], None, at(0));
        assert!(writes(&backoffs, vec![]) && !writes(&backoffs, vec![]));
        backoffs.settle(|_| false);
        assert!(writes(&backoffs, vec![]), "that it is over as well");
        budget.lock().ask(&"us-0".parse().unwrap(), Occasion::Start, at(0));
        let begun = budget.lock().kept();
        assert!(writes(&backoffs, begun.clone()) && !writes(&backoffs, begun));
        assert!(!writes(&backoffs, vec![]), "that circuits count no more is known by the time");
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_nothing_else_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(crate::reconcile::memory::EFFORTS);
        for damaged in ["", "{\"restarts\":{\"us-0\":", "{\"backoffs\":7}"] {
            std::fs::write(&file, damaged).unwrap();
            let efforts = Efforts::of(Memory::new(directory.path()));
            assert!(efforts.written.is_empty() && !file.exists(), "{damaged}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    }
}
