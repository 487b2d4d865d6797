//! From where the nodes leave: exits by country.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::status::describe::count;
use crate::status::{NodeStatus, Status};

/// So many countries are listed one by one.
const COUNTRIES_SHOWN: usize = 24;

/// The exits that are in use.
#[derive(Debug, Serialize)]
pub(super) struct Places {
    sentence: String,
    countries: Vec<Place>,
    rest: Option<String>,
}

/// A country, and how many nodes leave from it.
#[derive(Debug, Serialize)]
struct Place {
    code: String,
    nodes: usize,
    /// Of the largest, in percent.
    share: usize,
}

pub(super) fn of<'a>(status: &Status, nodes: impl Iterator<Item = &'a NodeStatus> + Clone) -> Option<Places> {
    if status.nodes.is_empty() {
        return None;
    }
    let exits = || nodes.clone().filter_map(|node| node.exit.as_ref());
    let mut by_country: BTreeMap<String, usize> = BTreeMap::new();
    for exit in exits() {
        let code = exit.country.map_or_else(|| "?".to_owned(), |country| country.to_string().to_uppercase());
        *by_country.entry(code).or_default() += 1;
    }
    let known = exits().count();
    let relays: BTreeSet<_> = exits().map(|exit| exit.fingerprint.as_bytes()).collect();
    let mut countries: Vec<(String, usize)> = by_country.into_iter().collect();
    countries.sort_by_key(|(code, nodes)| (std::cmp::Reverse(*nodes), code.clone()));
    let sentence = sentence(known, relays.len(), countries.len(), nodes.clone().count() - known);
    let most = countries.first().map_or(1, |(_, nodes)| *nodes);
    let rest: Vec<_> = countries.split_off(countries.len().min(COUNTRIES_SHOWN));
    let place = |(code, nodes)| Place { code, nodes, share: (nodes * 100 / most).max(1) };
    Some(Places {
        sentence,
        countries: countries.into_iter().map(place).collect(),
        rest: (!rest.is_empty()).then(|| {
            let nodes: usize = rest.iter().map(|(_, nodes)| nodes).sum();
            format!("{} from {} more countries.", count(nodes, "node"), rest.len())
        }),
    })
}

fn sentence(nodes: usize, relays: usize, countries: usize, unknown: usize) -> String {
    let verb = if nodes == 1 { "leaves" } else { "leave" };
    let countries = if countries == 1 { "1 country".to_owned() } else { format!("{countries} countries") };
    let known =
        (nodes > 0).then(|| format!("{} {verb} by {} in {countries}.", count(nodes, "node"), count(relays, "exit")));
    let unknown = match unknown {
        0 => None,
        1 => Some("Of 1 node nobody knows its exit now.".to_owned()),
        many => Some(format!("Of {many} nodes nobody knows their exits now.")),
    };
    known.into_iter().chain(unknown).collect::<Vec<_>>().join(" ")
}
