//! References to secrets: where a secret is read from, never the secret.

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{CredentialName, SecretPath, VariableName};

/// Where a secret is read from. A secret never stands in the file itself: a literal is refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// A systemd credential, by its name.
    Credential(CredentialName),
    /// A file, by its absolute path.
    File(SecretPath),
    /// An environment variable of the daemon, by its name.
    Env(VariableName),
}
