//! The types of the JSON API, version 1: what is promised to programs, apart from the internal value.
//!
//! Their JSON Schemas stand in `schema/`. A field is added freely; none is renamed, removed or given another meaning.
//! Null means that nobody knows.

mod alerts;
mod drift;
mod exits;
mod lockout;
mod openapi;
mod orders;
mod pages;
mod probe;
pub mod query;
mod schema;
mod warning;

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use probe::ProbeDocument;

use super::condition::ConditionStatus;
use super::event::{About, Event};
use super::node::NodeStatus;
use super::{Condition, Status};
use crate::plan::step::Object;
pub use alerts::FiringDocument;
pub use drift::{AuthorDocument, DriftDocument, DriftItemDocument, FightDocument, RepairDocument};
pub use exits::{ExitDocument, RotationDocument};
pub use lockout::LockoutDocument;
pub use openapi::openapi;
pub use orders::{HeldDocument, OfferedDocument, SuspensionDocument};
pub use schema::schemas;
pub use warning::WarningDocument;

/// `/api/v1/status`: whether the host is what the desired state says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusDocument {
    /// The revision in force, `main@sha1:<40 hex>` or `file@sha256:<64 hex>`; null while there is none.
    pub revision: Option<String>,
    /// Who signed it, `principals (key)` each; empty where nobody asked for signatures.
    #[serde(default)]
    pub signers: Vec<String>,
    /// How many revisions have been brought to an end, good or bad, since the daemon started.
    pub observed_generation: u64,
    /// Typed facts; one that does not apply is absent.
    pub conditions: Vec<ConditionDocument>,
    /// The newest revision of the source that is believed and valid, while it is not in force; null where it is.
    pub offered: Option<OfferedDocument>,
    /// What operators have suspended.
    pub suspensions: Vec<SuspensionDocument>,
    /// The steps that wait for an operator's word.
    pub held: Vec<HeldDocument>,
    /// What is weaker than it should be, while the host may be as desired.
    #[serde(default)]
    pub warnings: Vec<WarningDocument>,
    /// The pools, in the file's order.
    pub pools: Vec<PoolDocument>,
    /// The firewall.
    pub firewall: FirewallDocument,
    /// The alerts that fire, the most important ones first.
    #[serde(default)]
    pub alerts: Vec<FiringDocument>,
    /// Who is locked out of the page and the lists.
    #[serde(default)]
    pub lockouts: Vec<LockoutDocument>,
    /// This host.
    pub server: ServerDocument,
    /// The audit trail.
    #[serde(default)]
    pub audit: AuditDocument,
    /// Who asks; null where that is no network address.
    pub client: Option<ClientDocument>,
}

/// A typed fact, in Kubernetes' shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConditionDocument {
    /// Which fact.
    #[serde(rename = "type")]
    #[schemars(schema_with = "schema::condition_types")]
    pub kind: String,
    /// Whether it holds.
    #[schemars(schema_with = "schema::condition_statuses")]
    pub status: String,
    /// Why, in one word of a closed list.
    #[schemars(schema_with = "schema::reasons")]
    pub reason: String,
    /// What and where, for people.
    pub message: String,
    /// When `status` last became another one.
    #[schemars(schema_with = "schema::time")]
    pub last_transition_time: String,
}

/// A pool, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolDocument {
    /// Its name.
    pub name: String,
    /// How many nodes it should have.
    pub desired: usize,
    /// How many of them are ready.
    pub ready: usize,
}

/// The firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirewallDocument {
    /// The driver in use.
    pub driver: String,
    /// Whether the guard is exactly as desired; null when it could not be read back.
    pub in_sync: Option<bool>,
    /// Who of others changed the guard last, of the changes that were found; null where nobody knows.
    #[serde(default)]
    pub changed_by: Option<AuthorDocument>,
}

