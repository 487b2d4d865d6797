//! Compares a guard that was read with the one that is wanted, the same for every driver: as a whole, and in sentences.
//!
//! What a guard's canonical form is, each driver says for itself.

use std::collections::BTreeMap;

use super::model::Guard;
use crate::observe::ObservedGuard;

/// How many differences of one sort are spelt out; the rest is counted.
const MAX_SHOWN: usize = 10;

/// A guard in the canonical form of a driver: two forms are equal when they let the same packets through.
pub trait Form: PartialEq + Sized {
    /// Why a guard has no such form.
    type Error;

    /// Compiles a guard.
    fn of(guard: &Guard) -> Result<Self, Self::Error>;

    /// Recovers a guard, where this may be one of ours. Only what a guard says need be looked at: the result is
    /// compiled and compared, so that a form of any other shape is found out there.
    fn guard(&self) -> Option<Guard>;

    /// Says in which ways `seen` is not `self`, one sentence each.
    fn differences(&self, seen: &Self) -> Vec<String>;
}

/// Says what it is that was read.
pub fn judge<F: Form>(wanted: &Guard, seen: &F) -> Result<ObservedGuard, F::Error> {
    let compiled = F::of(wanted)?;
    if compiled == *seen {
        return Ok(ObservedGuard::Exact(wanted.clone()));
    }
    if let Some(other) = seen.guard()
        && F::of(&other).is_ok_and(|compiled| compiled == *seen)
    {
        return Ok(ObservedGuard::Exact(other));
    }
    Ok(ObservedGuard::Altered(compiled.differences(seen)))
}

/// Compares two lists of rules: there are few wanted ones, and any number of others.
pub fn rules<R: PartialEq>(place: &str, (wanted, seen): (&[R], &[R]), show: impl Fn(&R) -> String) -> Vec<String> {
    let foreign = unmatched(seen, wanted).map(|(at, rule)| format!("rule {at} \"{}\" is not ours", show(rule)));
    let mut found = capped(place, foreign.collect());
    let missing = unmatched(wanted, seen).map(|(at, rule)| format!("rule {at} \"{}\" is missing", show(rule)));
    found.extend(capped(place, missing.collect()));
    if found.is_empty() && wanted != seen {
        found.push(format!("{place}: its rules stand in another order"));
    }
    found
}

/// The rules of `these` that have no counterpart in `those`, each with its place, counted from one.
fn unmatched<'a, R: PartialEq>(these: &'a [R], those: &'a [R]) -> impl Iterator<Item = (usize, &'a R)> {
    let mut left: Vec<&R> = those.iter().collect();
    (1..).zip(these).filter(move |(_, rule)| match left.iter().position(|other| other == rule) {
        Some(at) => {
            left.remove(at);
            false
        }
        None => true,
    })
}

/// Puts the place before each sentence, and counts those that would be too many.
pub fn capped(place: &str, mut sentences: Vec<String>) -> Vec<String> {
    let more = sentences.len().saturating_sub(MAX_SHOWN);
    sentences.truncate(MAX_SHOWN);
    sentences.extend((more > 0).then(|| format!("and {more} more of this sort")));
    sentences.iter().map(|sentence| format!("{place}: {sentence}")).collect()
}

/// Walks through two maps by the union of their keys.
pub fn pairs<'a, K: Ord, V>(
    left: &'a BTreeMap<K, V>,
    right: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let mut keys: Vec<&K> = left.keys().chain(right.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(|key| (key, left.get(key), right.get(key)))
}
