//! The transactions that put a guard in place, change it and remove it, as documents for `nft -j -f -`.
//!
//! nft carries a document out as a whole or not at all. The table is made once and changed from within: deleting and
//! making it again lets nothing through either, but stalls connections for hundreds of milliseconds. Where only whitelists
//! change, the rules stay as they are, and of the sets only what differs is touched.

use std::collections::BTreeSet;

use ipnet::IpNet;
use nftables::schema::{FlushObject, NfCmd, NfListObject, NfObject, Set as NfSet, Table};
use serde_json::{Value, json};

use super::canonical::{Canonical, Properties, Set};
use super::compile::{self, FAMILY, FAMILY_NAME, TABLE};
use crate::firewall::model::Guard;

/// Makes the table where there is none.
pub fn install(guard: &Guard) -> Value {
    document(Vec::new(), guard)
}

/// Makes the table anew, whatever stands in it.
pub fn replace(guard: &Guard) -> Value {
    document(delete_table().to_vec(), guard)
}

/// Removes the table; it need not be there.
pub fn remove() -> Value {
    json!({ "nftables": delete_table() })
}

/// Changes the table that was `seen` from within, to be what `wanted` and `guard` both say.
pub fn update(guard: &Guard, wanted: &Canonical, seen: &Canonical) -> Value {
    // Adding a table that is there says that it has no flags: that wakes a dormant one.
    let mut first = vec![add(compile::table()), flush_rules()];
    first.extend(clear_out(wanted, seen));
    first.extend(kept_sets(wanted, seen).map(flush_set));
    document(first, guard)
}

/// Beyond so many, emptying a set and filling it again is quicker than deleting elements one by one.
const MOST_DELETED: usize = 10;

/// Changes nothing but what the sets hold, and of that only what differs; `None` where more has to change, or nothing.
///
/// It takes for granted that the sets hold the networks that we would have put in; where somebody else has put in the
/// same addresses in another way, nft refuses it.
pub fn refill(wanted: &Canonical, seen: &Canonical) -> Option<Value> {
    let rest_is_same = wanted.table == seen.table && wanted.chains == seen.chains && wanted.others == seen.others;
    let only_members_differ = rest_is_same
        && wanted.sets.len() == seen.sets.len()
        && wanted.sets.iter().all(|(name, set)| {
            seen.sets.get(name).is_some_and(|seen| seen.properties == set.properties && seen.strange == set.strange)
        });
    if !only_members_differ {
        return None;
    }
    let commands: Vec<Value> =
        wanted.sets.iter().flat_map(|(name, set)| refill_set(name, set, &seen.sets[name])).collect();
    (!commands.is_empty()).then(|| json!({ "nftables": commands }))
}

fn refill_set(name: &String, wanted: &Set, seen: &Set) -> Vec<Value> {
    let networks = |set: &Set| set.members.networks().into_iter().collect::<BTreeSet<IpNet>>();
    let (wanted, seen) = (networks(wanted), networks(seen));
    let gone: Vec<&IpNet> = seen.difference(&wanted).collect();
    if gone.len() > MOST_DELETED {
        let all: Vec<&IpNet> = wanted.iter().collect();
        return [flush_set(name)].into_iter().chain(compile::element(name, &all).map(add)).collect();
    }
    let come: Vec<&IpNet> = wanted.difference(&seen).collect();
    // A network that is split gives its place to its parts.
    let gone = compile::element(name, &gone).map(|element| json!(NfObject::CmdObject(NfCmd::Delete(element))));
    gone.into_iter().chain(compile::element(name, &come).map(add)).collect()
}

/// Deletes what is not ours, in the order in which nothing deleted is still referred to: maps name chains and objects.
fn clear_out(wanted: &Canonical, seen: &Canonical) -> Vec<Value> {
    let (maps, objects): (Vec<_>, Vec<_>) = seen.others.keys().partition(|(kind, _)| kind == "map");
    let kept: Vec<&String> = kept_sets(wanted, seen).collect();
    let sets = seen.sets.keys().filter(|name| !kept.contains(name)).map(|name| delete("set", name));
    let chains = seen.chains.iter().filter(|(name, chain)| {
        wanted.chains.get(*name).is_none_or(|wanted| !alterable(&chain.properties, &wanted.properties))
    });
    let chains = chains.map(|(name, _)| delete("chain", name));
    let named = |(kind, name): &(String, String)| delete(kind, name);
    let maps: Vec<Value> = maps.into_iter().map(named).collect();
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
fn document(first: Vec<Value>, guard: &Guard) -> Value {
    let objects = [compile::table()].into_iter().chain(compile::frame(guard)).chain(compile::filling(guard));
    let commands: Vec<Value> = first.into_iter().chain(objects.map(add)).collect();
    json!({ "nftables": commands })
}

fn add(object: NfListObject<'static>) -> Value {
    json!(NfObject::CmdObject(NfCmd::Add(object)))
}

/// Adding first makes the deletion right whether the table is there or not.
fn delete_table() -> [Value; 2] {
    [add(compile::table()), json!(NfObject::CmdObject(NfCmd::Delete(compile::table())))]
}

fn flush_rules() -> Value {
    let table = Table { family: FAMILY, name: TABLE.into(), handle: None };
    json!(NfObject::CmdObject(NfCmd::Flush(FlushObject::Table(table))))
}

fn flush_set(name: &String) -> Value {
    let set = NfSet { family: FAMILY, table: TABLE.into(), name: name.into(), ..NfSet::default() };
    json!(NfObject::CmdObject(NfCmd::Flush(FlushObject::Set(Box::new(set)))))
}

/// Untyped: somebody may have put a kind of object into our table that the schema does not know.
fn delete(kind: &str, name: &str) -> Value {
    json!({ "delete": { kind: { "family": FAMILY_NAME, "table": TABLE, "name": name } } })
}
