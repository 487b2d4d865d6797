//! The documents that speak of operators' orders, and of what waits for one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ObjectDocument, rfc3339};
use crate::plan::Held;
use crate::status::{Status, Suspension};

/// A step that is decided and waits for an operator's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldDocument {
    /// What it changes.
    pub object: ObjectDocument,
    /// `suspended`, `unconfirmed`, `max_delete`, `lockout` or `taken_back`.
    pub reason: String,
    /// The step, and what it waits for.
    pub message: String,
}

impl From<&Held> for HeldDocument {
    fn from(held: &Held) -> Self {
        Self {
            object: ObjectDocument::from(&held.step.object),
            reason: held.reason.label().to_owned(),
            message: held.to_string(),
        }
    }
}

/// A revision that is offered and not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfferedDocument {
    /// The revision.
    pub revision: String,
    /// What it waits for.
    pub waits_for: String,
}

impl OfferedDocument {
    /// Tells what is offered, where it waits.
    pub(super) fn of(status: &Status) -> Option<Self> {
        let (offered, why) = (status.source.offered.as_ref()?, status.source.withheld?);
        Some(Self { revision: offered.to_string(), waits_for: why.to_string() })
    }
}

/// An order to leave something alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuspensionDocument {
    /// The pool; null means the whole host.
    pub pool: Option<String>,
    /// Why.
    pub reason: String,
    /// The user who said so.
    pub by: String,
    /// Until when; null means until it is resumed.
    pub until: Option<String>,
}

impl SuspensionDocument {
    /// Tells every suspension, the host's first.
    pub(super) fn all(status: &Status) -> Vec<Self> {
        let of = |pool: Option<String>, suspension: &Suspension| Self {
            pool,
            reason: suspension.reason.clone(),
            by: suspension.by.clone(),
            until: suspension.until.map(rfc3339),
        };
        let host = status.suspended.iter().map(|suspension| of(None, suspension));
        let pools = status.suspended_pools.iter().map(|(pool, suspension)| of(Some(pool.to_string()), suspension));
        host.chain(pools).collect()
    }
}
