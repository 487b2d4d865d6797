//! The ratchet: which commit was accepted last. It stands outside the clone, and outlives it.
//!
//! It is keyed on the digest of what is signed, not on the commit's id alone: a signature can be wrapped anew without
//! its key. Losing it is never taken for a fresh start; a file that cannot be read is an error, not an empty one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use git2::Oid;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::verify::{Base, Signer, Verdict};
use crate::desired::names::hex;
use crate::sys::files;

/// The ratchet's name in the state directory.
pub const FILE: &str = "ratchet.json";
/// The format that is written.
pub const VERSION: u32 = 1;

/// The SHA-256 of what is signed in a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

/// The file that remembers the accepted commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ratchet {
    path: PathBuf,
}

/// The commit that was accepted last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tooth {
    version: u32,
    /// The commit's id.
    pub commit: String,
    /// The SHA-256 of what is signed in it.
    pub payload_sha256: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// How it came to be accepted.
    pub by: Acceptance,
}

/// How a commit came to be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acceptance {
    /// It was verified; an empty list means that it was pinned as the first.
    Signers(Vec<Signer>),
    /// An operator took it by hand.
    Operator {
        /// Why.
        reason: String,
    },
}

/// Why the ratchet could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RatchetError {
    /// It cannot be read.
    #[error(
        "the ratchet `{}` cannot be read, so no commit is accepted; restore it, or name the commit to go on from \
         with `exitpool accept-rewrite`",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("the ratchet `{}` cannot be written, so nothing is accepted; check its owner and free space", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Ratchet {
    /// The ratchet of a state directory.
    pub fn of(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE) }
    }

    /// What was accepted last; `None` where nothing ever was.
    pub fn tooth(&self) -> Result<Option<Tooth>, RatchetError> {
        let unreadable = |source| RatchetError::Unreadable { path: self.path.clone(), source };
        let bytes = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(unreadable)?,
        };
        let tooth: Tooth = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.into()))?;
        match tooth.base() {
            Some(_) => Ok(Some(tooth)),
            None => Err(unreadable(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Where verification begins: at what was accepted last, or else at the commit that was named as the first.
    pub fn base(&self, first: Option<Oid>) -> Result<Base, RatchetError> {
        let accepted = self.tooth()?.and_then(|tooth| tooth.base());
        Ok(accepted.or(first.map(Base::First)).unwrap_or(Base::None))
    }

    /// Accepts a commit that was verified; one that is accepted already is not written again.
    pub fn advance(&self, verdict: &Verdict) -> Result<(), RatchetError> {
        let commit = verdict.commit.to_string();
        if self.tooth()?.is_some_and(|tooth| tooth.commit == commit) {
            return Ok(());
        }
        self.write(commit, verdict.payload, Acceptance::Signers(verdict.signers.clone()))
    }

    /// Accepts a commit because an operator says so.
    pub fn force(&self, commit: Oid, payload: Digest, reason: &str) -> Result<(), RatchetError> {
        self.write(commit.to_string(), payload, Acceptance::Operator { reason: reason.to_owned() })
    }

    fn write(&self, commit: String, payload: Digest, by: Acceptance) -> Result<(), RatchetError> {
        let payload_sha256 = payload.to_string();
        let tooth = Tooth { version: VERSION, commit, payload_sha256, accepted_at: Timestamp::now(), by };
        let json = serde_json::to_vec_pretty(&tooth).map_err(io::Error::from);
        json.and_then(|json| files::write_atomically(&self.path, &json))
            .map_err(|source| RatchetError::Unwritable { path: self.path.clone(), source })
    }
}

impl Tooth {
    fn base(&self) -> Option<Base> {
        let commit = Oid::from_str(&self.commit).ok().filter(|_| self.commit.len() == 40)?;
        let payload = Digest::parse(&self.payload_sha256).filter(|_| self.version == VERSION)?;
        Some(Base::Accepted { commit, payload })
    }
}

impl Digest {
    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(digit: char) -> Verdict {
        let commit = Oid::from_str(&digit.to_string().repeat(40)).unwrap();
        Verdict { commit, payload: Digest([digit as u8; 32]), signers: Vec::new() }
    }

    #[test]
    fn what_was_accepted_is_where_verification_begins() {
        let directory = tempfile::tempdir().unwrap();
        let ratchet = Ratchet::of(&directory.path().join("new"));
        let first = Oid::from_str(&"f".repeat(40)).unwrap();
        assert_eq!(ratchet.base(None).unwrap(), Base::None);
        assert_eq!(ratchet.base(Some(first)).unwrap(), Base::First(first));
        for digit in ['1', '2'] {
            let Verdict { commit, payload, .. } = verdict(digit);
            ratchet.advance(&verdict(digit)).unwrap();
            assert_eq!(ratchet.base(Some(first)).unwrap(), Base::Accepted { commit, payload });
        }
    }

    #[test]
    fn a_torn_ratchet_is_no_fresh_start() {
        let directory = tempfile::tempdir().unwrap();
        let ratchet = Ratchet::of(directory.path());
        ratchet.advance(&verdict('1')).unwrap();
        let whole = std::fs::read_to_string(&ratchet.path).unwrap();
        for torn in ["", &whole[..whole.len() / 2], &whole.replace("\"version\": 1", "\"version\": 2")] {
            std::fs::write(&ratchet.path, torn).unwrap();
            assert!(matches!(ratchet.base(None), Err(RatchetError::Unreadable { .. })), "{torn}");
            assert!(ratchet.advance(&verdict('2')).is_err());
        }
        let Verdict { commit, payload, .. } = verdict('3');
        ratchet.force(commit, payload, "the disk was replaced").unwrap();
        assert_eq!(ratchet.base(None).unwrap(), Base::Accepted { commit, payload });
    }

    #[test]
    fn a_ratchet_that_cannot_be_written_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let ratchet = Ratchet { path: file.join(FILE) };
        assert!(ratchet.advance(&verdict('1')).is_err());
    }
}
