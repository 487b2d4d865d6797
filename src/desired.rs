//! The desired state: what one revision of the source says the host should be.
//!
//! [`load::load`] turns bytes, and those of the lists that they name, into a [`Desired`] in one go: parse, default, validate, all or nothing. Nothing later
//! validates again, and nothing here touches the host.
//!
//! - [`document`] has the file's own types, one to one (serde, schemars); they say what may be written.
//! - [`Desired`] and the types in this file are the meaning of a valid document; they are what `plan` reads.

pub mod alerts;
mod audit;
pub mod country;
pub mod diagnostic;
pub mod document;
pub mod edit;
pub mod exports;
mod findings;
mod instances;
pub mod lists;
pub mod load;
mod meaning;
pub mod names;
mod reader;
pub mod schema;
pub mod secret;
pub mod sign_in;
mod tree;
mod validate;
pub mod values;
mod whitelist;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use alerts::Alerts;
pub use audit::{AddressPolicy, AuditPolicy};
pub use country::Country;
pub use diagnostic::{Diagnostic, Look, Severity};
pub use exports::{Exports, RateLimit};
pub use instances::{Instance, MAX_SOCKS_POLICY_ENTRIES, Node};
pub use lists::Lists;
pub use load::{Invalid, Loaded, load};
pub use names::{Fingerprint, InstanceName, NodeName, PoolName, Revision};
pub use sign_in::SignIn;

/// The validated content of one revision of the source.
///
/// The default value is an empty pool with the defaults of every field, as if the file were `version: 1`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// The pools, in the file's order; names are unique and ports do not overlap.
    pub pools: Vec<Pool>,
    /// Who may reach what.
    pub access: Access,
    /// How the firewall is kept.
    pub firewall: FirewallPolicy,
    /// How the difference is removed.
    pub reconcile: ReconcilePolicy,
    /// How nodes are judged.
    pub health: HealthPolicy,
    /// Who may download which lists of nodes.
    pub exports: Exports,
    /// Who is told about what; shared with every status.
    pub alerts: Arc<Alerts>,
    /// How long the audit trail is kept, and what it says of addresses.
    pub audit: AuditPolicy,
}

/// A named group of nodes with one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The pool's name.
    pub name: PoolName,
    /// How many nodes it has.
    pub size: u16,
    /// The countries its exits may stand in; empty means any.
    pub countries: Arc<BTreeSet<Country>>,
    /// The address on which its nodes' SOCKS ports listen.
    pub listen: IpAddr,
    /// Node `i` listens on `socks_port + i`.
    pub socks_port: u16,
    /// How often a node changes its exit; `None` leaves it to tor.
    pub rotate_every: Option<Duration>,
    /// How many nodes share one tor process.
    pub nodes_per_instance: NonZeroU16,
    /// Which exits its nodes may use.
    pub exits: Arc<ExitPolicy>,
    /// Extra torrc options, by name; a name may have several values.
    pub torrc: Arc<BTreeMap<String, Vec<String>>>,
}

/// Which exits the nodes of a pool may use, beyond their country.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ExitPolicy {
    /// No two nodes leave from one address.
    pub distinct: bool,
    /// No two nodes leave from one IPv4 subnet of this prefix length.
    pub avoid_shared_subnet: Option<u8>,
    /// Only these exits.
    pub pin: BTreeSet<Fingerprint>,
    /// Never these exits.
    pub exclude: BTreeSet<Fingerprint>,
}

impl ExitPolicy {
    /// In how many leading bits the IPv4 addresses of two nodes' exits must not agree; `None` where it is all the same.
    pub fn own_prefix(&self) -> Option<u8> {
        const ADDRESS: u8 = 32;
        self.avoid_shared_subnet.or(self.distinct.then_some(ADDRESS))
    }
}

/// Who may reach what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Who may reach the SOCKS ports; empty means nobody but this host.
    pub socks: Arc<BTreeSet<IpNet>>,
    /// Who may reach the status page; empty means nobody but this host.
    pub panel: BTreeSet<IpNet>,
    /// Who may reach SSH; `None` means that SSH is left alone.
    pub ssh: Option<SshAccess>,
    /// What becomes of a change that locks somebody out who is inside now.
    pub lockout: Lockout,
    /// How often one client may ask; `None` means as often as it likes.
    pub rate_limit: Option<RateLimit>,
    /// The proxies whose word on where a request comes from is believed.
    pub trusted_proxies: BTreeSet<IpNet>,
    /// Who reads the page with a password; `None` means that an address on the list is enough.
    pub sign_in: Option<SignIn>,
    /// Where this stands in the file.
    pub lines: AccessLines,
}

/// Who may reach SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAccess {
    /// The ports of SSH.
    pub ports: BTreeSet<u16>,
    /// Who may reach them.
    pub allow: BTreeSet<IpNet>,
}

