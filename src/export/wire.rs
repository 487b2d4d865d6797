//! The JSON documents of exports, version 1: what is promised to programs. Their schemas stand in `schema/`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::list::{Entry, List};

/// `/export/json`: a list of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListDocument {
    /// When the list was made, RFC 3339.
    pub generated_at: String,
    /// The revision in force; null while there is none.
    pub revision: Option<String>,
    /// What the order follows from: `?shuffle=` with it gives it again; null where the list is sorted.
    pub seed: Option<String>,
    /// The nodes.
    pub nodes: Vec<ListedDocument>,
}

/// A node of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedDocument {
    /// Its pool.
    pub pool: String,
    /// Its name, `<pool>-<index>`.
    pub node: String,
    /// Where it is reached: `socks5h://host:port`.
    pub url: String,
    /// The host of that.
    pub host: String,
    /// The port of that.
    pub port: u16,
    /// The countries its exits may stand in, ISO 3166-1 alpha-2 in lower case; empty means any.
    pub countries: Vec<String>,
    /// The country of its exit; null where that is not known.
    pub country: Option<String>,
    /// The address of its exit; null where that is not known.
    pub exit: Option<String>,
    /// How long its latest circuit took to build, in milliseconds; null where that is not known.
    pub latency_ms: Option<u32>,
    /// What it does, as `/api/v1/nodes` says it.
    pub state: String,
}

/// What is answered where a request is refused, RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemDocument {
    /// Always `about:blank`: the status says what sort of problem it is, and `reason` which one.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, and what to do, for people.
    pub detail: String,
    /// Which problem it is, in one word of a closed list.
    pub reason: String,
    /// What is wrong with which parameter of the request, where that is the problem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<MisuseDocument>,
}

/// What is wrong with a parameter of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MisuseDocument {
    /// The parameter.
    pub parameter: String,
    /// What is wrong with it, and what is allowed.
    pub detail: String,
}

impl From<&List> for ListDocument {
    fn from(list: &List) -> Self {
        Self {
            generated_at: format!("{:.3}", list.at),
            revision: list.revision.as_ref().map(ToString::to_string),
            seed: list.seed.clone(),
            nodes: list.entries.iter().map(ListedDocument::from).collect(),
        }
    }
}

impl From<&Entry> for ListedDocument {
    fn from(entry: &Entry) -> Self {
        Self {
            pool: entry.pool.to_string(),
            node: entry.node.to_string(),
            url: entry.url(),
            host: entry.host.to_string(),
            port: entry.port,
            countries: entry.countries.iter().map(ToString::to_string).collect(),
            country: entry.country.map(|country| country.to_string()),
            exit: entry.exit.map(|exit| exit.to_string()),
            latency_ms: entry.latency_ms,
            state: entry.state.to_owned(),
        }
    }
}
