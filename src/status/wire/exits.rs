//! The exits of a node as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::status::node::{ExitStatus, RotationStatus};

/// The relay that a node's connections leave from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExitDocument {
    /// Its address in the consensus.
    pub ip: Option<String>,
    /// The country of that address.
    pub country: Option<String>,
    /// Its fingerprint, 40 hexadecimal digits.
    pub fingerprint: String,
}

/// A change of a node's exit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotationDocument {
    /// When its new exit was read, RFC 3339.
    pub at: String,
    /// The exit before; null where it was not known.
    pub from: Option<ExitDocument>,
    /// The new exit.
    pub to: ExitDocument,
    /// Whether a connection was seen to use it; otherwise it is the newest idle circuit's, a good guess.
    pub confirmed: bool,
}

impl From<&ExitStatus> for ExitDocument {
    fn from(exit: &ExitStatus) -> Self {
        Self {
            ip: exit.ip.map(|ip| ip.to_string()),
            country: exit.country.map(|country| country.to_string()),
            fingerprint: exit.fingerprint.to_string(),
        }
    }
}

impl From<&RotationStatus> for RotationDocument {
    fn from(rotation: &RotationStatus) -> Self {
        Self {
            at: rfc3339(rotation.at),
            from: rotation.from.as_ref().map(ExitDocument::from),
            to: ExitDocument::from(&rotation.to),
            confirmed: rotation.confirmed,
        }
    }
}
