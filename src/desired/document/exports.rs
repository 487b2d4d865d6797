//! `exports`: who may download the lists of nodes.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::desired::names::PoolName;
use crate::desired::values::{HostName, Label, Peer, Period, TokenId, TrustedKey};

/// Who may download the lists of nodes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exports {
    /// The host that is written into the lists. Default: the address on which a pool listens.
    pub advertise: Option<HostName>,
    /// Public keys whose tokens are believed.
    pub trusted_keys: Vec<TrustedKey>,
    /// Who may download what.
    pub grants: Vec<Grant>,
    /// Tokens that are no longer believed, by their ids.
    pub revoked: Vec<TokenId>,
}

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// One address a line.
    Txt,
    /// A table.
    Csv,
    /// A JSON document.
    Json,
}

/// What a token may be used for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The grant's name; tokens refer to it.
    pub name: Label,
    /// The pools that may be downloaded.
    #[schemars(length(min = 1))]
    pub pools: Vec<PoolName>,
    /// The formats that may be downloaded. Default: all.
    #[serde(default = "all_formats")]
    #[schemars(length(min = 1))]
    pub formats: Vec<ExportFormat>,
    /// From where. Default: anywhere.
    #[serde(default)]
    pub allow: Vec<Peer>,
    /// How long a token may be valid at most. Default: `24h`.
    #[serde(default = "one_day")]
    pub max_ttl: Period,
}

fn all_formats() -> Vec<ExportFormat> {
    vec![ExportFormat::Txt, ExportFormat::Csv, ExportFormat::Json]
}

fn one_day() -> Period {
    super::seconds(24 * 3600)
}
