//! The status: what a pass found and did, as one immutable value, and every way in which it is shown.
//!
//! `reconcile` makes a [`Status`] after each pass with [`of()`], which is pure, and publishes it on a watch channel.
//! Readers (the HTTP server, the page, the metrics, the command line) hold an `Arc` of it and never wait for a pass.
//!
//! - [`inputs`] is what a pass hands in; [`condition`], [`node`], [`drift`] and [`event`] are the parts of the value.
//! - [`wire`] has the types of the JSON API, apart from the internal ones, so that these may change freely.
//! - [`http`] serves, [`page`] renders, [`metrics`] counts.
//!
//! Nothing here observes, decides or changes anything. What is unknown is shown as unknown, never as fine.

mod advice;
pub mod condition;
mod conditions;
mod describe;
pub mod drift;
pub mod event;
pub mod history;
pub mod http;
pub mod inputs;
pub mod metrics;
pub mod node;
mod of;
pub mod page;
pub mod pulse;
pub mod reason;
mod reference;
pub mod totals;
pub mod visitors;
pub mod warning;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::desired::alerts::RuleName;
use crate::desired::{Alerts, Exports, PoolName, RateLimit, Revision, SignIn};
use crate::firewall::model::Guard;
use crate::gate::Lockout;
use crate::observe::Author;
use crate::plan::Held;
use crate::plan::step::Object;
pub use condition::{Condition, ConditionStatus, ConditionType};
pub use drift::{Drift, DriftItem, Repair};
pub use event::{Event, Severity};
pub use history::History;
pub use inputs::{
    AuditTrail, Coming, Failure, Failures, Fault, Fight, Fights, Inputs, Pass, PassResult, Rollbacks, Signatures,
    SourceError, SourceState, Suspension,
};
pub use metrics::Metrics;
pub use node::{NodeState, NodeStatus};
pub use of::of;
pub use reason::Reason;
pub use reference::reference;
pub use totals::Totals;
pub use visitors::Visitors;
pub use warning::Warning;

/// What a pass found and did, and what came before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// When the daemon started.
    pub started: Timestamp,
    /// When this value was made.
    pub made: Timestamp,
    /// What the daemon does now.
    pub activity: Activity,
    /// The pass that ended last; `None` before the first.
    pub last_pass: Option<Pass>,
    /// When the first pass over an accepted revision ended; `None` before.
    pub ready_since: Option<Timestamp>,
    /// How long the daemon waits without a wake-up before it looks again.
    pub resync_every: Duration,

    /// The revision in force.
    pub revision: Option<Revision>,
    /// The revision that the host matched last.
    pub applied: Option<Revision>,
    /// When the revision in force was accepted.
    pub accepted_since: Option<Timestamp>,
    /// How many revisions have been in force since the daemon started.
    pub generation: u64,
    /// The generation that was last brought to an end, good or bad.
    pub observed_generation: u64,
    /// What is known about the source.
    pub source: SourceState,

    /// The conditions, in the order of [`ConditionType::ALL`].
    pub conditions: Vec<Condition>,
    /// The pools, in the file's order.
    pub pools: Vec<PoolStatus>,
    /// The nodes, pool by pool.
    pub nodes: Vec<NodeStatus>,
    /// The firewall.
    pub firewall: FirewallStatus,
    /// The addresses of this host.
    pub server_addresses: Vec<IpAddr>,
    /// How the audit trail goes.
    pub audit: AuditTrail,
    /// Who may reach what.
    pub access: AccessLists,
    /// Who may download which lists; `None` while no desired state is in force.
    pub exports: Option<Arc<Exports>>,
    /// Who is told about what; `None` while no desired state is in force.
    pub alerting: Option<Arc<Alerts>>,
    /// The alerts that fire, the most important ones first.
    pub alerts: Arc<[Alert]>,
    /// Who is locked out of the page and the lists.
    pub lockouts: Vec<Lockout>,
    /// Whether drift is removed or only reported.
    pub healing: Healing,
    /// The order to leave the whole host alone, where there is one.
    pub suspended: Option<Suspension>,
    /// The orders to leave a pool alone.
    pub suspended_pools: BTreeMap<PoolName, Suspension>,

    /// What drifted, and what was brought back.
    pub drift: Drift,
    /// The steps that are left and are not drift, one sentence each.
    pub pending: Vec<Note>,
    /// What is under way and needs nothing but time.
    pub waiting: Vec<Note>,
    /// What desired asks for and cannot be had as things stand.
    pub blocked: Vec<Note>,
    /// The steps that wait for an operator's word; drift that is left alone stands in `drift`.
    pub held: Vec<Held>,
    /// What is weaker than it should be.
    pub warnings: Vec<Warning>,
    /// How many instances wait for their turn at a guard relay.
    pub paced: usize,
    /// What went wrong, and when it is tried again.
    pub failures: Failures,
    /// The latest events, oldest first, at most [`event::KEPT`].
    pub events: VecDeque<Arc<Event>>,
    /// Sums since the daemon started.
    pub totals: Totals,
    /// How the nodes were over the last hours.
    pub history: Arc<History>,
}

