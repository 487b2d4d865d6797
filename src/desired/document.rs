//! The file's own types, one to one: what may be written, and what stands for a field that is not written.
//!
//! Every type refuses unknown fields. The first line of a field's comment is its description in the JSON Schema and in
//! `docs/desired-state.md`. What a document means is in [`Desired`](super::Desired); what makes sense together is
//! `validate`'s business.

mod alerts;
mod audit;
mod exports;
mod sign_in;
mod torrc;
mod whitelist;

pub use alerts::{
    Alertmanager, Alerts, Channel, CountedFailures, Email, Expiry, FailingChannel, FailureRate, Filled, LastingDrift,
    LastingShortage, MailTls, PendingUpdate, Rules, Silence, StaleAfter, Stalled, Sustained, Telegram, Webhook,
};
pub use audit::AuditDocument;
pub use exports::{ExportFormat, Exports, Grant, QuotaDocument};
pub use sign_in::{SignIn, User};
pub use torrc::TorrcValue;
pub use whitelist::Allowed;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::country::Country;
use super::names::{Fingerprint, PoolName};
use super::values::{
    HttpUrl, ListenAddress, Peer, PerSecond, Percent, Period, Port, PortRange, Positive, SecretPath, SshPeer,
    ValueError,
};
use super::{Confirmation, DriverChoice};

/// The desired state of one host: a file of exitpool, version 1.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "exitpool desired state")]
pub struct Document {
    /// The version of this format; always 1.
    pub version: Version,
    /// Says that a state without any node is meant. Default: `false`, and such a file is refused.
    #[serde(default)]
    pub allow_empty: bool,
    /// The pools, at most 1000.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub pools: Vec<PoolDocument>,
    /// Who may reach what.
    #[serde(default)]
    pub access: AccessDocument,
    /// How the firewall is kept.
    #[serde(default)]
    pub firewall: FirewallDocument,
    /// How the difference between desired and observed is removed.
    #[serde(default)]
    pub reconcile: ReconcileDocument,
    /// How nodes are judged.
    #[serde(default)]
    pub health: HealthDocument,
    /// Who is told about what.
    #[serde(default)]
    pub alerts: Alerts,
    /// Who may download the lists of nodes.
    #[serde(default)]
    pub exports: Exports,
    /// How long the audit trail is kept, and what it says of addresses.
    #[serde(default)]
    pub audit: AuditDocument,
}

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "u32")]
#[schemars(inline, extend("const" = 1))]
pub struct Version(u32);

impl TryFrom<u32> for Version {
    type Error = ValueError;

    fn try_from(number: u32) -> Result<Self, ValueError> {
        match number {
            1 => Ok(Self(1)),
            other => Err(ValueError::new(format!(
                "version {other} of the format is not known here; write `version: 1`, or upgrade exitpool"
            ))),
        }
    }
}

/// A named group of nodes with one policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Pool")]
pub struct PoolDocument {
    /// The pool's name; its nodes are called `<name>-0`, `<name>-1` and so on.
    pub name: PoolName,
    /// How many nodes it has, up to 1000; 0 needs `allow_empty: true`.
    #[schemars(range(max = 1000))]
    pub size: u16,
    /// The countries its exits may stand in, always strict. Default: any.
    #[serde(default)]
    pub countries: Vec<Country>,
    /// The address on which its nodes' SOCKS ports listen. Default: `127.0.0.1`.
    #[serde(default)]
    pub listen: ListenAddress,
    /// The first node's SOCKS port; node `i` listens on `socks_port + i`.
    pub socks_port: Port,
    /// How often a node changes its exit, at least `10s`; the nodes of a pool do so at different times. Default: left to tor.
    pub rotate_every: Option<Period>,
    /// How many nodes share one tor process, and with it its guards, exits and rotation. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(max = 1000))]
    pub nodes_per_instance: Positive,
    /// Which exits its nodes may use, beyond their country.
    #[serde(default)]
    pub exits: ExitsDocument,
    /// Extra torrc options by name; those that exitpool owns are refused.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z][A-Za-z0-9_]*$" }))]
    pub torrc: BTreeMap<String, TorrcValue>,
}

fn one() -> Positive {
    Positive(1)
}

/// Which exits the nodes of a pool may use, beyond their country.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Exits")]
pub struct ExitsDocument {
    /// No two nodes leave from one address, in this pool or with another one that says so. Default: `false`.
    pub distinct: bool,
    /// No two nodes leave from one IPv4 subnet of this prefix length, from 8 to 32; of two pools that say so, the longer one
    /// counts between them. Default: not minded.
    #[schemars(range(min = 8, max = 32))]
    pub avoid_shared_subnet: Option<u8>,
    /// Only these exits, by fingerprint. Default: any.
    pub pin: Vec<Fingerprint>,
    /// Never these exits, by fingerprint. Default: none.
    pub exclude: Vec<Fingerprint>,
}

/// Who may reach what.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Access")]
pub struct AccessDocument {
    /// Who may reach the SOCKS ports: addresses, networks, and files of them. Default: nobody but this host.
    pub socks: Vec<Allowed<Peer>>,
    /// Who may reach the status page: addresses, networks, and files of them. Default: nobody but this host.
    pub panel: Vec<Allowed<Peer>>,
    /// Who may reach SSH. Default: SSH is left alone.
    pub ssh: Option<SshDocument>,
    /// Whether a change may lock out who uses SSH or the page now. Default: `false`, and it is held.
    pub allow_lockout: bool,
    /// Who reads the page, the API and the metrics with a password. Default: an address on the list of `panel` is enough.
    pub sign_in: Option<SignIn>,
    /// How often one client may ask before it has to wait. Default: no limit; with `sign_in`, as if it were `{}`.
    pub rate_limit: Option<RateLimit>,
    /// Proxies in front of the page, whose word on where a request comes from is believed. Default: none.
    pub trusted_proxies: Vec<Peer>,
}

