//! Lists of nodes: which nodes, in which order, and how they are written for whoever eats them.

mod formats;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::ExportFormat;
use super::judge::Permit;
use super::query::{Order, Query, States};
use crate::desired::{Country, NodeName, PoolName, Revision};

/// A node as a consumer may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub node: NodeName,
    /// Its pool.
    pub pool: PoolName,
    /// Where a consumer reaches it.
    pub host: Host,
    /// And on which port.
    pub port: u16,
    /// The countries its exits may stand in; empty means any.
    pub countries: Arc<BTreeSet<Country>>,
    /// The country of the exit that it leaves from, where that is known.
    pub country: Option<Country>,
    /// The address of that exit, where it is known.
    pub exit: Option<IpAddr>,
    /// How long its latest circuit took to build, in milliseconds.
    pub latency_ms: Option<u32>,
    /// What it does, in one word.
    pub state: &'static str,
    /// Whether it is ready for consumers.
    pub is_ready: bool,
}

/// A host that consumers reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// By its address.
    Address(IpAddr),
    /// By its name.
    Name(String),
}

/// A list, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// When it was made.
    pub at: Timestamp,
    /// The revision in force.
    pub revision: Option<Revision>,
    /// What its order follows from; `None` where it is sorted.
    pub seed: Option<String>,
    /// Its nodes.
    pub entries: Vec<Entry>,
}

/// Why a list cannot be written in a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// There is no node for it, and the client would take that for leave to go without.
    #[error("no node is there that was asked for, and without one {0} would connect directly")]
    Empty(&'static str),
    /// A node has a name where the client takes an address.
    #[error(
        "proxychains takes no name for a node, and the operator advertises `{0}`: ask for an address to be advertised"
    )]
    Name(String),
}

/// Chooses nodes: those that a permit has, that a query asks for, in its order, and no more than both allow.
///
/// `random` makes the seed for whoever asks for an order that is another one each time.
pub fn select(
    entries: Vec<Entry>,
    permit: &Permit,
    query: &Query,
    random: impl FnOnce() -> String,
) -> (Vec<Entry>, Option<String>) {
    let asked = |entry: &Entry| {
        permit.pools.contains(&entry.pool)
            && (query.states == States::Any || entry.is_ready)
            && (query.countries.is_empty() || entry.leaves_from().is_some_and(|it| query.countries.contains(&it)))
    };
    let mut chosen: Vec<Entry> = entries.into_iter().filter(asked).collect();
    let seed = match &query.order {
        Order::Sorted => None,
        Order::Random => Some(random()),
        Order::Seeded(seed) => Some(seed.clone()),
    };
    match &seed {
        Some(seed) => chosen.sort_by_cached_key(|entry| place(seed, &entry.node)),
        None => chosen.sort_by(|one, other| one.node.cmp(&other.node)),
    }
    let most = [permit.limit, query.limit].into_iter().flatten().min();
    chosen.truncate(most.unwrap_or(usize::MAX));
    (chosen, seed)
}

/// Where a node stands in the order of a seed. A node that comes or goes moves no other one.
fn place(seed: &str, node: &NodeName) -> [u8; 32] {
    Sha256::digest(format!("{seed}\n{node}")).into()
}

impl Entry {
    /// The country it leaves from: that of its exit, or the only one that it may leave from.
    fn leaves_from(&self) -> Option<Country> {
        let only = if self.countries.len() == 1 { self.countries.first().copied() } else { None };
        self.country.or(only)
    }

    /// `host:port`, as it stands in a URL.
    fn authority(&self) -> String {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            host => format!("{host}:{}", self.port),
        }
    }

    /// The URL of the node; its scheme says that it is the node that resolves names.
    pub fn url(&self) -> String {
        format!("socks5h://{}", self.authority())
    }
}

impl List {
    /// Writes the list.
    pub fn write(&self, format: ExportFormat) -> Result<String, Unwritable> {
        match format {
            ExportFormat::Txt => Ok(formats::txt(self)),
            ExportFormat::Csv => Ok(formats::csv(self)),
            ExportFormat::Json => Ok(formats::json(self)),
            ExportFormat::Proxychains => formats::proxychains(self),
            ExportFormat::Pac => formats::pac(self),
            ExportFormat::Curl => formats::curl(self),
        }
    }
}

/// What a list in a format is, for whoever receives it.
pub fn content_type(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Json => "application/json",
        ExportFormat::Csv => "text/csv; charset=utf-8; header=present",
        ExportFormat::Pac => "application/x-ns-proxy-autoconfig",
        ExportFormat::Txt | ExportFormat::Proxychains | ExportFormat::Curl => "text/plain; charset=utf-8",
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests;
