//! Says in which ways a table that was read is not the one that was wanted, one sentence each, for an operator.

use std::fmt::Display;

use serde_json::Value;

use super::canonical::{Canonical, Chain, Properties, Set};
use super::pretty;
use crate::firewall::compare::{self, capped, pairs};
use crate::firewall::interval::Intervals;

/// What stands in the table and should not, and what should and does not.
pub fn between(wanted: &Canonical, seen: &Canonical) -> Vec<String> {
    let mut found = table(&wanted.table, &seen.table);
    let sets = pairs(&wanted.sets, &seen.sets);
    found.extend(sets.flat_map(|(name, wanted, seen)| set(name, wanted, seen)));
    let chains = pairs(&wanted.chains, &seen.chains);
    found.extend(chains.flat_map(|(name, wanted, seen)| chain(name, wanted, seen)));
    found.extend(seen.others.keys().map(|(kind, name)| format!("{kind} {name} is not ours")));
    found
}

fn table(wanted: &Properties, seen: &Properties) -> Vec<String> {
    let Some(flags) = seen.get("flags") else { return properties("table", wanted, seen) };
    let mut rest = seen.clone();
    rest.remove("flags");
    let mut found = vec![flagged(flags)];
    found.extend(properties("table", wanted, &rest));
    found
}

fn flagged(flags: &Value) -> String {
    // nft 1.0.6 writes the family's name where the flag's should stand. Of the two flags that it knows, an owned
    // table could not have been changed by others, so it is the other one.
    if *flags == serde_json::json!(["dormant"]) || *flags == serde_json::json!(["inet"]) {
        return "table is dormant: none of its rules is in force".to_owned();
    }
    format!("table has the flags {}", compact(flags))
}

fn set(name: &str, wanted: Option<&Set>, seen: Option<&Set>) -> Vec<String> {
    match (wanted, seen) {
        (Some(_), None) => vec![format!("set {name} is missing")],
        (None, Some(_)) => vec![format!("set {name} is not ours")],
        (None, None) => Vec::new(),
        (Some(wanted), Some(seen)) => {
            let place = format!("set {name}");
            let mut found = properties(&place, &wanted.properties, &seen.properties);
            found.extend(members(&place, &wanted.members.without(&seen.members), "is missing"));
            found.extend(members(&place, &seen.members.without(&wanted.members), "should not be there"));
            let strange = seen.strange.iter().map(|element| format!("{} should not be there", compact(element)));
            found.extend(capped(&place, strange.collect()));
            found
        }
    }
}

fn members(place: &str, members: &Intervals, verdict: &str) -> Vec<String> {
    capped(place, members.iter().map(|member| format!("{member} {verdict}")).collect())
}

fn chain(name: &str, wanted: Option<&Chain>, seen: Option<&Chain>) -> Vec<String> {
    match (wanted, seen) {
        (Some(_), None) => vec![format!("chain {name} is missing")],
        (None, Some(_)) => vec![format!("chain {name} is not ours")],
        (None, None) => Vec::new(),
        (Some(wanted), Some(seen)) => {
            let place = format!("chain {name}");
            let mut found = properties(&place, &wanted.properties, &seen.properties);
            found.extend(compare::rules(&place, (&wanted.rules, &seen.rules), pretty::rule));
            found
        }
    }
}

fn properties(place: &str, wanted: &Properties, seen: &Properties) -> Vec<String> {
    let differing = pairs(wanted, seen).filter(|(_, wanted, seen)| wanted != seen);
    let sentences = differing.map(|(key, wanted, seen)| match (wanted, seen) {
        (Some(wanted), Some(seen)) => {
            let verb = if seen.is_array() { "are" } else { "is" };
            format!("{key} {verb} {} instead of {}", compact(seen), compact(wanted))
        }
        (Some(wanted), None) => format!("{key} {} is missing", compact(wanted)),
        (None, seen) => format!("{key} {} should not be there", seen.map_or_else(String::new, compact)),
    });
    capped(place, sentences.collect())
}

/// A word as it is, anything else as JSON.
fn compact(value: &Value) -> String {
    value.as_str().map_or_else(|| (value as &dyn Display).to_string(), str::to_owned)
}
