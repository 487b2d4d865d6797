//! The gate: how often one caller may ask, whose tokens and passwords were refused too often, and who is locked out.
//!
//! Pure: no I/O and no clock. The time is handed in; that lockouts have changed is told to a [`Keeper`], which writes them
//! down. What is remembered is bounded. Which routes ask what of the gate is the business of `status::http`.
//!
//! - [`limits`] counts, [`lockout`] is a lockout as it is told and kept, [`quota`] counts downloads.
//! - [`sign_in`] reads and remembers what people sign in with, [`password`] and [`totp`] say whether it is right.

pub mod limits;
pub mod lockout;
pub mod password;
pub mod quota;
pub mod sign_in;
pub mod totp;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::desired::RateLimit;
use crate::desired::exports::Quota;
use limits::{Consequence, Limits, Wait};
pub use lockout::Lockout;
use quota::{Quotas, Taken};

/// So many of the latest failures are remembered, of all callers together.
pub const MOST_FAILURES: usize = 10_000;

/// The time, twice: as people tell it, and on a clock that nobody sets.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For what is shown and written down.
    pub at: Timestamp,
    /// For what is waited for.
    pub clock: Instant,
}

/// What outlives the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Who is locked out, by address.
    pub lockouts: Vec<Lockout>,
    /// What was taken of quotas, by the name of the grant.
    pub quotas: BTreeMap<String, Taken>,
    /// The step of the last code of each user of a second factor.
    pub codes: BTreeMap<String, u64>,
}

/// Who hears that what is to be kept has changed.
pub trait Keeper: Send + Sync + std::fmt::Debug {
    /// It is something else than before. This neither fails nor waits.
    fn changed(&self);
}

/// What is remembered of all callers.
#[derive(Debug, Default)]
pub struct Gate {
    keeper: Option<Box<dyn Keeper>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    limits: Limits,
    quotas: Quotas,
    /// The step of the last code of each user: none is taken twice.
    codes: BTreeMap<String, u64>,
    /// The latest failures, oldest first.
    failures: VecDeque<(Instant, IpAddr)>,
    /// How many lockouts there were since the start.
    lockouts: u64,
}

impl Gate {
    /// A gate of which somebody keeps what is to outlive it, with what was kept before.
    pub fn kept_by(keeper: Box<dyn Keeper>, kept: &Kept, now: Now) -> Self {
        let mut seen = Seen { codes: kept.codes.clone(), ..Seen::default() };
        kept.lockouts.iter().for_each(|lockout| seen.limits.recall(*lockout, now));
        kept.quotas.iter().for_each(|(grant, taken)| seen.quotas.recall(grant, *taken, now));
        Self { keeper: Some(keeper), seen: Mutex::new(seen) }
    }

    /// What is to outlive the daemon.
    pub fn kept(&self, now: Now) -> Kept {
        let seen = self.seen();
        Kept { lockouts: seen.limits.lockouts(now), quotas: seen.quotas.kept(), codes: seen.codes.clone() }
    }

    /// Counts a request; refuses one too many.
    pub fn ask(&self, limit: Option<&RateLimit>, caller: IpAddr, now: Now) -> Result<(), Wait> {
        limit.map_or(Ok(()), |limit| self.seen().limits.ask(limit, caller, now))
    }

    /// Whether a caller is let in at all.
    pub fn is_open_to(&self, caller: IpAddr, now: Now) -> Result<(), Wait> {
        self.seen().limits.is_open_to(caller, now)
    }

    /// Whether a caller's token or password is looked at.
    pub fn may_try(&self, limit: Option<&RateLimit>, caller: IpAddr, now: Now) -> Result<(), Wait> {
        let mut seen = self.seen();
        seen.limits.is_open_to(caller, now)?;
        limit.map_or(Ok(()), |limit| seen.limits.may_try(limit, caller, now))
    }

    /// Counts a token or password that was refused.
    pub fn failed(&self, limit: Option<&RateLimit>, caller: IpAddr, now: Now) -> Consequence {
        let mut seen = self.seen();
        seen.failures.push_back((now.clock, caller));
        if seen.failures.len() > MOST_FAILURES {
            seen.failures.pop_front();
        }
        let consequence = limit.map_or(Consequence::Counted, |limit| seen.limits.failed(limit, caller, now));
        if consequence == Consequence::LockedOut {
            seen.lockouts += 1;
            drop(seen);
            self.tell();
        }
        consequence
    }

