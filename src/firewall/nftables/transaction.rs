//! The transactions that put a guard in place, change it and remove it, as documents for `nft -j -f -`.
//!
//! nft carries a document out as a whole or not at all. The table is made once and changed from within: deleting and
//! making it again lets nothing through either, but stalls connections for hundreds of milliseconds. Where only whitelists
//! change, the rules stay as they are, and of the sets only what differs is touched.

use std::collections::BTreeSet;

use ipnet::IpNet;
use nftables::schema::{FlushObject, NfCmd, NfListObject, NfObject, Set as NfSet, Table};
use serde::Serialize;
use serde_json::{Value, json};

use super::canonical::{Canonical, Properties, Set};
use super::compile::{self, FAMILY, FAMILY_NAME, TABLE};
use crate::firewall::model::Guard;

/// What nft is given. It is written down in one go, since ten thousand elements are many objects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    nftables: Vec<Command>,
}

/// One command of a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum Command {
    /// About an object that the schema knows.
    Typed(Box<NfObject<'static>>),
    /// About an object of others, of whatever kind.
    Untyped(Value),
}

impl Document {
    /// Its text.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("its keys are strings")
    }
}

/// Makes the table where there is none.
pub fn install(guard: &Guard) -> Document {
    document(Vec::new(), guard)
}

/// Makes the table anew, whatever stands in it.
pub fn replace(guard: &Guard) -> Document {
    document(delete_table().to_vec(), guard)
}

/// Removes the table; it need not be there.
pub fn remove() -> Document {
    Document { nftables: delete_table().to_vec() }
}

/// Changes the table that was `seen` from within, to be what `wanted` and `guard` both say.
pub fn update(guard: &Guard, wanted: &Canonical, seen: &Canonical) -> Document {
    // Adding a table that is there says that it has no flags: that wakes a dormant one.
    let mut first = vec![add(compile::table()), flush_rules()];
    first.extend(clear_out(wanted, seen));
    first.extend(kept_sets(wanted, seen).map(|name| flush_set(name)));
    document(first, guard)
}

/// Beyond so many, emptying a set and filling it again is quicker than deleting elements one by one.
const MOST_DELETED: usize = 10;

/// Changes nothing but what the sets hold, and of that only what differs; `None` where more has to change, or nothing.
///
/// It takes for granted that the sets hold the networks that we would have put in; where somebody else has put in the
/// same addresses in another way, nft refuses it.
pub fn refill(wanted: &Canonical, seen: &Canonical) -> Option<Document> {
    let rest_is_same = wanted.table == seen.table && wanted.chains == seen.chains && wanted.others == seen.others;
    let only_members_differ = rest_is_same
        && wanted.sets.len() == seen.sets.len()
        && wanted.sets.iter().all(|(name, set)| {
            seen.sets.get(name).is_some_and(|seen| seen.properties == set.properties && seen.strange == set.strange)
        });
    if !only_members_differ {
        return None;
    }
    let nftables: Vec<Command> =
        wanted.sets.iter().flat_map(|(name, set)| refill_set(name, set, &seen.sets[name])).collect();
    (!nftables.is_empty()).then_some(Document { nftables })
}

fn refill_set(name: &str, wanted: &Set, seen: &Set) -> Vec<Command> {
    let networks = |set: &Set| set.members.networks().into_iter().collect::<BTreeSet<IpNet>>();
    let (wanted, seen) = (networks(wanted), networks(seen));
    let gone: Vec<&IpNet> = seen.difference(&wanted).collect();
    if gone.len() > MOST_DELETED {
        let all: Vec<&IpNet> = wanted.iter().collect();
        return [flush_set(name)].into_iter().chain(compile::element(name, &all).map(add)).collect();
    }
    let come: Vec<&IpNet> = wanted.difference(&seen).collect();
    // A network that is split gives its place to its parts.
    let gone = compile::element(name, &gone).map(|element| typed(NfCmd::Delete(element)));
    gone.into_iter().chain(compile::element(name, &come).map(add)).collect()
}

/// Deletes what is not ours, in the order in which nothing deleted is still referred to: maps name chains and objects.
fn clear_out(wanted: &Canonical, seen: &Canonical) -> Vec<Command> {
    let (maps, objects): (Vec<_>, Vec<_>) = seen.others.keys().partition(|(kind, _)| kind == "map");
    let kept: Vec<&String> = kept_sets(wanted, seen).collect();
    let sets = seen.sets.keys().filter(|name| !kept.contains(name)).map(|name| delete("set", name));
    let chains = seen.chains.iter().filter(|(name, chain)| {
        wanted.chains.get(*name).is_none_or(|wanted| !alterable(&chain.properties, &wanted.properties))
    });
    let chains = chains.map(|(name, _)| delete("chain", name));
    let named = |(kind, name): &(String, String)| delete(kind, name);
    let maps: Vec<Command> = maps.into_iter().map(named).collect();
    let objects = objects.into_iter().map(named);
    maps.into_iter().chain(sets).chain(chains).chain(objects).collect()
}

/// The sets that can be kept: their type and flags cannot be changed.
fn kept_sets<'a>(wanted: &'a Canonical, seen: &'a Canonical) -> impl Iterator<Item = &'a String> {
    let same = |(name, set): &(&String, &Set)| {
        wanted.sets.get(*name).is_some_and(|wanted| wanted.properties == set.properties)
    };
    seen.sets.iter().filter(same).map(|(name, _)| name)
}

/// Whether adding the chain again makes it right: of a chain that is there, only the policy can be changed.
fn alterable(seen: &Properties, wanted: &Properties) -> bool {
    let fixed = |properties: &Properties| {
        properties.iter().filter(|(key, _)| *key != "policy").map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let (seen, wanted): (Properties, Properties) = (fixed(seen), fixed(wanted));
    seen == wanted
}

/// What comes first, then the table, its frame and its filling.
fn document(first: Vec<Command>, guard: &Guard) -> Document {
    let objects = [compile::table()].into_iter().chain(compile::frame(guard)).chain(compile::filling(guard));
    Document { nftables: first.into_iter().chain(objects.map(add)).collect() }
}

fn add(object: NfListObject<'static>) -> Command {
    typed(NfCmd::Add(object))
}

/// Adding first makes the deletion right whether the table is there or not.
fn delete_table() -> [Command; 2] {
    [add(compile::table()), typed(NfCmd::Delete(compile::table()))]
}

fn typed(command: NfCmd<'static>) -> Command {
    Command::Typed(Box::new(NfObject::CmdObject(command)))
}

fn flush_rules() -> Command {
    let table = Table { family: FAMILY, name: TABLE.into(), handle: None };
    typed(NfCmd::Flush(FlushObject::Table(table)))
}

fn flush_set(name: &str) -> Command {
    let set = NfSet { family: FAMILY, table: TABLE.into(), name: name.to_owned().into(), ..NfSet::default() };
    typed(NfCmd::Flush(FlushObject::Set(Box::new(set))))
}

/// Untyped: somebody may have put a kind of object into our table that the schema does not know.
fn delete(kind: &str, name: &str) -> Command {
    Command::Untyped(json!({ "delete": { kind: { "family": FAMILY_NAME, "table": TABLE, "name": name } } }))
}