/// What the daemon does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It waits for a reason to look again.
    Idle,
    /// A pass is under way.
    Passing {
        /// When it began.
        since: Timestamp,
    },
}

/// Whether drift is removed or only reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Healing {
    /// Drift is removed by the next pass.
    #[default]
    Removes,
    /// Drift is reported and left alone.
    Reports,
}

/// A pool, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolStatus {
    /// Its name.
    pub name: PoolName,
    /// How many nodes it should have.
    pub desired: usize,
    /// How many of them are ready.
    pub ready: usize,
}

/// The firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallStatus {
    /// The driver in use.
    pub driver: &'static str,
    /// Whether the guard is exactly as desired.
    pub in_sync: ConditionStatus,
    /// What it closes, where it was read back and understood.
    pub guard: Option<Guard>,
    /// In which ways it differs from every guard that we would make.
    pub differences: Vec<String>,
    /// Who of others changed it last, of those changes that were found; `None` where that is not known.
    pub changed_by: Option<Author>,
}

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The rule.
    pub rule: RuleName,
    /// What it is about.
    pub about: String,
    /// What is so, in one sentence.
    pub summary: String,
    /// Since when.
    pub since: Timestamp,
}

/// Who may reach what, by address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessLists {
    /// Who may reach the SOCKS ports.
    pub socks: Vec<IpNet>,
    /// Who may reach the status page.
    pub panel: Vec<IpNet>,
    /// Who reads the page and is kept by a guard that is held, though the list has them no more.
    pub spared: BTreeSet<IpAddr>,
    /// The proxies whose word on where a request comes from is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How often one client may ask; `None` means as often as it likes.
    pub rate_limit: Option<RateLimit>,
    /// Who reads the page with a password; `None` means that an address on the list is enough.
    pub sign_in: Option<Arc<SignIn>>,
}

/// A sentence about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub object: Object,
    /// The sentence.
    pub message: String,
}

impl Status {
    /// The status of a daemon that has just started: it knows nothing, and says so.
    pub fn starting(now: Timestamp, driver: &'static str, server_addresses: Vec<IpAddr>) -> Self {
        Self {
            started: now,
            made: now,
            activity: Activity::Idle,
            last_pass: None,
            ready_since: None,
            resync_every: crate::desired::ReconcilePolicy::default().resync_every,
            revision: None,
            applied: None,
            accepted_since: None,
            generation: 0,
            observed_generation: 0,
            source: SourceState::default(),
            conditions: conditions::starting(now),
            pools: Vec::new(),
            nodes: Vec::new(),
            firewall: FirewallStatus::unknown(driver),
            server_addresses,
            audit: AuditTrail::default(),
            access: AccessLists::default(),
            exports: None,
            alerting: None,
            alerts: Arc::default(),
            lockouts: Vec::new(),
            healing: Healing::default(),
            suspended: None,
            suspended_pools: BTreeMap::new(),
            drift: Drift::default(),
            pending: Vec::new(),
            waiting: Vec::new(),
            blocked: Vec::new(),
            held: Vec::new(),
            warnings: Vec::new(),
            paced: 0,
            failures: Failures::new(),
            events: VecDeque::new(),
            totals: Totals::default(),
            history: Arc::default(),
        }
    }

    /// The same status, while a pass is under way that began at `since`.
    #[must_use]
    pub fn passing(&self, since: Timestamp) -> Self {
        Self { activity: Activity::Passing { since }, ..self.clone() }
    }

    /// Finds a condition; `None` where it does not apply.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// The status of a condition; one that does not apply is unknown.
    pub fn condition_status(&self, kind: ConditionType) -> ConditionStatus {
        self.condition(kind).map_or(ConditionStatus::Unknown, |condition| condition.status)
    }

    /// Finds a node by its name.
    pub fn node(&self, name: &crate::desired::NodeName) -> Option<&NodeStatus> {
        self.nodes.iter().find(|node| &node.name == name)
    }
}

impl FirewallStatus {
    /// A firewall that nobody has looked at yet.
    fn unknown(driver: &'static str) -> Self {
        Self { driver, in_sync: ConditionStatus::Unknown, guard: None, differences: Vec::new(), changed_by: None }
    }
}

impl AccessLists {
    /// Whether an address is on the list of the status page.
    pub fn panel_has(&self, address: IpAddr) -> bool {
        self.panel.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// Whether an address is on the list of the SOCKS ports.
    pub fn socks_has(&self, address: IpAddr) -> bool {
        self.socks.iter().any(|network| network.contains(&address.to_canonical()))
    }
}

#[cfg(test)]
pub(crate) mod tests;
