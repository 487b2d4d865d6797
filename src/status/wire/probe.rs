//! How a probe went, as a document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::health::Probed;

/// How the latest probe through a node went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeDocument {
    /// When it ended.
    pub at: String,
    /// Whether it passed.
    pub passed: bool,
    /// How long the answer took, in milliseconds; null where it failed.
    pub latency_ms: Option<u32>,
    /// The address that the site saw, where its answer says so.
    pub seen_ip: Option<String>,
    /// Why it failed; null where it passed.
    pub error: Option<String>,
}

impl From<&Probed> for ProbeDocument {
    fn from(probed: &Probed) -> Self {
        let answer = probed.outcome.as_ref().ok();
        Self {
            at: probed.at.to_string(),
            passed: answer.is_some(),
            latency_ms: answer.map(|answer| answer.latency_ms),
            seen_ip: answer.and_then(|answer| answer.address).map(|address| address.to_string()),
            error: probed.outcome.as_ref().err().map(|failed| failed.why.clone()),
        }
    }
}
