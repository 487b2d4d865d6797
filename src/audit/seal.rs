//! What is signed of the trail: its newest row, and the last of those that were removed.
//!
//! Only the newest signature is kept. Whoever has no key and cuts rows off has no signature for what is left.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::AuditError;
use super::chain::Hash;
use crate::desired::names::hex;
use crate::export::key::{PublicKey, SecretKey};
use crate::sys::{files, random};

/// What a signature is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The newest row.
    Head,
    /// The last row that was removed.
    Anchor,
}

impl About {
    /// Its word, in the database and in what is signed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Anchor => "anchor",
        }
    }
}

/// A row's place and hash, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The row; 0 stands for the beginning.
    pub row: i64,
    /// Its hash, in hexadecimal digits.
    pub hash: String,
    /// When it was signed, as RFC 3339.
    pub at: String,
    /// The public key, `ed25519:<base64>`.
    pub key: String,
    /// The signature, in hexadecimal digits.
    pub signature: String,
}

impl Seal {
    /// What is signed. No token and nothing else of ours begins like this.
    fn message(about: About, row: i64, hash: &str, at: &str) -> String {
        format!("exitpool audit {}\nrow {row}\nhash {hash}\nat {at}\n", about.word())
    }

    /// Signs a place in the chain.
    pub fn sign(key: &SecretKey, about: About, row: i64, hash: &Hash) -> Self {
        let (hash, at) = (hex(hash), Timestamp::now().to_string());
        let signature = hex(&key.sign(Self::message(about, row, &hash, &at).as_bytes()));
        Self { row, hash, at, key: key.public().to_string(), signature }
    }

    /// Says whose signature this is, where it is good.
    pub fn signer(&self, about: About) -> Option<PublicKey> {
        let key: PublicKey = self.key.parse().ok()?;
        let signature = <[u8; 64]>::try_from(unhex(&self.signature)?).ok()?;
        let message = Self::message(about, self.row, &self.hash, &self.at);
        key.verifies(message.as_bytes(), &signature).then_some(key)
    }

    /// Whether it is about this place.
    pub fn is_of(&self, row: i64, hash: &Hash) -> bool {
        self.row == row && self.hash == hex(hash)
    }
}

/// Reads lower-case hexadecimal digits; others are not what was written.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pair = |pair: &[u8]| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?);
    text.as_bytes().chunks(2).map(pair).collect()
}

/// A place in the chain as an operator writes it down elsewhere: `ROW:HASH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The row.
    pub row: i64,
    /// Its hash, in hexadecimal digits.
    pub hash: String,
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (row, hash) = text.split_once(':')?;
            let row = row.parse().ok().filter(|row| *row >= 0)?;
            (unhex(hash)?.len() == size_of::<Hash>()).then(|| Self { row, hash: hash.to_owned() })
        };
        read().ok_or_else(|| {
            format!("`{text}` is no place in an audit trail: write `ROW:HASH`, as `exitpool audit verify` prints it")
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.row, self.hash)
    }
}

/// The host's key.
#[derive(Debug)]
pub struct OwnKey {
    /// The key.
    pub key: SecretKey,
    /// Whether it can have signed anything yet.
    pub age: Age,
}

/// Whether a key can have signed anything yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It was there.
    Kept,
    /// There was none, or none that could be used.
    JustMade,
}

/// The files beside a trail: the host's key, and the newest signature once more.
#[derive(Debug, Clone)]
pub struct Beside {
    key: PathBuf,
    head: PathBuf,
}

impl Beside {
    /// Those of a trail.
    pub fn of(trail: &Path) -> Self {
        Self { key: trail.with_extension("key"), head: trail.with_extension("head") }
    }

    /// The host's key; made where there is none.
    ///
    /// One that cannot be read as a key is put aside, which the log says: the trail goes on with another one.
    pub fn key(&self) -> Result<OwnKey, AuditError> {
        let failed = |source| AuditError::Key { path: self.key.clone(), source };
        match fs::read_to_string(&self.key) {
            Ok(text) => match text.trim().parse() {
                Ok(key) => return Ok(OwnKey { key, age: Age::Kept }),
                Err(_) => {
                    let aside = self.key.with_extension("key.damaged");
                    fs::rename(&self.key, &aside).map_err(failed)?;
                    tracing::error!(
                        "the audit trail's key was damaged: it is now {}, and the trail is signed with another one; pin that",
                        aside.display()
                    );
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let key = SecretKey::from_seed(&random::bytes().map_err(failed)?);
        files::write_atomically(&self.key, format!("{}\n", key.reveal()).as_bytes()).map_err(failed)?;
        Ok(OwnKey { key, age: Age::JustMade })
    }

    /// The host's public key, where its file can be read.
    pub fn public(&self) -> Option<PublicKey> {
        let key: SecretKey = fs::read_to_string(&self.key).ok()?.trim().parse().ok()?;
        Some(key.public())
    }

    /// The newest signature, as it was written outside of the database.
    pub fn head(&self) -> Option<Seal> {
        let seal: Seal = serde_json::from_slice(&fs::read(&self.head).ok()?).ok()?;
        seal.signer(About::Head).map(|_| seal)
    }

    /// Writes the newest signature outside of the database.
    pub fn remember(&self, head: &Seal) -> io::Result<()> {
        files::write_atomically(&self.head, &serde_json::to_vec(head)?)
    }

    /// The file of the newest signature.
    pub fn head_file(&self) -> &Path {
        &self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_good_for_what_was_signed_and_for_nothing_else() {
        let key = SecretKey::from_seed(&[3; 32]);
        let seal = Seal::sign(&key, About::Head, 7, &[1; 32]);
        assert_eq!(seal.signer(About::Head), Some(key.public()));
        assert!(seal.is_of(7, &[1; 32]));
        assert_eq!(seal.signer(About::Anchor), None);
        let other = SecretKey::from_seed(&[4; 32]).public().to_string();
        for changed in [
            Seal { row: 8, ..seal.clone() },
            Seal { hash: hex(&[2; 32]), ..seal.clone() },
            Seal { at: "2026-11-24T08:00:00Z".to_owned(), ..seal.clone() },
            Seal { key: other, ..seal.clone() },
            Seal { signature: seal.signature.to_uppercase(), ..seal.clone() },
            Seal { signature: seal.signature[..126].to_owned(), ..seal.clone() },
        ] {
            assert_eq!(changed.signer(About::Head), None, "{changed:?}");
        }
    }

    #[test]
    fn a_place_is_a_row_and_a_whole_hash() {
        let text = format!("12:{}", "0a".repeat(32));
        assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        for bad in ["", "12", "12:", "12:0a", "x:00", &text.to_uppercase(), &format!("-{text}")] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_made_once_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let beside = Beside::of(&directory.path().join("audit.sqlite"));
        assert_eq!(beside.public(), None);
        let made = beside.key().unwrap();
        let key = made.key.public();
        assert_eq!(made.age, Age::JustMade);
        let kept = beside.key().unwrap();
        assert_eq!((kept.key.public(), kept.age), (key, Age::Kept));
        assert_eq!(beside.public(), Some(key));
        let path = directory.path().join("audit.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "no key").unwrap();
        assert_ne!(beside.key().unwrap().key.public(), key);
        assert_eq!(fs::read_to_string(directory.path().join("audit.key.damaged")).unwrap(), "no key");
    }
}
