//! What the daemon keeps in its state directory: the desired state in force, and what each object was left as.
//!
//! Both are conveniences. Without the first, a daemon that starts beside a broken file waits for a good one; without
//! the second, the next differences are called changes instead of drift. Neither says what exists: that is observed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::desired::Revision;
use crate::error::{Classify, Kind};
use crate::plan::Applied;
use crate::sys::files;

/// The files in the state directory.
#[derive(Debug, Clone)]
pub struct Memory {
    directory: PathBuf,
}

/// A desired state that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its revision.
    pub revision: Revision,
    /// The document.
    pub bytes: Vec<u8>,
}

/// Why something could not be remembered.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: check the state directory's owner and free space")]
pub struct MemoryError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Classify for MemoryError {
    fn kind(&self) -> Kind {
        Kind::Host
    }
}

/// The document in force; its first line is a comment with its revision.
const ACCEPTED: &str = "accepted.yaml";
/// The wishes that were fulfilled last.
const APPLIED: &str = "applied.json";
/// What the first line of the accepted document begins with.
const REVISION_MARK: &str = "# revision: ";

impl Memory {
    /// Remembers in a directory, which is made when it is missing.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Recalls what each object was left as; nothing where that is not known.
    pub fn applied(&self) -> Applied {
        let read = fs::read(self.directory.join(APPLIED));
        read.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Remembers what each object was left as.
    pub fn remember_applied(&self, applied: &Applied) -> Result<(), MemoryError> {
        let json = serde_json::to_vec(applied).map_err(|error| self.failed(APPLIED, error.into()))?;
        self.write(APPLIED, &json)
    }

    /// Recalls the desired state in force.
    pub fn accepted(&self) -> Option<Accepted> {
        let text = fs::read_to_string(self.directory.join(ACCEPTED)).ok()?;
        let (first, document) = text.split_once('\n')?;
        let revision = first.strip_prefix(REVISION_MARK)?.parse().ok()?;
        Some(Accepted { revision, bytes: document.as_bytes().to_vec() })
    }

    /// Remembers the desired state in force.
    pub fn remember_accepted(&self, accepted: &Accepted) -> Result<(), MemoryError> {
        let mut bytes = format!("{REVISION_MARK}{}\n", accepted.revision).into_bytes();
        bytes.extend_from_slice(&accepted.bytes);
        self.write(ACCEPTED, &bytes)
    }

    /// Forgets everything: the host is down.
    pub fn forget(&self) {
        for name in [ACCEPTED, APPLIED] {
            let _ = fs::remove_file(self.directory.join(name));
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), MemoryError> {
        files::write_atomically(&self.directory.join(name), bytes).map_err(|error| self.failed(name, error))
    }

    fn failed(&self, name: &str, source: io::Error) -> MemoryError {
        MemoryError { path: self.directory.join(name), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_comes_back_with_its_revision() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(&directory.path().join("new"));
        assert_eq!(memory.accepted(), None);
        let accepted = Accepted { revision: Revision::of_file(&[1; 32]), bytes: b"version: 1\n".to_vec() };
        memory.remember_accepted(&accepted).unwrap();
        assert_eq!(memory.accepted(), Some(accepted));
        memory.forget();
        assert_eq!(memory.accepted(), None);
    }

    #[test]
    fn a_torn_memory_is_no_memory() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(APPLIED), "{\"instances\":{\"eu-0\":").unwrap();
        fs::write(directory.path().join(ACCEPTED), "version: 1\n").unwrap();
        let memory = Memory::new(directory.path());
        assert_eq!((memory.applied(), memory.accepted()), (Applied::default(), None));
    }
}
