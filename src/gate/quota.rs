//! Quotas: how many downloads were taken of each, and whether there is one more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Now;
use super::limits::Wait;
use crate::desired::exports::{LONGEST, Quota};

/// What was taken of a quota, as it is kept over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// When the first was taken: from then on the quota's time counts.
    pub since: Timestamp,
    /// How many.
    pub downloads: u32,
}

/// What was taken of each quota, by the name of its grant; as many as there were grants with one.
#[derive(Debug, Default)]
pub struct Quotas(BTreeMap<String, Counted>);

#[derive(Debug, Clone, Copy)]
struct Counted {
    /// The same time as in `taken`, on a clock that nobody sets.
    since: Instant,
    taken: Taken,
}

impl Quotas {
    /// Takes up what was taken before the start. What was taken is never still to come.
    pub fn recall(&mut self, grant: &str, taken: Taken, now: Now) {
        let age = Duration::try_from(now.at.duration_since(taken.since)).unwrap_or_default();
        if let Some(since) = now.clock.checked_sub(age).filter(|_| age < LONGEST) {
            self.0.insert(grant.to_owned(), Counted { since, taken });
        }
    }

    /// Whether a grant gives one more download.
    pub fn may_take(&self, grant: &str, quota: Quota, now: Now) -> Result<(), Wait> {
        let Some(Counted { since, taken }) = self.0.get(grant) else { return Ok(()) };
        let left = quota.per.saturating_sub(now.clock.saturating_duration_since(*since));
        if left.is_zero() || taken.downloads < quota.downloads { Ok(()) } else { Err(Wait(left)) }
    }

    /// Takes a download; where another one was faster, there may be none left.
    pub fn take(&mut self, grant: &str, quota: Quota, now: Now) -> Result<(), Wait> {
        self.may_take(grant, quota, now)?;
        let none = Counted { since: now.clock, taken: Taken { since: now.at, downloads: 0 } };
        let counted = self.0.entry(grant.to_owned()).or_insert(none);
        if now.clock.saturating_duration_since(counted.since) >= quota.per {
            *counted = none;
        }
        counted.taken.downloads += 1;
        Ok(())
    }

    /// What was taken, to be kept.
    pub fn kept(&self) -> BTreeMap<String, Taken> {
        self.0.iter().map(|(grant, counted)| (grant.clone(), counted.taken)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { downloads: 2, per: Duration::from_secs(100) };

    /// Both clocks after so many seconds, with the one that people set so many seconds ahead.
    fn at(start: Instant, seconds: u64, ahead: i64) -> Now {
        let at = Timestamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap() + ahead).unwrap();
        Now { at, clock: start + Duration::from_secs(seconds) }
    }

    #[test]
    fn a_quota_counts_from_its_first_download() {
        let (mut quotas, start) = (Quotas::default(), Instant::now());
        let at = |seconds| at(start, seconds, 0);
        assert_eq!(quotas.may_take("a", QUOTA, at(0)), Ok(()));
        assert_eq!((quotas.take("a", QUOTA, at(0)), quotas.take("a", QUOTA, at(50))), (Ok(()), Ok(())));
        let wait = Err(Wait(Duration::from_secs(40)));
        assert_eq!((quotas.may_take("a", QUOTA, at(60)), quotas.take("a", QUOTA, at(60))), (wait, wait));
        assert_eq!(quotas.take("b", QUOTA, at(60)), Ok(()), "another grant");
        assert_eq!((quotas.may_take("a", QUOTA, at(100)), quotas.take("a", QUOTA, at(100))), (Ok(()), Ok(())));
        assert_eq!(quotas.take("a", QUOTA, at(101)), Ok(()));
        assert!(quotas.take("a", QUOTA, at(102)).is_err(), "and so on");
    }

    #[test]
    fn what_was_taken_counts_on_after_a_restart() {
        let (mut before, start) = (Quotas::default(), Instant::now());
        before.take("a", QUOTA, at(start, 0, 0)).unwrap();
        before.take("a", QUOTA, at(start, 10, 0)).unwrap();
        let after = |now: Now| {
            let mut quotas = Quotas::default();
            before.kept().iter().for_each(|(grant, taken)| quotas.recall(grant, *taken, now));
            quotas
        };
        let left = |seconds| Err(Wait(Duration::from_secs(seconds)));
        assert_eq!(after(at(start, 30, 0)).may_take("a", QUOTA, at(start, 40, 0)), left(60));
        assert_eq!(after(at(start, 30, 0)).may_take("a", QUOTA, at(start, 100, 0)), Ok(()));
        let set_back = at(start, 30, -5_000);
        assert_eq!(after(set_back).may_take("a", QUOTA, set_back), left(100), "no longer than it may last");
        let far_ahead = at(start, 30, 400 * 86_400);
        assert_eq!(after(far_ahead).kept(), BTreeMap::new());
    }
}
