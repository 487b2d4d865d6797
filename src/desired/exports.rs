//! What `exports` and the limits of `access` mean: who may download which lists of nodes, and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

pub use super::document::ExportFormat;
use super::names::PoolName;
use super::values::TrustedKey;
use super::{Access, Desired};

/// Who may download which lists of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exports {
    /// The host written into the lists; `None` means where a pool listens.
    pub advertise: Option<String>,
    /// The keys whose tokens are believed.
    pub trusted_keys: Vec<TrustedKey>,
    /// The grants, by name.
    pub grants: BTreeMap<String, Grant>,
    /// The ids of tokens that are no longer believed.
    pub revoked: BTreeSet<String>,
}

/// What a token may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The pools that may be downloaded.
    pub pools: BTreeSet<PoolName>,
    /// The formats that may be downloaded.
    pub formats: BTreeSet<ExportFormat>,
    /// From where; empty means anywhere.
    pub allow: BTreeSet<IpNet>,
    /// How long a token may be valid at most.
    pub max_ttl: Duration,
    /// How many nodes a list has at most; `None` means all.
    pub limit: Option<usize>,
    /// How many lists may be downloaded in a time; `None` means any number.
    pub quota: Option<Quota>,
}

/// No token is good for longer, and no quota counts for longer.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// How many lists may be downloaded in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// So many downloads.
    pub downloads: u32,
    /// In this time.
    pub per: Duration,
}

/// How often one client may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests a minute.
    pub per_minute: u32,
    /// Requests a minute whose token was refused.
    pub failed_per_minute: u32,
    /// Refused tokens in a row after which a client is locked out.
    pub lockout_after: u32,
    /// How long it stays locked out.
    pub lockout_for: Duration,
}

impl Desired {
    /// Who may open a connection to the page's port: readers of the page, the proxies in front of it, and those whom a
    /// grant names. What each of them may have is the page's own business.
    pub fn callers(&self) -> BTreeSet<IpNet> {
        let Access { panel, trusted_proxies, .. } = &self.access;
        let granted = self.exports.grants.values().flat_map(|grant| &grant.allow);
        panel.iter().chain(trusted_proxies).chain(granted).copied().collect()
    }
}

/// Writes a network of IPv4 addresses within IPv6, `::ffff:203.0.113.0/120`, as the IPv4 network that it is.
pub fn canonical(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_BITS));
    let v4 = mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    v4.map_or(network, IpNet::V4)
}
