//! What a pass hands in, for a status to be made from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use super::{Alert, Reason, Status};
use crate::desired::{Desired, InstanceName, PoolName, Revision};
use crate::error::Kind;
use crate::gate::Lockout;
use crate::health::{Finding, Incident, Probes};
use crate::observe::{Author, Observed};
use crate::plan::step::Object;
use crate::plan::{Plan, Step};
use crate::rollout::Why;
use crate::rotation::Rotations;

/// Everything that a status is made from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The time.
    pub now: Timestamp,
    /// The status before; it gives times of transitions, sums and events their past.
    pub previous: Option<&'a Status>,
    /// What is known about the source.
    pub source: &'a SourceState,
    /// The desired state in force; `None` while there is none.
    pub desired: Option<&'a Desired>,
    /// The revision that the host matched last.
    pub applied: Option<&'a Revision>,
    /// The world after the pass.
    pub observed: &'a Observed,
    /// What was left to do after the pass; empty when it converged.
    pub plan: &'a Plan,
    /// What went wrong and has not gone right since.
    pub failures: &'a Failures,
    /// What needs the same repair over and over.
    pub fights: &'a Fights,
    /// The instances that are in trouble.
    pub findings: &'a BTreeMap<InstanceName, Finding>,
    /// How the latest probe through each instance went.
    pub probes: &'a Probes,
    /// What keeps all instances from using the network, where something does.
    pub incident: Option<&'a Incident>,
    /// The firewall driver in use.
    pub driver: &'static str,
    /// Whether others than this host may reach the page, and it is served to them without TLS.
    pub page_in_the_clear: bool,
    /// The addresses of this host.
    pub server_addresses: &'a [IpAddr],
    /// The order of an operator to leave everything alone, where there is one.
    pub suspended: Option<&'a Suspension>,
    /// The orders to leave a pool alone.
    pub suspended_pools: &'a BTreeMap<PoolName, Suspension>,
    /// Who is locked out of the page and the lists.
    pub lockouts: &'a [Lockout],
    /// How often something was taken back since the daemon started.
    pub rollbacks: Rollbacks,
    /// The alerts that fire.
    pub alerts: &'a Arc<[Alert]>,
    /// When nodes have rotated.
    pub rotations: &'a Rotations,
    /// How the audit trail goes.
    pub audit: &'a AuditTrail,
    /// The pass that has just ended; `None` where none could begin, as with no desired state.
    pub pass: Option<&'a Pass>,
}

/// How the audit trail goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditTrail {
    /// The public key that signs it, `ed25519:<base64>`; `None` where that is not known.
    pub key: Option<String>,
    /// Records that could not be written since the daemon started.
    pub lost: u64,
    /// Why records cannot be written now; `None` where they can.
    pub trouble: Option<String>,
}

/// How often something was taken back, by what caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rollbacks {
    /// An operator has gone back to an earlier revision.
    pub operator: u64,
    /// A probe of a change of the firewall did not pass in time.
    pub probe_failed: u64,
    /// Nobody confirmed a change of the firewall in time.
    pub unconfirmed: u64,
}

/// What is known about the source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceState {
    /// The revision in force.
    pub accepted: Option<Revision>,
    /// The newest revision that the source has, accepted or not.
    pub offered: Option<Revision>,
    /// Why the offered revision is not in force, where it is believed and valid.
    pub withheld: Option<Why>,
    /// Whom the offered revision lets see the page, while it is withheld.
    pub coming: Option<Coming>,
    /// Who signed the revision in force, `principals (key)` each; empty where nobody asked for signatures.
    pub signers: Vec<String>,
    /// When the source was last read.
    pub last_success: Option<Timestamp>,
    /// What was wrong the last time it was read; `None` where nothing was.
    pub error: Option<SourceError>,
    /// Whether revisions have to be signed.
    pub signatures: Signatures,
}

/// What a revision that is not in force yet says of whoever looks at the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coming {
    /// Its `access.panel`.
    pub panel: BTreeSet<IpNet>,
}

/// What was wrong with the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// What sort of thing.
    pub fault: Fault,
    /// What, where, and what to do about it.
    pub message: String,
}

