//! What was made of the status that was published last, kept for whoever asks for the same again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use crate::status::Status;

/// So many things of one status are kept: more are asked for only by whoever makes queries up.
const MOST_KEPT: usize = 64;

/// Things that were made of one status, by what makes them different.
#[derive(Debug)]
pub(super) struct Kept<K, V>(Mutex<Made<K, V>>);

#[derive(Debug)]
struct Made<K, V> {
    of: Option<Arc<Status>>,
    things: HashMap<K, V>,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Made { of: None, things: HashMap::new() }))
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    /// Finds a thing, or makes it. Whoever asks for the same meanwhile waits for it, which takes milliseconds.
    pub(super) fn find<E>(&self, status: &Arc<Status>, key: K, make: impl FnOnce(&K) -> Result<V, E>) -> Result<V, E> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !made.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, status)) {
            *made = Made { of: Some(Arc::clone(status)), things: HashMap::new() };
        }
        if let Some(thing) = made.things.get(&key) {
            return Ok(thing.clone());
        }
        let thing = make(&key)?;
        if made.things.len() < MOST_KEPT {
            made.things.insert(key, thing.clone());
        }
        Ok(thing)
    }
}
