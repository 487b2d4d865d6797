//! What `audit` means: how long the audit trail is kept, and what it says of addresses.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::document::AuditDocument;

/// How long the audit trail is kept, and what it says of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPolicy {
    /// How long a row is kept.
    pub keep_for: Duration,
    /// How many bytes the trail may have before its oldest rows go.
    pub keep_bytes: u64,
    /// What is written of addresses.
    pub addresses: AddressPolicy,
}

/// What is written of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Addresses")]
pub enum AddressPolicy {
    /// All of it.
    Full,
    /// The network of it: 24 bits of an IPv4 address, 48 of an IPv6 one.
    Prefix,
    /// Nothing.
    None,
}

impl AuditPolicy {
    /// What a document says.
    pub(super) fn of(document: &AuditDocument) -> Self {
        let AuditDocument { keep_for, keep_size, addresses } = document;
        Self { keep_for: keep_for.0, keep_bytes: keep_size.0, addresses: *addresses }
    }
}

impl Default for AuditPolicy {
    fn default() -> Self {
        Self::of(&AuditDocument::default())
    }
}