/// This host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerDocument {
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// The audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditTrail")]
pub struct AuditDocument {
    /// The public key that signs it, `ed25519:<base64>`; null where that is not known.
    pub key: Option<String>,
    /// Records that could not be written since the daemon started.
    pub lost: u64,
    /// Why records cannot be written now; null where they can.
    pub trouble: Option<String>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientDocument {
    /// The address that the request came from.
    pub address: String,
    /// Whether `access.panel` has it.
    pub whitelisted: bool,
}

/// `/api/v1/nodes`: the nodes that are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodesDocument {
    /// The nodes, pool by pool.
    pub nodes: Vec<NodeDocument>,
    /// Where the nodes behind these are; null where there are no more.
    #[serde(default)]
    pub next: Option<String>,
}

/// One SOCKS endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeDocument {
    /// `<pool>-<index>`.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// Where it listens, or should: `address:port`.
    pub socks: String,
    /// What it does.
    #[schemars(schema_with = "schema::node_states")]
    pub state: String,
    /// The countries its exits may stand in, ISO 3166-1 alpha-2 in lower case; empty means any.
    pub countries: Vec<String>,
    /// The exit that its connections leave from; null until a circuit is built.
    pub exit: Option<ExitDocument>,
    /// How long its latest probe took, where it passed, and else its latest circuit to build, in milliseconds.
    pub latency_ms: Option<u32>,
    /// How the latest probe through it went; null where there was none.
    pub probe: Option<ProbeDocument>,
    /// How often it has changed its exit since the daemon started.
    pub rotations: u64,
    /// The last time that it did; null where that is not known.
    pub last_rotation: Option<RotationDocument>,
    /// How often its process has become another one since the daemon started.
    pub restarts: u64,
    /// The tor process that serves it.
    pub instance: InstanceDocument,
    /// `Ready`, and `Drifted` while it is.
    pub conditions: Vec<ConditionDocument>,
}

/// The tor process that serves a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceDocument {
    /// Its process id.
    pub pid: Option<u32>,
    /// tor's version.
    pub version: Option<String>,
    /// How far it has bootstrapped, in percent.
    #[schemars(range(max = 100))]
    pub bootstrap: Option<u8>,
    /// The guard relays that its circuits begin at, by fingerprint; empty while none is known.
    #[serde(default)]
    pub guard_relays: Vec<String>,
    /// The same as people know them, `nickname (fingerprint)`.
    #[serde(default)]
    pub guard_relay_names: Vec<String>,
    /// How often it was asked to connect to an address, and not to a name, since it is listened to.
    #[serde(default)]
    pub unsafe_socks: u64,
}