    /// Remembers that a token or password was good: failures before it do not count any more.
    pub fn passed(&self, caller: IpAddr, now: Now) {
        self.seen().limits.passed(caller, now);
    }

    /// Whether a grant gives one more download.
    pub fn may_take(&self, grant: &str, quota: Option<Quota>, now: Now) -> Result<(), Wait> {
        quota.map_or(Ok(()), |quota| self.seen().quotas.may_take(grant, quota, now))
    }

    /// Takes a download from a grant's quota; where another one was faster, there may be none left.
    pub fn take(&self, grant: &str, quota: Option<Quota>, now: Now) -> Result<(), Wait> {
        let Some(quota) = quota else { return Ok(()) };
        self.seen().quotas.take(grant, quota, now)?;
        self.tell();
        Ok(())
    }

    /// Takes a user's code of a second factor, by its step, once.
    pub fn take_code(&self, name: &str, step: u64) -> bool {
        let mut seen = self.seen();
        let is_new = seen.codes.get(name).is_none_or(|last| *last < step || *last > step + totp::FAR_AHEAD);
        if is_new {
            seen.codes.insert(name.to_owned(), step);
            drop(seen);
            self.tell();
        }
        is_new
    }

    /// Lists who is locked out, by address.
    pub fn lockouts(&self, now: Now) -> Vec<Lockout> {
        self.seen().limits.lockouts(now)
    }

    /// How many lockouts there were since the start.
    pub fn lockouts_so_far(&self) -> u64 {
        self.seen().lockouts
    }

    /// Lets a caller in again, or all; says who was locked out.
    pub fn unlock(&self, caller: Option<IpAddr>, now: Now) -> Vec<Lockout> {
        let unlocked = self.seen().limits.unlock(caller, now);
        if !unlocked.is_empty() {
            self.tell();
        }
        unlocked
    }

    /// Counts the failures of each caller within the time before now, of the latest [`MOST_FAILURES`].
    pub fn failures_within(&self, time: Duration, now: Now) -> BTreeMap<IpAddr, usize> {
        let mut counts = BTreeMap::new();
        let seen = self.seen();
        let lately = seen.failures.iter().filter(|(at, _)| now.clock.saturating_duration_since(*at) <= time);
        for (_, caller) in lately {
            *counts.entry(*caller).or_default() += 1;
        }
        counts
    }

