//! Who has used this host from outside lately: remembered in memory alone, since nothing on the network makes us write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::observe::Visitor;

/// How long somebody counts who has not come again.
const LATELY: SignedDuration = SignedDuration::from_hours(1);
/// So many are remembered; of more, those who came last.
const MOST: usize = 1_024;

/// Who has used this host lately.
#[derive(Debug, Default)]
pub struct Visitors(Mutex<BTreeMap<Visitor, Timestamp>>);

impl Visitors {
    /// Remembers somebody.
    pub fn saw(&self, visitor: Visitor, now: Timestamp) {
        let mut seen = self.seen();
        seen.insert(visitor, now);
        if seen.len() > MOST
            && let Some(oldest) = seen.iter().min_by_key(|(_, at)| **at).map(|(visitor, _)| *visitor)
        {
            seen.remove(&oldest);
        }
    }

    /// Who was here within the last hour.
    pub fn lately(&self, now: Timestamp) -> BTreeSet<Visitor> {
        let mut seen = self.seen();
        seen.retain(|_, at| now.duration_since(*at) < LATELY);
        seen.keys().copied().collect()
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Visitor, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Door;

    fn visitor(number: u32) -> Visitor {
        Visitor { address: std::net::Ipv4Addr::from_bits(number).into(), door: Door::Panel }
    }

    #[test]
    fn who_has_not_come_for_an_hour_is_forgotten_and_so_are_the_oldest_of_too_many() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let visitors = Visitors::default();
        visitors.saw(visitor(1), at(0));
        visitors.saw(visitor(2), at(0));
        visitors.saw(visitor(1), at(1_800));
        assert_eq!(visitors.lately(at(3_599)).len(), 2);
        assert_eq!(visitors.lately(at(3_600)), BTreeSet::from([visitor(1)]));
        (2..=1_025).for_each(|number| visitors.saw(visitor(number), at(3_601)));
        let left = visitors.lately(at(3_602));
        assert!(left.len() == MOST && !left.contains(&visitor(1)));
    }
}
