//! The words of the file: values that are written as text and mean more than text.
//!
//! Each is parsed at the edge, has one pattern for the schema, and says what is wrong as `what; what to do`.

mod amounts;
mod contacts;
mod list_path;
mod network;

pub use amounts::{PerSecond, Percent, Period, Positive, Size};
pub use contacts::{
    ChatId, CredentialName, HostName, HttpUrl, Label, MailAddress, MailServer, SecretPath, TokenId, TrustedKey,
    VariableName,
};
pub use list_path::ListPath;
pub use network::{ListenAddress, Peer, Port, PortRange, SshPeer};

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::country::{ASSIGNED, Country};
use super::names::{Fingerprint, NodeName, PoolName, Revision};

/// Why a word of the file is not what its place asks for; `what is wrong; what to do`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

impl ValueError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Makes a type that is written as text: reading from text, serde through text, and a schema with a pattern.
macro_rules! written_as_text {
    ($name:ty, $schema_name:literal, { $($schema:tt)* }) => {
        impl TryFrom<String> for $name {
            type Error = $crate::desired::values::ValueError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $schema_name.into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", $($schema)* })
            }
        }
    };
}
use written_as_text;

impl JsonSchema for Country {
    fn schema_name() -> Cow<'static, str> {
        "Country".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let codes: Vec<&str> = ASSIGNED.split_ascii_whitespace().collect();
        let either_case = |letter: char| format!("[{}{letter}]", letter.to_ascii_uppercase());
        let patterns: Vec<String> = codes.iter().map(|code| code.chars().map(either_case).collect()).collect();
        json_schema!({
            "description": "An assigned country code of ISO 3166-1 alpha-2.",
            "type": "string",
            "anyOf": [{ "enum": codes }, { "pattern": format!("^({})$", patterns.join("|")) }],
        })
    }
}

impl JsonSchema for Fingerprint {
    fn schema_name() -> Cow<'static, str> {
        "Fingerprint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A relay's fingerprint: 40 hexadecimal digits.",
            "type": "string",
            "pattern": "^\\$?[0-9A-Fa-f]{40}$",
        })
    }
}

impl JsonSchema for PoolName {
    fn schema_name() -> Cow<'static, str> {
        "PoolName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A pool's name: a-z, 0-9 and inner `-`, starting with a letter.",
            "type": "string",
            "pattern": "^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$",
            "examples": json!(["eu"]),
        })
    }
}

impl JsonSchema for NodeName {
    fn schema_name() -> Cow<'static, str> {
        "NodeName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A node's name: the pool's, `-`, and the index.",
            "type": "string",
            "pattern": "^[a-z]([a-z0-9-]{0,30}[a-z0-9])?-(0|[1-9][0-9]{0,4})$",
        })
    }
}

impl JsonSchema for Revision {
    fn schema_name() -> Cow<'static, str> {
        "Revision".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The id of one version of the source: `<branch>@sha1:<40 hex>` or `file@sha256:<64 hex>`.",
            "type": "string",
            "pattern": "^(.+@sha1:[0-9a-f]{40}|file@sha256:[0-9a-f]{64})$",
        })
    }
}

#[cfg(test)]
mod tests;
