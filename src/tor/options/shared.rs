//! The values of an option, which many instances have alike: a long one is kept once.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The values of one option, in tor's order.
pub type Values = Arc<[String]>;

/// From so many bytes on, values are looked for among those that others have: `ExitNodes` takes 42 for each exit, and is
/// the same for all instances with one wish.
const LONG_BYTES: usize = 1_024;

/// The long values that somebody has now.
static LONG: Mutex<Vec<Weak<[String]>>> = Mutex::new(Vec::new());

/// Shares values with whoever has the same.
pub(super) fn shared(values: Vec<String>) -> Values {
    let bytes: usize = values.iter().map(String::len).sum();
    if bytes < LONG_BYTES {
        return values.into();
    }
    // Each entry is whole between any two statements, so a panic elsewhere spoils nothing.
    let mut long = LONG.lock().unwrap_or_else(PoisonError::into_inner);
    long.retain(|known| known.strong_count() > 0);
    if let Some(known) = long.iter().filter_map(Weak::upgrade).find(|known| **known == *values) {
        return known;
    }
    let values: Values = values.into();
    long.push(Arc::downgrade(&values));
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_kept_once_and_no_longer_than_somebody_has_it() {
        let long = |letter: &str| vec![letter.repeat(LONG_BYTES)];
        let (one, same, other) = (shared(long("a")), shared(long("a")), shared(long("b")));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        let gone = Arc::downgrade(&one);
        drop((one, same));
        assert!(gone.upgrade().is_none());
        assert_eq!(*shared(long("a")), *long("a"));
    }
}
