//! Who is locked out, as a document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rfc3339;
use super::schema;
use crate::gate::Lockout;

/// An address that is let in neither to the page nor to lists: too many of its tokens or passwords were refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockoutDocument {
    /// The IPv4 address, or the first address of the IPv6 network of 64 bits.
    pub address: String,
    /// Since when.
    #[schemars(schema_with = "schema::time")]
    pub since: String,
    /// Until when, unless `exitpool unlock` ends it.
    #[schemars(schema_with = "schema::time")]
    pub until: String,
    /// How many failures in a row led to it.
    pub failures: u32,
}

impl From<&Lockout> for LockoutDocument {
    fn from(lockout: &Lockout) -> Self {
        Self {
            address: lockout.address.to_string(),
            since: rfc3339(lockout.since),
            until: rfc3339(lockout.until),
            failures: lockout.failures,
        }
    }
}