/// What becomes of a change that locks somebody out who is inside now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lockout {
    /// It is held.
    #[default]
    Held,
    /// It is meant.
    Allowed,
}

/// On which lines of the file whitelists stand, for those who have to change them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccessLines {
    /// The line of `access.ssh.allow`.
    pub ssh: Option<usize>,
    /// The line of `access.panel`.
    pub panel: Option<usize>,
    /// The line of `firewall.control_ports`.
    pub control_ports: Option<usize>,
}

/// Which driver keeps the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriverChoice {
    /// Whatever this host has.
    #[default]
    Auto,
    /// Our own nftables table.
    Nftables,
    /// Our own iptables chains.
    Iptables,
    /// ufw's allow entries in front of the guard.
    Ufw,
    /// firewalld's policy in front of the guard.
    Firewalld,
    /// No firewall at all.
    None,
}

/// Who keeps a change of the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Confirmation {
    /// The probes that passed before it.
    #[default]
    Auto,
    /// An operator.
    Manual,
}

impl DriverChoice {
    /// The driver of that name, where there is one.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Auto, Self::Nftables, Self::Iptables, Self::Ufw, Self::Firewalld, Self::None];
        all.into_iter().find(|choice| choice.name() == name)
    }

    /// The choice's word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::Ufw => "ufw",
            Self::Firewalld => "firewalld",
            Self::None => "none",
        }
    }
}

/// How the firewall is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallPolicy {
    /// The driver.
    pub driver: DriverChoice,
    /// TCP ports that are always closed from outside.
    pub control_ports: RangeInclusive<u16>,
    /// How many echo requests a second are answered; the rest is dropped.
    pub icmp_per_second: u32,
    /// How long a change may stay unconfirmed.
    pub confirm_within: Duration,
    /// Who confirms it.
    pub confirm: Confirmation,
}

impl Default for FirewallPolicy {
    fn default() -> Self {
        Self {
            driver: DriverChoice::Auto,
            control_ports: 40_000..=40_099,
            icmp_per_second: 10,
            confirm_within: Duration::from_secs(60),
            confirm: Confirmation::Auto,
        }
    }
}

/// Whether drift is removed or only reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SelfHeal {
    /// Drift is removed.
    #[default]
    On,
    /// Drift is reported and left alone.
    Report,
}

/// Whether new revisions are put in force by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewCommits {
    /// At once.
    #[default]
    Auto,
    /// When an operator says so.
    Manual,
}

/// Whether what is no longer desired is removed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prune {
    /// At once.
    #[default]
    On,
    /// When an operator has confirmed it.
    Confirm,
}

/// How the difference between desired and observed is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcilePolicy {
    /// Whether new revisions are put in force by themselves.
    pub new_commits: NewCommits,
    /// Whether drift is removed or only reported.
    pub self_heal: SelfHeal,
    /// Whether what is no longer desired is removed by itself.
    pub prune: Prune,
    /// How long the daemon waits without a wake-up before it looks again.
    pub resync_every: Duration,
    /// The share of a pool's nodes that a rolling change may make unavailable, in percent.
    pub max_unavailable_percent: u8,
    /// The share of all nodes that one plan may destroy, in percent.
    pub max_delete_percent: u8,
    /// How long the connections of a node that goes may run on.
    pub drain_for: Duration,
}

impl Default for ReconcilePolicy {
    fn default() -> Self {
        Self {
            new_commits: NewCommits::Auto,
            self_heal: SelfHeal::On,
            prune: Prune::On,
            resync_every: Duration::from_secs(30),
            max_unavailable_percent: 25,
            max_delete_percent: 50,
            drain_for: Duration::from_secs(30),
        }
    }
}

/// How nodes are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Failed checks in a row after which an instance is restarted.
    pub restart_after: u32,
    /// A request that is made through every node.
    pub probe: Option<Probe>,
}

/// A request that is made through every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is requested.
    pub url: String,
    /// How often.
    pub every: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The file of certificates that are believed instead of the public ones.
    pub ca_file: Option<PathBuf>,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self { restart_after: 3, probe: None }
    }
}

impl Desired {
    /// Lists the instances of all pools, in the file's order.
    pub fn instances(&self) -> Vec<Instance> {
        self.pools.iter().flat_map(|pool| pool.instances(&self.access)).collect()
    }

    /// Finds a pool by its name.
    pub fn pool(&self, name: &PoolName) -> Option<&Pool> {
        self.pools.iter().find(|pool| &pool.name == name)
    }

    /// Whether a node is one of a pool's.
    pub fn has(&self, node: &NodeName) -> bool {
        self.pool(node.pool()).is_some_and(|pool| node.index() < pool.size)
    }

    /// Counts the nodes of all pools.
    pub fn size(&self) -> usize {
        self.pools.iter().map(|pool| usize::from(pool.size)).sum()
    }
}
