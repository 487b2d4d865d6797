//! Reads what `iptables-save` and `ipset save` write, and leaves out everything that is not ours.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::canonical::{Call, HOOK, Place, Rule, Set, Sets, TABLE, Table, is_our_chain, is_our_set};
use crate::firewall::interval::Interval;

/// Why a text is not a save.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// The table is not in it.
    #[error("the table {TABLE} is not in it")]
    NoTable,
    /// The table begins and does not end.
    #[error("the table {TABLE} does not end")]
    Truncated,
    /// A line of ours is something else.
    #[error("a line in it cannot be understood: {0}")]
    Line(String),
}

/// How an ipset is stored, which says nothing about what is in it.
const STORAGE: [&str; 3] = ["hashsize", "bucketsize", "initval"];
/// The options of an ipset that have a value.
const WITH_VALUE: [&str; 9] =
    ["family", "hashsize", "maxelem", "bucketsize", "initval", "timeout", "netmask", "bitmask", "markmask"];

/// Reads what is ours in the table `mangle` of a save.
pub fn table(text: &str) -> Result<Table, SaveError> {
    let begin = format!("*{TABLE}");
    let mut lines = text.lines().skip_while(|line| *line != begin);
    lines.next().ok_or(SaveError::NoTable)?;
    let mut table = Table::default();
    // How many rules were seen in each chain that is not ours.
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines {
        if line == "COMMIT" {
            return Ok(table);
        }
        if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split(' ').next().unwrap_or_default();
            if is_our_chain(name) {
                table.chains.entry(name.to_owned()).or_default();
            }
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
            let seen = others.entry(chain).or_default();
            *seen += 1;
            take(&mut table, (chain, *seen), rule)?;
        }
    }
    Err(SaveError::Truncated)
}

fn take(table: &mut Table, (chain, position): (&str, usize), text: &str) -> Result<(), SaveError> {
    let rule = Rule::parse(text);
    if is_our_chain(chain) {
        let rule = rule.ok_or_else(|| SaveError::Line(text.to_owned()))?;
        table.chains.entry(chain.to_owned()).or_default().push(rule);
    } else if let Some(rule) = rule.filter(|rule| rule.target().is_some_and(is_our_chain)) {
        let place = if chain == HOOK && position == 1 { Place::First } else { Place::Later };
        table.calls.push(Call { chain: chain.to_owned(), place, rule });
    }
    Ok(())
}

/// Reads our sets in the save of all.
pub fn sets(text: &str) -> Result<Sets, SaveError> {
    let mut sets = Sets::new();
    let mut members: BTreeMap<&str, Vec<Interval>> = BTreeMap::new();
    for line in text.lines() {
        let refuse = || SaveError::Line(line.to_owned());
        let (command, rest) = line.split_once(' ').ok_or_else(refuse)?;
        let (name, rest) = rest.split_once(' ').ok_or_else(refuse)?;
        if !is_our_set(name) {
            continue;
        }
        match command {
            "create" => {
                sets.insert(name.to_owned(), Set { properties: properties(rest), ..Set::default() });
            }
            "add" => match interval(rest) {
                Some(interval) => members.entry(name).or_default().push(interval),
                None => sets.get_mut(name).ok_or_else(refuse)?.strange.push(rest.to_owned()),
            },
            _ => return Err(refuse()),
        }
    }
    for (name, members) in members {
        let set = sets.get_mut(name).ok_or_else(|| SaveError::Line(format!("add {name}")))?;
        set.members = members.into_iter().collect();
    }
    Ok(sets)
}

fn properties(text: &str) -> BTreeMap<String, String> {
    let mut words = text.split_ascii_whitespace();
    let mut properties = BTreeMap::from([("type".to_owned(), words.next().unwrap_or_default().to_owned())]);
    while let Some(word) = words.next() {
        let value = if WITH_VALUE.contains(&word) { words.next().unwrap_or_default() } else { "" };
        if !STORAGE.contains(&word) {
            properties.insert(word.to_owned(), value.to_owned());
        }
    }
    properties
}

/// Reads an entry that is nothing but an address or a network.
fn interval(text: &str) -> Option<Interval> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Interval::new(network.network(), network.broadcast())
}
