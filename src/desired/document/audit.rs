//! `audit`: how long the audit trail is kept, and what it says of addresses.

use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;
use crate::desired::AddressPolicy;
use crate::desired::values::{Period, Size};

/// How long the audit trail is kept, and what it says of addresses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Audit")]
pub struct AuditDocument {
    /// How long a row is kept, at least `1h`. Default: `90d`, long enough to look into what was noticed late.
    pub keep_for: Period,
    /// How large the trail may become before its oldest rows go, at least `1 MB`. Default: `100 MB`, some 200,000 rows.
    pub keep_size: Size,
    /// What is written of the addresses of consumers and operators: `full`, `prefix` (/24 and /48) or `none`. Default: `full`.
    pub addresses: AddressPolicy,
}

impl Default for AuditDocument {
    fn default() -> Self {
        Self { keep_for: seconds(90 * 86_400), keep_size: Size(100 << 20), addresses: AddressPolicy::Full }
    }
}
