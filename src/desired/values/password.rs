//! The hash of a password.

use std::str::FromStr;

use argon2::password_hash::PasswordHash as Phc;
use argon2::{ARGON2ID_IDENT, Params};
use serde::Deserialize;

use super::{ValueError, written_as_text};

/// The version of argon2 that RFC 9106 has.
const VERSION: u32 = 0x13;
/// The least memory that OWASP's cheat sheet on the storage of passwords lists for argon2id, in KiB.
const LEAST_MEMORY_KIB: u32 = 7_168;
/// So much memory and time at most: somebody who knows no password can have a hash computed.
const MOST_MEMORY_KIB: u32 = 65_536;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 4;
/// The memory of all passes together, in KiB.
const MOST_WORK_KIB: u32 = 4 * MOST_MEMORY_KIB;
/// The shortest hash that nobody finds another password for.
const SHORTEST_HASH_BYTES: usize = 16;

/// An argon2id hash of a password, in the PHC string format. It is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PasswordHash(String);

written_as_text!(PasswordHash, "PasswordHash", {
    "description": "An argon2id hash of a password, as `exitpool passwd` prints it.",
    "pattern": "^\\$argon2id\\$v=19\\$m=[0-9]+,t=[0-9]+,p=[0-9]+\\$[A-Za-z0-9+/]+\\$[A-Za-z0-9+/]+$",
    "maxLength": 512
});

impl PasswordHash {
    /// The hash as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl FromStr for PasswordHash {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = |why: &str| ValueError::new(format!("{why}; write what `exitpool passwd` prints"));
        let hash = Phc::new(text).map_err(|_| refuse("this is not the hash of a password"))?;
        let is_whole = hash.salt.is_some() && hash.hash.is_some_and(|hash| hash.len() >= SHORTEST_HASH_BYTES);
        if hash.algorithm != ARGON2ID_IDENT || hash.version != Some(VERSION) || !is_whole {
            return Err(refuse("this is not a hash of argon2id, version 19, with salt and digest"));
        }
        let params = Params::try_from(&hash).map_err(|_| refuse("argon2 knows no such parameters"))?;
        if params.m_cost() < LEAST_MEMORY_KIB {
            return Err(refuse("this hash is too easily guessed: it takes less than 7 MiB"));
        }
        let is_cheap = params.m_cost() <= MOST_MEMORY_KIB
            && params.t_cost() <= MOST_PASSES
            && params.p_cost() <= MOST_LANES
            && params.m_cost().saturating_mul(params.t_cost()) <= MOST_WORK_KIB;
        if is_cheap { Ok(Self(text.to_owned())) } else { Err(refuse("this hash takes too much to check")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "$c29tZXNhbHRzYWx0$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    #[test]
    fn a_hash_has_to_be_hard_to_guess_and_cheap_to_check() {
        for good in ["m=7168,t=5,p=1", "m=19456,t=2,p=1", "m=65536,t=4,p=4"] {
            assert!(format!("$argon2id$v=19${good}{END}").parse::<PasswordHash>().is_ok(), "{good}");
        }
        for (bad, words) in [
            (format!("$argon2id$v=19$m=7167,t=5,p=1{END}"), "too easily guessed"),
            (format!("$argon2id$v=19$m=65537,t=1,p=1{END}"), "takes too much"),
            (format!("$argon2id$v=19$m=65536,t=5,p=1{END}"), "takes too much"),
            (format!("$argon2id$v=19$m=7168,t=11,p=1{END}"), "takes too much"),
            (format!("$argon2id$v=19$m=7168,t=5,p=5{END}"), "takes too much"),
            (format!("$argon2i$v=19$m=19456,t=2,p=1{END}"), "not a hash of argon2id"),
            (format!("$argon2id$v=16$m=19456,t=2,p=1{END}"), "not a hash of argon2id"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ".to_owned(), "not a hash of argon2id"),
            ("my password".to_owned(), "not the hash of a password"),
            (String::new(), "not the hash of a password"),
        ] {
            let error = bad.parse::<PasswordHash>().unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("my password"), "{bad}: {error}");
        }
    }
}
