//! Says in which ways what was read is not what was wanted, one sentence each, for an operator.

use std::collections::BTreeMap;

use super::canonical::{Call, Canonical, Set, Table};
use crate::firewall::compare::{self, capped, pairs};
use crate::firewall::interval::Intervals;

/// What stands there and should not, and what should and does not.
pub fn between(wanted: &Canonical, seen: &Canonical) -> Vec<String> {
    let mut found = table("iptables", &wanted.v4, &seen.v4);
    found.extend(table("ip6tables", &wanted.v6, &seen.v6));
    found.extend(pairs(&wanted.sets, &seen.sets).flat_map(|(name, wanted, seen)| set(name, wanted, seen)));
    found
}

fn table(tool: &str, wanted: &Table, seen: &Table) -> Vec<String> {
    let mut found = calls(tool, &wanted.calls, &seen.calls);
    for (name, wanted, seen) in pairs(&wanted.chains, &seen.chains) {
        let place = format!("{tool}: chain {name}");
        match (wanted, seen) {
            (Some(_), None) => found.push(format!("{place} is missing")),
            (None, _) => found.push(format!("{place} is not ours")),
            (Some(wanted), Some(seen)) => found.extend(compare::rules(&place, (wanted, seen), ToString::to_string)),
        }
    }
    found
}

fn calls(tool: &str, wanted: &[Call], seen: &[Call]) -> Vec<String> {
    let is_same = |one: &Call, other: &Call| one.chain == other.chain && one.rule == other.rule;
    let say = |call: &Call, verdict: &str| format!("chain {}: rule \"{}\" {verdict}", call.chain, call.rule);
    let lost = wanted.iter().filter(|call| !seen.contains(call)).map(|call| {
        let is_there = seen.iter().any(|other| is_same(call, other));
        say(call, if is_there { "stands behind others' rules, which see packets first" } else { "is missing" })
    });
    let more = seen.iter().enumerate().filter_map(|(at, call)| {
        let is_ours = wanted.iter().any(|other| is_same(call, other));
        let is_repeated = seen.iter().take(at).any(|other| is_same(call, other));
        (!is_ours || is_repeated).then(|| say(call, if is_ours { "stands there twice" } else { "is not ours" }))
    });
    capped(tool, lost.chain(more).collect())
}

fn set(name: &str, wanted: Option<&Set>, seen: Option<&Set>) -> Vec<String> {
    match (wanted, seen) {
        (Some(_), None) => vec![format!("set {name} is missing")],
        (None, _) => vec![format!("set {name} is not ours")],
        (Some(wanted), Some(seen)) => {
            let place = format!("set {name}");
            let mut found = properties(&place, &wanted.properties, &seen.properties);
            found.extend(members(&place, &wanted.members.without(&seen.members), "is missing"));
            found.extend(members(&place, &seen.members.without(&wanted.members), "should not be there"));
            let strange = seen.strange.iter().map(|entry| format!("{entry} should not be there"));
            found.extend(capped(&place, strange.collect()));
            found
        }
    }
}

fn members(place: &str, members: &Intervals, verdict: &str) -> Vec<String> {
    capped(place, members.iter().map(|member| format!("{member} {verdict}")).collect())
}

fn properties(place: &str, wanted: &BTreeMap<String, String>, seen: &BTreeMap<String, String>) -> Vec<String> {
    let differing = pairs(wanted, seen).filter(|(_, wanted, seen)| wanted != seen);
    let sentences = differing.map(|(key, wanted, seen)| match (wanted, seen) {
        (Some(wanted), Some(seen)) => format!("{key} is {seen} instead of {wanted}"),
        (Some(wanted), None) => format!("{key} {wanted} is missing"),
        (None, _) => format!("{key} should not be there"),
    });
    capped(place, sentences.collect())
}
