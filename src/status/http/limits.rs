//! Shares: so many at once of all together, and so many of one caller.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts what callers have at once.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    most_of_one: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A share, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    caller: IpAddr,
}

impl Shares {
    /// So many in all, and so many of one caller.
    pub(super) fn of(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, taken: Mutex::default() }
    }

    /// Takes a share; `None` where there is none left, for all or for this caller.
    pub(super) fn take(shares: &Arc<Self>, caller: IpAddr) -> Option<Share> {
        let mut taken = shares.taken();
        let of_all: usize = taken.values().sum();
        let of_one = taken.get(&caller).copied().unwrap_or(0);
        if of_all >= shares.most || of_one >= shares.most_of_one {
            return None;
        }
        taken.insert(caller, of_one + 1);
        drop(taken);
        Some(Share { shares: Arc::clone(shares), caller })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(count) = taken.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_cannot_take_it_all_and_shares_come_back() {
        let shares = Arc::new(Shares::of(5, 3));
        let (one, two) = ("203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap());
        let mut of_one: Vec<Share> = (0..3).map(|_| Shares::take(&shares, one).unwrap()).collect();
        assert!(Shares::take(&shares, one).is_none(), "its own are taken");
        let of_two: Vec<Share> = (0..2).map(|_| Shares::take(&shares, two).unwrap()).collect();
        assert!(Shares::take(&shares, two).is_none(), "all are taken");
        of_one.pop();
        assert!(Shares::take(&shares, two).is_some());
        drop((of_one, of_two));
        assert!(shares.taken().is_empty(), "nobody is remembered who has none");
    }
}
