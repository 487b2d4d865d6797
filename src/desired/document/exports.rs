//! `exports`: who may download the lists of nodes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::names::PoolName;
use crate::desired::values::{HostName, Label, Peer, Period, Positive, TokenId, TrustedKey, ValueError};

/// Who may download the lists of nodes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exports {
    /// The host that is written into the lists. Default: where a pool listens, or what the consumer has reached.
    pub advertise: Option<HostName>,
    /// Public keys whose tokens are believed.
    pub trusted_keys: Vec<TrustedKey>,
    /// Who may download what.
    pub grants: Vec<Grant>,
    /// Tokens that are no longer believed, by their ids.
    pub revoked: Vec<TokenId>,
}

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// A `socks5h` URL a line.
    Txt,
    /// A table.
    Csv,
    /// A JSON document.
    Json,
    /// A configuration of proxychains-ng: each connection through one of the nodes, by chance.
    Proxychains,
    /// A proxy auto-configuration file for browsers.
    Pac,
    /// A configuration of curl, with one node.
    Curl,
}

impl ExportFormat {
    /// All formats.
    pub const ALL: [Self; 6] = [Self::Txt, Self::Csv, Self::Json, Self::Proxychains, Self::Pac, Self::Curl];

    /// The format's word, in the file and behind `/export/`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Txt => "txt",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Proxychains => "proxychains",
            Self::Pac => "pac",
            Self::Curl => "curl",
        }
    }
}

impl std::str::FromStr for ExportFormat {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let known = || Self::ALL.map(Self::word).join(", ");
        let refuse = || ValueError::new(format!("`{}` is not a format; use one of {}", text.escape_debug(), known()));
        Self::ALL.into_iter().find(|format| format.word() == text).ok_or_else(refuse)
    }
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
    /// From where; these may reach the page's port, and there the lists alone. Default: from where `access.panel` says.
    #[serde(default)]
    pub allow: Vec<Peer>,
    /// How long a token may be valid at most. Default: `24h`.
    #[serde(default = "one_day")]
    pub max_ttl: Period,
    /// How many nodes a list has at most. Default: all.
    pub limit: Option<Positive>,
    /// How many lists may be downloaded in a time, by all who use the grant together. Default: any number.
    pub quota: Option<QuotaDocument>,
}

/// How many lists may be downloaded in a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Quota")]
pub struct QuotaDocument {
    /// So many downloads.
    pub downloads: Positive,
    /// In this time, counted from the first of them. Default: `24h`.
    #[serde(default = "one_day")]
    pub per: Period,
}

fn all_formats() -> Vec<ExportFormat> {
    ExportFormat::ALL.to_vec()
}

fn one_day() -> Period {
    super::seconds(24 * 3600)
}
