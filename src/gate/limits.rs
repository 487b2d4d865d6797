//! How often one caller may ask, and when one is locked out. What is remembered is bounded.
//!
//! A caller is an IPv4 address, or an IPv6 network of 64 bits (see `export::address::caller`). Minutes are
//! counted from a caller's first request in them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::{Lockout, Now};
use crate::desired::RateLimit;

/// So many callers are remembered; of more, those that are locked out and those that came last.
pub const MOST_CALLERS: usize = 4_096;

const MINUTE: Duration = Duration::from_secs(60);
/// As `access.rate_limit.lockout_for` at most; what was written down may be anything.
const LONGEST_LOCKOUT: Duration = Duration::from_secs(366 * 86_400);

/// How long a caller has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// What is remembered of all callers.
#[derive(Debug, Default)]
pub struct Limits(HashMap<IpAddr, Caller>);

/// What is remembered of one caller.
#[derive(Debug, Clone, Copy)]
struct Caller {
    /// When the minute began.
    since: Instant,
    asked: u32,
    failed: u32,
    /// Refused ones since the last good one, whatever the minute.
    in_a_row: u32,
    locked: Option<Locked>,
}

/// A lockout, and when it ends on the clock that nobody sets.
#[derive(Debug, Clone, Copy)]
struct Locked {
    until: Instant,
    lockout: Lockout,
}

/// What a refused token or password led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing yet.
    Counted,
    /// The caller is locked out now.
    LockedOut,
}

impl Limits {
    /// Counts a request; refuses one too many.
    pub fn ask(&mut self, limit: &RateLimit, caller: IpAddr, now: Now) -> Result<(), Wait> {
        let caller = self.caller(caller, now);
        if caller.asked >= limit.per_minute {
            return Err(caller.rest_of_the_minute(now));
        }
        caller.asked += 1;
        Ok(())
    }

    /// Whether a caller is not locked out.
    pub fn is_open_to(&self, caller: IpAddr, now: Now) -> Result<(), Wait> {
        let locked = self.0.get(&caller).and_then(|caller| caller.locked(now));
        locked.map_or(Ok(()), |locked| Err(Wait(locked.until - now.clock)))
    }

    /// Whether a caller's token or password is looked at.
    pub fn may_try(&mut self, limit: &RateLimit, caller: IpAddr, now: Now) -> Result<(), Wait> {
        let caller = self.caller(caller, now);
        if caller.failed >= limit.failed_per_minute { Err(caller.rest_of_the_minute(now)) } else { Ok(()) }
    }

    /// Counts a token or password that was refused.
    pub fn failed(&mut self, limit: &RateLimit, address: IpAddr, now: Now) -> Consequence {
        let caller = self.caller(address, now);
        caller.failed += 1;
        caller.in_a_row += 1;
        if caller.in_a_row < limit.lockout_after {
            return Consequence::Counted;
        }
        let length = SignedDuration::try_from(limit.lockout_for).unwrap_or(SignedDuration::MAX);
        let until = now.at.saturating_add(length).unwrap_or(now.at);
        let lockout = Lockout { address, since: now.at, until, failures: caller.in_a_row };
        caller.in_a_row = 0;
        caller.locked = Some(Locked { until: now.clock + limit.lockout_for, lockout });
        Consequence::LockedOut
    }

    /// A token or password was good: refused ones before it do not count any more.
    pub fn passed(&mut self, caller: IpAddr, now: Now) {
        self.caller(caller, now).in_a_row = 0;
    }

    /// Lists the lockouts, by address.
    pub fn lockouts(&self, now: Now) -> Vec<Lockout> {
        let mut lockouts: Vec<Lockout> =
            self.0.values().filter_map(|caller| caller.locked(now)).map(|locked| locked.lockout).collect();
        lockouts.sort_unstable();
        lockouts
    }

    /// Takes up a lockout from before the start, as long as it still lasts.
    pub fn recall(&mut self, lockout: Lockout, now: Now) {
        let left = Duration::try_from(lockout.until.duration_since(now.at)).unwrap_or_default().min(LONGEST_LOCKOUT);
        if !left.is_zero() {
            self.caller(lockout.address, now).locked = Some(Locked { until: now.clock + left, lockout });
        }
    }

    /// Ends the lockout of a caller, or all of them; gives those that have ended.
    pub fn unlock(&mut self, whom: Option<IpAddr>, now: Now) -> Vec<Lockout> {
        let mut ended = self.lockouts(now);
        ended.retain(|lockout| whom.is_none_or(|whom| whom == lockout.address));
        for lockout in &ended {
            // Its minute ends as well: whoever was let in may try at once.
            self.0.remove(&lockout.address);
        }
        ended
    }