/// `/api/v1/events`: what happened, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct EventsDocument {
    /// The events that are kept.
    pub events: Vec<EventDocument>,
    /// Where the events behind these are; null where there are no more.
    #[serde(default)]
    pub next: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventDocument {
    /// Rises from event to event.
    pub id: u64,
    /// When it was found.
    #[schemars(schema_with = "schema::time")]
    pub timestamp: String,
    /// Whether an operator should care.
    #[schemars(schema_with = "schema::severities")]
    pub severity: String,
    /// Why, in one word of a closed list.
    #[schemars(schema_with = "schema::reasons")]
    pub reason: String,
    /// What it is about.
    pub object: ObjectDocument,
    /// What happened, in a sentence.
    pub message: String,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectDocument {
    /// `host`, `source`, `guard`, `instance` or `node`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl StatusDocument {
    /// Makes the document for whoever asks.
    pub fn of(status: &Status, client: Option<IpAddr>) -> Self {
        Self {
            revision: status.revision.as_ref().map(ToString::to_string),
            signers: status.source.signers.clone(),
            observed_generation: status.observed_generation,
            conditions: documents(&status.conditions),
            offered: OfferedDocument::of(status),
            suspensions: SuspensionDocument::all(status),
            held: status.held.iter().map(HeldDocument::from).collect(),
            warnings: status.warnings.iter().map(WarningDocument::from).collect(),
            pools: status.pools.iter().map(PoolDocument::from).collect(),
            firewall: FirewallDocument {
                driver: status.firewall.driver.to_owned(),
                in_sync: known(status.firewall.in_sync),
                changed_by: status.firewall.changed_by.as_ref().map(AuthorDocument::from),
            },
            alerts: status.alerts.iter().map(FiringDocument::from).collect(),
            lockouts: status.lockouts.iter().map(LockoutDocument::from).collect(),
            server: ServerDocument { addresses: status.server_addresses.iter().map(ToString::to_string).collect() },
            audit: AuditDocument {
                key: status.audit.key.clone(),
                lost: status.audit.lost,
                trouble: status.audit.trouble.clone(),
            },
            client: client.map(|address| ClientDocument {
                address: address.to_canonical().to_string(),
                whitelisted: status.access.panel_has(address),
            }),
        }
    }
}

impl From<&super::PoolStatus> for PoolDocument {
    fn from(pool: &super::PoolStatus) -> Self {
        Self { name: pool.name.to_string(), desired: pool.desired, ready: pool.ready }
    }
}

impl From<&Condition> for ConditionDocument {
    fn from(condition: &Condition) -> Self {
        Self {
            kind: condition.kind.to_string(),
            status: condition.status.to_string(),
            reason: condition.reason.to_string(),
            message: condition.message.clone(),
            last_transition_time: rfc3339(condition.last_transition_time),
        }
    }
}

impl From<&Status> for NodesDocument {
    fn from(status: &Status) -> Self {
        Self { nodes: status.nodes.iter().map(NodeDocument::from).collect(), next: None }
    }
}

impl From<&NodeStatus> for NodeDocument {
    fn from(node: &NodeStatus) -> Self {
        Self {
            name: node.name.to_string(),
            pool: node.pool.to_string(),
            socks: node.socks.to_string(),
            state: node.state.as_str().to_owned(),
            countries: node.countries.iter().map(ToString::to_string).collect(),
            exit: node.exit.as_ref().map(ExitDocument::from),
            latency_ms: node.latency_ms,
            probe: node.probed.as_ref().map(ProbeDocument::from),
            rotations: node.rotations,
            last_rotation: node.last_rotation.as_ref().map(RotationDocument::from),
            restarts: node.restarts,
            instance: InstanceDocument {
                pid: node.instance.pid,
                version: node.instance.version.clone(),
                bootstrap: node.instance.bootstrap.as_ref().map(|bootstrap| bootstrap.progress),
                guard_relays: node.instance.guard_relays.iter().map(|relay| relay.fingerprint.to_string()).collect(),
                guard_relay_names: node.instance.guard_relays.iter().map(ToString::to_string).collect(),
                unsafe_socks: node.instance.unsafe_socks.count,
            },
            conditions: documents(&node.conditions),
        }
    }
}

impl From<&Event> for EventDocument {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id,
            timestamp: rfc3339(event.at),
            severity: event.severity.as_str().to_owned(),
            reason: event.reason.to_string(),
            object: ObjectDocument::from(&event.about),
            message: event.message.clone(),
        }
    }
}

impl From<&Object> for ObjectDocument {
    fn from(object: &Object) -> Self {
        let name = match object {
            Object::Guard => "guard".to_owned(),
            Object::Instance(name) => name.to_string(),
        };
        Self { kind: object.kind().label().to_owned(), name }
    }
}

impl From<&About> for ObjectDocument {
    fn from(about: &About) -> Self {
        let named = |kind: &str, name: String| Self { kind: kind.to_owned(), name };
        match about {
            About::Host => named("host", "host".to_owned()),
            About::Source => named("source", "source".to_owned()),
            About::Object(object) => Self::from(object),
            About::Node(name) => named("node", name.to_string()),
        }
    }
}

fn documents(conditions: &[Condition]) -> Vec<ConditionDocument> {
    conditions.iter().map(ConditionDocument::from).collect()
}

/// Turns a status of a condition into a boolean, where it is known.
fn known(status: ConditionStatus) -> Option<bool> {
    match status {
        ConditionStatus::True => Some(true),
        ConditionStatus::False => Some(false),
        ConditionStatus::Unknown => None,
    }
}

/// Writes a time to the millisecond, as RFC 3339.
pub(super) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests;