/// Who may reach SSH.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Ssh")]
pub struct SshDocument {
    /// The ports of SSH. Default: 22.
    #[serde(default = "port_of_ssh")]
    #[schemars(length(min = 1))]
    pub ports: Vec<Port>,
    /// Who may reach them: addresses, networks, files of them, or `any`.
    #[schemars(length(min = 1))]
    pub allow: Vec<Allowed<SshPeer>>,
}

fn port_of_ssh() -> Vec<Port> {
    vec![Port(22)]
}

/// How often one client, an IPv4 address or an IPv6 network of 64 bits, may ask before it has to wait.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Requests a minute, for lists, and of other hosts for the page as well. Default: 60.
    pub per_minute: Positive,
    /// Tokens and sign-ins a minute that are refused. Default: 5.
    pub failed_per_minute: Positive,
    /// Refused tokens and sign-ins in a row after which a client is locked out for a while. Default: 5.
    pub lockout_after: Positive,
    /// How long it is locked out. Default: `15m`.
    pub lockout_for: Period,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            per_minute: Positive(60),
            failed_per_minute: Positive(5),
            lockout_after: Positive(5),
            lockout_for: seconds(15 * 60),
        }
    }
}

/// How the firewall is kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Firewall")]
pub struct FirewallDocument {
    /// Which firewall: what the host has, or one of them by name. Default: `auto`.
    pub driver: DriverChoice,
    /// TCP ports that are always closed from outside. Default: `40000-40099`.
    pub control_ports: PortRange,
    /// Who keeps a change: its probes (`auto`), or an operator by `exitpool confirm` (`manual`). Default: `auto`.
    pub confirm: Confirmation,
    /// How long a change may stay unconfirmed before it is rolled back. Default: `60s`.
    pub confirm_within: Period,
    /// How many echo requests are answered; the rest is dropped. Default: `10/second`.
    pub icmp_rate: PerSecond,
}

impl Default for FirewallDocument {
    fn default() -> Self {
        Self {
            driver: DriverChoice::Auto,
            control_ports: PortRange(40_000..=40_099),
            confirm: Confirmation::Auto,
            confirm_within: seconds(60),
            icmp_rate: PerSecond(10),
        }
    }
}

/// Whether new commits are applied by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "NewCommits")]
pub enum NewCommitsWord {
    /// At once.
    Auto,
    /// When an operator says so.
    Manual,
}

/// Whether drift is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SelfHeal")]
pub enum SelfHealWord {
    /// Drift is removed.
    On,
    /// Drift is reported and left alone.
    Report,
}

/// Whether what is no longer desired is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Prune")]
pub enum PruneWord {
    /// At once.
    On,
    /// When an operator says so.
    Confirm,
}

/// How the difference between desired and observed is removed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Reconcile")]
pub struct ReconcileDocument {
    /// Whether new commits are applied by themselves: `auto` or `manual`. Default: `auto`.
    pub new_commits: NewCommitsWord,
    /// Whether drift is removed (`on`) or only reported (`report`). Default: `on`.
    pub self_heal: SelfHealWord,
    /// Whether what is no longer desired is removed at once (`on`) or after a confirmation (`confirm`). Default: `on`.
    pub prune: PruneWord,
    /// How long the daemon waits without a wake-up before it looks again, at least `1s`. Default: `30s`.
    pub resync_every: Period,
    /// The share of a pool's nodes that a rolling change may make unavailable, at least `1%`. Default: `25%`.
    pub max_unavailable: Percent,
    /// The share of all nodes that one plan may remove without `exitpool apply --allow-delete`. Default: `50%`.
    pub max_delete: Percent,
    /// How long the connections of a node that goes may run on after its port has closed; `0s` cuts them. Default: `30s`.
    pub drain_for: Period,
}

impl Default for ReconcileDocument {
    fn default() -> Self {
        Self {
            new_commits: NewCommitsWord::Auto,
            self_heal: SelfHealWord::On,
            prune: PruneWord::On,
            resync_every: seconds(30),
            max_unavailable: Percent(25),
            max_delete: Percent(50),
            drain_for: seconds(30),
        }
    }
}

/// How nodes are judged.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Health")]
pub struct HealthDocument {
    /// A request that is made through every node. Default: none, the control port alone is asked.
    pub probe: Option<Probe>,
    /// Failed checks in a row after which an instance is restarted. Default: 3.
    pub restart_after: Positive,
}

impl Default for HealthDocument {
    fn default() -> Self {
        Self { probe: None, restart_after: Positive(3) }
    }
}

/// A request that is made through every node.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// What is requested.
    pub url: HttpUrl,
    /// How often. Default: `5m`.
    #[serde(default = "five_minutes")]
    pub every: Period,
    /// How long an answer may take. Default: `20s`.
    #[serde(default = "twenty_seconds")]
    pub timeout: Period,
    /// A file of certificates in PEM, by its absolute path, whose owners are believed instead of the public ones.
    pub ca_file: Option<SecretPath>,
}

fn five_minutes() -> Period {
    seconds(300)
}

fn twenty_seconds() -> Period {
    seconds(20)
}

fn seconds(number: u64) -> Period {
    Period(std::time::Duration::from_secs(number))
}