/// What can be wrong with the source; a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// It could not be reached or read.
    Unreachable,
    /// It refused our credentials, or its host key is another one.
    Unauthenticated,
    /// It is not there, or the file is not in it.
    Missing,
    /// Its content is invalid.
    Malformed,
    /// A commit has no signature.
    Unsigned,
    /// A commit is signed by a key that is not trusted.
    UnknownKey,
    /// A commit's signature is damaged, or over something else.
    BadSignature,
    /// The branch no longer contains the revision in force.
    Rewritten,
    /// It offers an older revision than one that was accepted before.
    Stale,
    /// Nothing says from which commit on the branch may be believed.
    Unpinned,
}

/// Whether revisions have to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signatures {
    /// Nobody asked for it.
    #[default]
    NotRequired,
    /// Every revision has to be signed by a trusted key.
    Required,
}

/// What went wrong, by object.
pub type Failures = BTreeMap<Object, Failure>;

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What, where, and what to do about it.
    pub message: String,
    /// What sort of thing.
    pub kind: Kind,
    /// How often it was tried in a row.
    pub attempts: u32,
    /// When it is tried again; `None` means never by itself.
    pub retry_at: Option<Timestamp>,
}

/// What needs the same repair over and over, by object.
pub type Fights = BTreeMap<Object, Fight>;

/// An object that somebody keeps changing, or that does not last: its next repair waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fight {
    /// How often it was repaired.
    pub repairs: u32,
    /// Within which time.
    pub over: Duration,
    /// When it is repaired next.
    pub next_at: Timestamp,
    /// Who made the last repair needed, where that is known.
    pub author: Option<Author>,
}

/// An order of an operator to leave everything alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// Why.
    pub reason: String,
    /// Until when; `None` means until it is resumed.
    pub until: Option<Timestamp>,
    /// Who said so.
    pub by: String,
}

/// A pass that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub result: PassResult,
    /// The steps that were carried out and went right, in order.
    pub applied: Vec<Step>,
    /// Who had changed the guard before it, where it was not as wished and the kernel told.
    pub guard_author: Option<Author>,
}

/// How a pass ended; a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PassResult {
    /// Nothing is left to do.
    Success,
    /// Something failed.
    Error,
    /// Something is under way, and has to be looked at again.
    Requeue,
}

impl Pass {
    /// When it ended.
    pub fn ended(&self) -> Timestamp {
        jiff::SignedDuration::try_from(self.duration)
            .ok()
            .and_then(|duration| self.started.checked_add(duration).ok())
            .unwrap_or(self.started)
    }
}

impl PassResult {
    /// All results.
    pub const ALL: [Self; 3] = [Self::Success, Self::Error, Self::Requeue];

    /// The result as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Requeue => "requeue",
        }
    }
}

impl Fault {
    /// The faults that refuse a revision which was read.
    pub const REFUSALS: [Self; 7] = [
        Self::Malformed,
        Self::Unsigned,
        Self::UnknownKey,
        Self::BadSignature,
        Self::Rewritten,
        Self::Stale,
        Self::Unpinned,
    ];

    /// Whether the revision was read and refused: reading it again changes nothing.
    pub fn is_refusal(self) -> bool {
        Self::REFUSALS.contains(&self)
    }

    /// Whether the revision was refused for its signature or its ancestry.
    pub fn is_unverified(self) -> bool {
        self.is_refusal() && self != Self::Malformed
    }

    /// The fault as a reason.
    pub fn reason(self) -> Reason {
        match self {
            Self::Unreachable => Reason::GitOperationFailed,
            Self::Unauthenticated => Reason::AuthenticationFailed,
            Self::Missing => Reason::InvalidPath,
            Self::Malformed => Reason::BuildFailed,
            Self::Unsigned | Self::UnknownKey | Self::BadSignature | Self::Rewritten | Self::Stale | Self::Unpinned => {
                Reason::VerificationError
            }
        }
    }

    /// The fault as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unauthenticated => "unauthenticated",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unsigned => "unsigned",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Rewritten => "rewritten",
            Self::Stale => "stale",
            Self::Unpinned => "unpinned",
        }
    }
}