    /// What is remembered of a caller, with its minute as of now.
    fn caller(&mut self, address: IpAddr, now: Now) -> &mut Caller {
        if !self.0.contains_key(&address) && self.0.len() >= MOST_CALLERS {
            self.forget_one(now);
        }
        let caller = self.0.entry(address).or_insert_with(|| Caller::new(now));
        if now.clock.duration_since(caller.since) >= MINUTE {
            *caller = Caller { since: now.clock, asked: 0, failed: 0, ..*caller };
        }
        caller
    }

    /// Forgets whoever is not locked out and came longest ago; where all are locked out, whoever is let in first.
    fn forget_one(&mut self, now: Now) {
        let rank = |caller: &Caller| (caller.locked(now).map(|locked| locked.until), caller.since);
        let first = self.0.iter().min_by_key(|(_, caller)| rank(caller)).map(|(address, _)| *address);
        if let Some(first) = first {
            self.0.remove(&first);
        }
    }
}

impl Caller {
    fn new(now: Now) -> Self {
        Self { since: now.clock, asked: 0, failed: 0, in_a_row: 0, locked: None }
    }

    fn locked(&self, now: Now) -> Option<Locked> {
        self.locked.filter(|locked| locked.until > now.clock)
    }

    fn rest_of_the_minute(&self, now: Now) -> Wait {
        Wait(MINUTE.saturating_sub(now.clock.duration_since(self.since)))
    }
}

impl Wait {
    /// Whole seconds, from 1: after them the wait is over.
    pub fn seconds(self) -> u64 {
        (self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit =
        RateLimit { per_minute: 4, failed_per_minute: 2, lockout_after: 3, lockout_for: Duration::from_secs(900) };

    fn at(start: Instant, after: Duration) -> Now {
        Now { at: jiff::Timestamp::UNIX_EPOCH + SignedDuration::try_from(after).unwrap(), clock: start + after }
    }

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_minute_has_so_many_requests() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let at = |seconds| at(start, Duration::from_secs(seconds));
        for second in 0..4 {
            assert_eq!(limits.ask(&LIMIT, address(1), at(second)), Ok(()));
        }
        assert_eq!(limits.ask(&LIMIT, address(1), at(10)), Err(Wait(Duration::from_secs(50))));
        assert_eq!(limits.ask(&LIMIT, address(2), at(10)), Ok(()), "another caller");
        assert_eq!(limits.ask(&LIMIT, address(1), at(60)), Ok(()), "another minute");
    }

    #[test]
    fn refused_tokens_are_fewer_a_minute_and_lock_out_in_a_row() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let at = |seconds| at(start, Duration::from_secs(seconds));
        let caller = address(1);
        assert_eq!(limits.failed(&LIMIT, caller, at(0)), Consequence::Counted);
        assert_eq!(limits.may_try(&LIMIT, caller, at(1)), Ok(()));
        assert_eq!(limits.failed(&LIMIT, caller, at(1)), Consequence::Counted);
        assert_eq!(limits.may_try(&LIMIT, caller, at(20)), Err(Wait(Duration::from_secs(40))));
        assert_eq!(limits.may_try(&LIMIT, caller, at(60)), Ok(()));
        assert_eq!(limits.failed(&LIMIT, caller, at(61)), Consequence::LockedOut);
        assert_eq!(limits.is_open_to(caller, at(100)), Err(Wait(Duration::from_secs(861))));
        assert_eq!(limits.is_open_to(caller, at(961)), Ok(()));
        assert_eq!(limits.may_try(&LIMIT, caller, at(961)), Ok(()));
        assert_eq!(limits.failed(&LIMIT, caller, at(962)), Consequence::Counted, "it begins anew");
    }

    #[test]
    fn a_good_token_ends_a_row() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        for round in 0..9 {
            let now = at(start, Duration::from_secs(61 * round));
            assert_eq!(limits.failed(&LIMIT, address(1), now), Consequence::Counted);
            limits.passed(address(1), now);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_lockouts_stay_longest() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let now = |millis: u32| at(start, Duration::from_millis(millis.into()));
        for _ in 0..3 {
            limits.failed(&LIMIT, address(1), now(0));
        }
        for number in 2..9_000 {
            assert_eq!(limits.ask(&LIMIT, address(number), now(number)), Ok(()));
        }
        assert_eq!(limits.0.len(), MOST_CALLERS);
        assert!(limits.is_open_to(address(1), now(10_000)).is_err());
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds() {
        let told = [0, 1, 1000, 1001].map(|millis| Wait(Duration::from_millis(millis)).seconds());
        assert_eq!(told, [1, 1, 1, 2]);
    }
}