    fn tell(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.changed();
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LIMIT: RateLimit =
        RateLimit { per_minute: 60, failed_per_minute: 5, lockout_after: 5, lockout_for: Duration::from_secs(900) };

    #[derive(Debug)]
    struct Bell(Arc<AtomicU32>);

    impl Keeper for Bell {
        fn changed(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn at(start: Instant, seconds: u64) -> Now {
        let at = Timestamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap()).unwrap();
        Now { at, clock: start + Duration::from_secs(seconds) }
    }

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn the_sixth_try_is_locked_out_and_a_bystander_is_not() {
        let (gate, start) = (Gate::default(), Instant::now());
        for second in 0..5 {
            assert_eq!(gate.may_try(Some(&LIMIT), address(1), at(start, second)), Ok(()), "{second}");
            gate.failed(Some(&LIMIT), address(1), at(start, second));
        }
        let refused = Err(Wait(Duration::from_secs(899)));
        assert_eq!(gate.may_try(Some(&LIMIT), address(1), at(start, 5)), refused);
        assert_eq!(gate.is_open_to(address(1), at(start, 5)), refused);
        assert_eq!(gate.may_try(Some(&LIMIT), address(2), at(start, 5)), Ok(()));
        assert_eq!(gate.may_try(None, address(1), at(start, 5)), refused, "also while no desired state is in force");
        assert_eq!(gate.lockouts_so_far(), 1);
        assert_eq!(gate.is_open_to(address(1), at(start, 904)), Ok(()));
    }

    #[test]
    fn a_lockout_outlives_a_restart_and_is_told_when_it_changes() {
        let (rung, start) = (Arc::new(AtomicU32::new(0)), Instant::now());
        let bell = || Box::new(Bell(Arc::clone(&rung)));
        let gate = Gate::kept_by(bell(), &Kept::default(), at(start, 0));
        for _ in 0..5 {
            gate.failed(Some(&LIMIT), address(1), at(start, 10));
            gate.ask(Some(&LIMIT), address(2), at(start, 10)).unwrap();
        }
        assert_eq!(rung.load(Ordering::Relaxed), 1, "only a lockout is told");
        let kept = gate.kept(at(start, 20));
        let lockout = Lockout { address: address(1), since: at(start, 10).at, until: at(start, 910).at, failures: 5 };
        assert_eq!(kept.lockouts, [lockout]);
        let next = Gate::kept_by(bell(), &kept, at(start, 100));
        assert_eq!(next.is_open_to(address(1), at(start, 100)), Err(Wait(Duration::from_secs(810))));
        assert_eq!(next.lockouts(at(start, 100)), [lockout]);
        assert_eq!(next.unlock(Some(address(2)), at(start, 100)), []);
        assert_eq!(next.unlock(Some(address(1)), at(start, 100)), [lockout]);
        assert_eq!(rung.load(Ordering::Relaxed), 2);
        assert_eq!(next.is_open_to(address(1), at(start, 100)), Ok(()));
        let late = Gate::kept_by(bell(), &kept, at(start, 1_000));
        assert_eq!(late.lockouts(at(start, 1_000)), [], "its time is over");
    }

    #[test]
    fn no_code_is_taken_twice_by_the_next_daemon_either() {
        let (rung, now) = (Arc::new(AtomicU32::new(0)), at(Instant::now(), 0));
        let gate = Gate::kept_by(Box::new(Bell(Arc::clone(&rung))), &Kept::default(), now);
        let taken = [("ada", 5), ("ada", 5), ("ada", 4), ("eve", 5), ("ada", 6)];
        let taken = taken.map(|(name, step)| gate.take_code(name, step));
        assert_eq!((taken, rung.load(Ordering::Relaxed)), ([true, false, false, true, true], 3));
        let next = Gate::kept_by(Box::new(Bell(rung)), &gate.kept(now), now);
        assert_eq!(
            [("ada", 6), ("eve", 5), ("eve", 6)].map(|(name, step)| next.take_code(name, step)),
            [false, false, true]
        );
        assert!(
            next.take_code("ada", 6 + totp::FAR_AHEAD) && !next.take_code("ada", 6),
            "within the hour nothing is undone"
        );
        assert!(next.take_code("ada", 5), "the clock was wrong then");
    }

    #[test]
    fn downloads_are_kept_and_what_has_no_quota_is_not_counted() {
        let (rung, now) = (Arc::new(AtomicU32::new(0)), at(Instant::now(), 0));
        let quota = Some(Quota { downloads: 1, per: Duration::from_secs(100) });
        let gate = Gate::kept_by(Box::new(Bell(Arc::clone(&rung))), &Kept::default(), now);
        assert_eq!((gate.take("a", None, now), gate.take("a", quota, now)), (Ok(()), Ok(())));
        assert_eq!(rung.load(Ordering::Relaxed), 1);
        let next = Gate::kept_by(Box::new(Bell(rung)), &gate.kept(now), now);
        assert_eq!(next.may_take("a", quota, now), Err(Wait(Duration::from_secs(100))));
        assert_eq!(next.take("a", None, now), Ok(()), "a grant whose quota was taken away");
    }

    #[test]
    fn failures_are_counted_by_address_within_a_time() {
        let (gate, start) = (Gate::default(), Instant::now());
        for (caller, second) in [(1, 0), (1, 50), (2, 70), (1, 90)] {
            gate.failed(None, address(caller), at(start, second));
        }
        let counted = gate.failures_within(Duration::from_secs(60), at(start, 100));
        assert_eq!(counted, [(address(1), 2), (address(2), 1)].into());
        for number in 0..u32::try_from(MOST_FAILURES).unwrap() {
            gate.failed(None, address(1_000 + number), at(start, 101));
        }
        let counted = gate.failures_within(Duration::from_secs(3_600), at(start, 102));
        assert_eq!((counted.len(), counted.get(&address(1))), (MOST_FAILURES, None));
    }
}
