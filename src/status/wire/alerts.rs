//! The alerts that fire, in the JSON API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{rfc3339, schema};
use crate::desired::alerts::{RuleName, Severity};
use crate::status::Alert;

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FiringDocument {
    /// The rule of the desired state.
    pub rule: RuleName,
    /// What it is about.
    pub about: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is so, in one sentence.
    pub summary: String,
    /// Since when.
    #[schemars(schema_with = "schema::time")]
    pub since: String,
}

impl From<&Alert> for FiringDocument {
    fn from(alert: &Alert) -> Self {
        Self {
            rule: alert.rule,
            about: alert.about.clone(),
            severity: alert.rule.severity(),
            summary: alert.summary.clone(),
            since: rfc3339(alert.since),
        }
    }
}
