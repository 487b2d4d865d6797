//! `access.sign_in`: who reads the page with a password.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::desired::secret::Secret;
use crate::desired::values::{Label, PasswordHash};

/// Who reads the page, the API and the metrics with a password, from where `access.panel` lets them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// Who may sign in.
    #[schemars(length(min = 1, max = 100))]
    pub users: Vec<User>,
}

/// Somebody who may sign in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name.
    pub name: Label,
    /// The argon2id hash of the password, as `exitpool passwd` prints it.
    pub password: PasswordHash,
    /// Where the secret of the second factor is read from, in base32. Default: a password is enough.
    pub totp: Option<Secret>,
}
