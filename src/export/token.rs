//! What exitpool says in a token: who may have what, from where, and how long.
//!
//! A token is a PASETO v4.public whose footer names the key that signed it. Its audience says what it is for: what the
//! same key has signed for another purpose is not believed here. There is no implicit assertion, so every
//! implementation of PASETO can read a token.

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ExportFormat;
use super::key::{PublicKey, SecretKey};
use super::paseto::{self, MAX_TOKEN_BYTES, NotValid, Unverified};
use crate::desired::PoolName;

/// Tokens of ours have no implicit assertion.
const NOTHING_IMPLIED: &[u8] = b"";
/// The longest footer that is looked at; ours has some 60 bytes.
const MAX_FOOTER_BYTES: usize = 256;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Audience {
    /// Lists of nodes.
    #[default]
    #[serde(rename = "exitpool-export")]
    Export,
}

/// What a token says. A claim that is not known here may restrict it, so such a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// What it is for.
    pub aud: Audience,
    /// The token's id, by which it is revoked.
    pub jti: String,
    /// The grant that it uses.
    pub grant: String,
    /// When it was issued.
    pub iat: Timestamp,
    /// From when on it is valid.
    pub nbf: Timestamp,
    /// From when on it is not valid any more.
    pub exp: Timestamp,
    /// From where it may be used; empty means from wherever the grant allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bind: Vec<IpNet>,
    /// For which formats; empty means all that the grant allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<ExportFormat>,
    /// For which pools; empty means all that the grant allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolName>,
}

/// The footer of a token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    /// The id of the key that signed it.
    kid: String,
}

/// Why no token can be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// It says too much.
    #[error("the token would have {0} bytes, and at most {MAX_TOKEN_BYTES} are taken; bind it to fewer networks")]
    TooLong(usize),
    /// It cannot be written as JSON.
    #[error("the token cannot be written")]
    Unwritable(#[from] serde_json::Error),
}

/// Signs a token.
pub fn issue(key: &SecretKey, claims: &Claims) -> Result<String, IssueError> {
    let message = serde_json::to_vec(claims)?;
    let footer = serde_json::to_vec(&Footer { kid: key.public().id().to_string() })?;
    let token = paseto::sign(key.signing(), &message, &footer, NOTHING_IMPLIED);
    if token.len() > MAX_TOKEN_BYTES { Err(IssueError::TooLong(token.len())) } else { Ok(token) }
}

/// What a token says, if one of some keys has signed it; whether it is valid now is another question.
pub fn verify(token: &str, trusted: &[PublicKey]) -> Result<Claims, NotValid> {
    let unverified = Unverified::read(token)?;
    let kid = named(&unverified)?;
    let key = trusted.iter().find(|key| key.id().to_string() == kid).ok_or(NotValid)?;
    let message = unverified.verify(key.verifying(), NOTHING_IMPLIED)?;
    serde_json::from_slice(&message).map_err(|_| NotValid)
}

/// What a token says, and the id of the key that it names, without believing any of it.
pub fn inspect(token: &str) -> Result<(Claims, String), NotValid> {
    let unverified = Unverified::read(token)?;
    let kid = named(&unverified)?;
    let claims = serde_json::from_slice(unverified.message()).map_err(|_| NotValid)?;
    Ok((claims, kid))
}

/// The id of the key that a token names.
fn named(token: &Unverified) -> Result<String, NotValid> {
    let footer = Some(token.footer()).filter(|footer| footer.len() <= MAX_FOOTER_BYTES).ok_or(NotValid)?;
    let Footer { kid } = serde_json::from_slice(footer).map_err(|_| NotValid)?;
    Ok(kid)
}

#[cfg(test)]
mod tests;
