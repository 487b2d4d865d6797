//! Warnings as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use crate::status::Warning;

/// Something that is weaker than it should be, while the host may be as desired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WarningDocument {
    /// Why, in one word of a closed list.
    #[schemars(schema_with = "schema::warnings")]
    pub reason: String,
    /// The names of the nodes that it concerns.
    pub nodes: Vec<String>,
    /// What, where, and what to do about it, for people.
    pub message: String,
}

impl From<&Warning> for WarningDocument {
    fn from(warning: &Warning) -> Self {
        Self {
            reason: warning.reason.to_string(),
            nodes: warning.nodes.iter().map(ToString::to_string).collect(),
            message: warning.message.clone(),
        }
    }
}
