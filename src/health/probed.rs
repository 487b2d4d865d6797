//! How a probe went, as far as health is judged by it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::desired::InstanceName;

/// How the latest probe through each instance went.
pub type Probes = BTreeMap<InstanceName, Probed>;

/// How a probe went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// When it ended.
    pub at: Timestamp,
    /// What came back, or what went wrong.
    pub outcome: Result<Answer, Failed>,
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What went wrong.
    pub why: String,
    /// Where to look for the cause, as far as can be told.
    pub suspect: Suspect,
}

/// Where the cause of a failed probe may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspect {
    /// In this host's own settings: no request was made, and that says nothing of the node.
    Host,
    /// Behind the node: somebody has answered, and not as the site should. It may be the site, or the exit.
    Site,
    /// Anywhere: there was no answer.
    Node,
}

/// What came back from a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How long it took, in milliseconds.
    pub latency_ms: u32,
    /// The address that the site saw, where it says so.
    pub address: Option<std::net::IpAddr>,
}
