//! Steps are data: a closed set of idempotent changes, each with the object it changes and the reason why.
//!
//! A step's `Display` is the one sentence that `plan`, the log, the audit trail and the page show.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::desired::InstanceName;
use crate::firewall::model::Guard;
use crate::tor::options::{OptionChange, SOCKS_PORT, is_at};

/// What a step, a wait or a condition is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// The guard in the firewall.
    Guard,
    /// An instance, with the nodes it serves.
    Instance(InstanceName),
}

/// The sort of an [`Object`]; a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// The guard.
    Guard,
    /// An instance.
    Instance,
}

/// Why a step exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Desired moved: the object's wish is not the one that was applied last.
    Change,
    /// The world moved: the wish is the same, and the object is not as it was left.
    Drift,
    /// The Tor network moved: a new consensus has other exits for the same wish.
    Consensus,
    /// An instance is as it was left, and does not serve as it should.
    Health,
    /// The instance is to leave from another exit: it is time, somebody says so, or its exit fails.
    Rotation,
}

/// One idempotent change of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it changes.
    pub object: Object,
    /// Why.
    pub cause: Cause,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Puts the guard in place where there is none.
    InstallGuard {
        /// The guard.
        guard: Guard,
    },
    /// Makes the guard another one.
    UpdateGuard {
        /// The guard it becomes.
        guard: Guard,
        /// What is different, one sentence each.
        differences: Vec<String>,
    },
    /// Removes everything of ours from the firewall.
    RemoveGuard,
    /// Starts an instance that has no process.
    StartInstance {
        /// Its torrc.
        torrc: String,
        /// Whether its directory has to be made as well, or was there before.
        fresh: bool,
    },
    /// Stops an instance and starts it again with another torrc.
    ReplaceInstance {
        /// Its torrc.
        torrc: String,
        /// What is different and cannot be changed while it runs, one sentence each.
        differences: Vec<String>,
    },
    /// Sets options of a running instance.
    SetOptions {
        /// The options.
        changes: Vec<OptionChange>,
    },
    /// Has new connections use new circuits; those that run go on.
    NewCircuits,
    /// Writes the torrc that an instance will read at its next start.
    WriteTorrc {
        /// Its torrc.
        torrc: String,
    },
    /// Stops an instance and removes its directories.
    DestroyInstance,
    /// The same, of an instance whose nodes go on in others.
    DissolveInstance,
    /// Closes the SOCKS ports of an instance that goes; its connections run on for a while.
    DrainInstance {
        /// Why it is replaced, one sentence each; empty where it goes for good.
        differences: Vec<String>,
    },
    /// Lets an instance leave the network and join it again; its process stays.
    ReconnectInstance {
        /// What is wrong.
        why: String,
    },
    /// Stops an instance that does not serve and starts it again.
    RestartInstance {
        /// Its torrc.
        torrc: String,
        /// Whether it loses the directory cache that it had.
        afresh: bool,
        /// What is wrong.
        why: String,
    },
}

/// What a step does to the number of objects: Terraform's four marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// `+ create`
    Create,
    /// `~ update in place`
    Update,
    /// `-/+ replace`
    Replace,
    /// `- destroy`
    Destroy,
}

impl Step {
    /// The step's mark.
    pub fn mark(&self) -> Mark {
        match &self.action {
            Action::InstallGuard { .. } | Action::StartInstance { .. } => Mark::Create,
            Action::UpdateGuard { .. }
            | Action::SetOptions { .. }
            | Action::NewCircuits
            | Action::ReconnectInstance { .. }
            | Action::WriteTorrc { .. } => Mark::Update,
            Action::ReplaceInstance { .. } | Action::RestartInstance { .. } => Mark::Replace,
            Action::DrainInstance { differences } if !differences.is_empty() => Mark::Replace,
            Action::RemoveGuard | Action::DestroyInstance | Action::DissolveInstance | Action::DrainInstance { .. } => {
                Mark::Destroy
            }
        }
    }
}

impl Action {
    /// Whether an address on which an instance listens is closed by it.
    pub fn closes(&self, address: SocketAddr) -> bool {
        match self {
            Self::DestroyInstance
            | Self::DissolveInstance
            | Self::DrainInstance { .. }
            | Self::ReplaceInstance { .. }
            | Self::RestartInstance { .. } => true,
            Self::SetOptions { changes } => {
                changes.iter().any(|change| change.name == SOCKS_PORT && !change.to.iter().any(|to| is_at(to, address)))
            }
            _ => false,
        }
    }
}

impl Object {
    /// The object's sort.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Guard => ObjectKind::Guard,
            Self::Instance(_) => ObjectKind::Instance,
        }
    }
}

impl ObjectKind {
    /// All sorts.
    pub const ALL: [Self; 2] = [Self::Guard, Self::Instance];

    /// The sort as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Instance => "instance",
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guard => f.write_str("firewall guard"),
            Self::Instance(name) => write!(f, "node {name}"),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "+",
            Self::Update => "~",
            Self::Replace => "-/+",
            Self::Destroy => "-",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Change => "change",
            Self::Drift => "drift",
            Self::Consensus => "consensus",
            Self::Health => "health",
            Self::Rotation => "rotation",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.mark(), self.object, self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InstallGuard { .. } => f.write_str("will be created"),
            Self::UpdateGuard { differences, .. } => write!(f, "will be updated in place: {}", differences.join("; ")),
            Self::RemoveGuard => f.write_str("will be destroyed"),
            Self::StartInstance { fresh: true, .. } => f.write_str("will be created"),
            Self::StartInstance { fresh: false, .. } => f.write_str("will be started: its tor is not running"),
            Self::ReplaceInstance { differences, .. } => write!(f, "must be replaced: {}", differences.join("; ")),
            Self::SetOptions { changes } => {
                f.write_str("will be updated in place: ")?;
                let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join("; "))
            }
            Self::NewCircuits => f.write_str("will be updated in place: new connections use new circuits"),
            Self::WriteTorrc { .. } => f.write_str("will be updated in place: its torrc was edited"),
            Self::DestroyInstance => f.write_str("will be destroyed"),
            Self::DissolveInstance => f.write_str("will lose its own tor: another one serves it from then on"),
            Self::DrainInstance { differences } if differences.is_empty() => {
                f.write_str("will be destroyed: it is drained first")
            }
            Self::DrainInstance { differences } => {
                write!(f, "must be replaced: {}; it is drained first", differences.join("; "))
            }
            Self::ReconnectInstance { why } => write!(f, "will be connected to the network again: {why}"),
            Self::RestartInstance { why, afresh: false, .. } => write!(f, "will be restarted: {why}"),
            Self::RestartInstance { why, afresh: true, .. } => {
                write!(f, "will be restarted with a fresh directory cache: {why}")
            }
        }
    }
}
