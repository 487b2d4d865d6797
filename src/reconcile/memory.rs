//! What the daemon keeps in its state directory: the desired state in force, what each object was left as, when nodes have
//! rotated, what was tried lately, and what operators have said.
//!
//! The first four are conveniences. Without the first, a daemon that starts beside a broken file waits for a good one;
//! without the second, the next differences are called changes instead of drift; without the third, orders to rotate are
//! forgotten and the next rotations are spread anew; without the fourth, restarts are counted anew. None says what exists:
//! that is observed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::efforts::Written;
use crate::desired::lists::Given;
use crate::desired::{Lists, Revision};
use crate::error::{Classify, Kind};
use crate::plan::Applied;
use crate::rollout::Orders;
use crate::rotation::Rotations;
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
    /// Its lists.
    pub lists: Lists,
}

impl Accepted {
    /// The document with its lists.
    pub fn given(&self) -> Given<'_> {
        Given { document: &self.bytes, lists: &self.lists }
    }
}

/// Why something could not be remembered, or recalled.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A file cannot be written.
    #[error("cannot write {path}: check the state directory's owner and free space")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What operators have said cannot be read.
    #[error("cannot read {path}: say again what was suspended, confirmed or rolled back")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Classify for MemoryError {
    fn kind(&self) -> Kind {
        Kind::Host
    }
}

/// The document in force. Its first line is a comment with its revision and the lengths of its lists, which stand behind
/// it.
pub const ACCEPTED: &str = "accepted.yaml";
/// The wishes that were fulfilled last.
pub const APPLIED: &str = "applied.json";
/// What operators have said.
pub const ORDERS: &str = "orders.json";
/// When nodes have rotated.
pub const ROTATIONS: &str = "rotations.json";
/// What was tried lately.
pub const EFFORTS: &str = "efforts.json";
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

    /// Which of the files that a boot needs are there, and cannot be understood.
    pub fn damaged(&self) -> Vec<PathBuf> {
        let understood = |name: &str| match name {
            ACCEPTED => self.accepted().is_some(),
            _ => fs::read(self.directory.join(name)).is_ok_and(|it| serde_json::from_slice::<Applied>(&it).is_ok()),
        };
        let is_there = |name: &str| fs::exists(self.directory.join(name)).unwrap_or(true);
        let damaged = [ACCEPTED, APPLIED].into_iter().filter(|name| is_there(name) && !understood(name));
        damaged.map(|name| self.directory.join(name)).collect()
    }

    /// Recalls the desired state in force.
    pub fn accepted(&self) -> Option<Accepted> {
        let bytes = fs::read(self.directory.join(ACCEPTED)).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let first = std::str::from_utf8(&bytes[..end]).ok()?.strip_prefix(REVISION_MARK)?;
        let (revision, lengths) = first.split_once(' ').unwrap_or((first, "{}"));
        let (bytes, lists) = Lists::split(&bytes[end + 1..], serde_json::from_str(lengths).ok()?)?;
        Some(Accepted { revision: revision.parse().ok()?, bytes, lists })
    }

    /// Remembers the desired state in force.
    pub fn remember_accepted(&self, accepted: &Accepted) -> Result<(), MemoryError> {
        let Accepted { revision, bytes, lists } = accepted;
        let mut first = format!("{REVISION_MARK}{revision}");
        if !lists.is_empty() {
            let lengths = serde_json::to_string(&lists.lengths());
            first += &format!(" {}", lengths.map_err(|error| self.failed(ACCEPTED, error.into()))?);
        }
        let content = [first.as_bytes(), b"\n", &lists.append_to(bytes)].concat();
        self.write(ACCEPTED, &content)
    }

    /// Recalls what operators have said; nothing where nobody has.
    pub fn orders(&self) -> Result<Orders, MemoryError> {
        let path = self.directory.join(ORDERS);
        let parsed = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Orders::default()),
            read => read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from)),
        };
        parsed.map_err(|source| MemoryError::Unreadable { path, source })
    }

    /// Remembers what operators have said.
    pub fn remember_orders(&self, orders: &Orders) -> Result<(), MemoryError> {
        let json = serde_json::to_vec_pretty(orders).map_err(|error| self.failed(ORDERS, error.into()))?;
        self.write(ORDERS, &json)
    }

    /// Recalls when nodes have rotated, and which still owe a rotation; nothing where that is not known, which spreads the
    /// next rotations anew.
    pub fn rotations(&self) -> Rotations {
        self.read_or_put_aside(ROTATIONS, "orders to rotate are forgotten, and the next rotations are spread anew")
    }

    /// Remembers when nodes have rotated.
    pub fn remember_rotations(&self, rotations: &Rotations) -> Result<(), MemoryError> {
        let json = serde_json::to_vec(rotations).map_err(|error| self.failed(ROTATIONS, error.into()))?;
        self.write(ROTATIONS, &json)
    }

    /// Recalls what was tried lately; nothing where that is not known.
    pub fn efforts(&self) -> Written {
        self.read_or_put_aside(EFFORTS, "restarts and failures are counted anew")
    }

    /// Remembers what was tried lately.
    pub fn remember_efforts(&self, efforts: &Written) -> Result<(), MemoryError> {
        let json = serde_json::to_vec(efforts).map_err(|error| self.failed(EFFORTS, error.into()))?;
        self.write(EFFORTS, &json)
    }

    /// Forgets everything: the host is down.
    pub fn forget(&self) {
        for name in [ACCEPTED, APPLIED, ORDERS, ROTATIONS, EFFORTS] {
            let _ = fs::remove_file(self.directory.join(name));
        }
    }

    /// Reads a file; one that cannot be understood is put aside, which the log says with what it means.
    fn read_or_put_aside<T: DeserializeOwned + Default>(&self, name: &str, means: &str) -> T {
        let path = self.directory.join(name);
        let read = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return T::default(),
            read => read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from)),
        };
        read.unwrap_or_else(|error| {
            let aside = files::put_aside(&path);
            tracing::warn!(%error, path = %path.display(), ?aside, "{means}");
            T::default()
        })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), MemoryError> {
        files::write_atomically(&self.directory.join(name), bytes).map_err(|error| self.failed(name, error))
    }

    fn failed(&self, name: &str, source: io::Error) -> MemoryError {
        MemoryError::Unwritable { path: self.directory.join(name), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_comes_back_with_its_revision() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(&directory.path().join("new"));
        assert_eq!((memory.accepted(), memory.damaged()), (None, vec![]));
        let revision = Revision::of_file(&[1; 32]);
        let accepted = Accepted { revision, bytes: b"version: 1\n".to_vec(), lists: Lists::default() };
        memory.remember_accepted(&accepted).unwrap();
        assert_eq!(memory.accepted(), Some(accepted.clone()));
        let list = ("a list.txt".parse().unwrap(), Ok(b"10.0.0.1\n".to_vec()));
        let accepted = Accepted { lists: Lists::from_iter([list]), ..accepted };
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
        assert_eq!(memory.damaged(), [directory.path().join(ACCEPTED), directory.path().join(APPLIED)]);
        memory.remember_applied(&Applied::default()).unwrap();
        assert_eq!(memory.damaged(), [directory.path().join(ACCEPTED)]);
    }

    #[test]
    fn torn_orders_are_not_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(directory.path());
        assert_eq!(memory.orders().unwrap(), Orders::default());
        let orders = Orders { may_delete: Some(Revision::of_file(&[1; 32])), ..Orders::default() };
        memory.remember_orders(&orders).unwrap();
        assert_eq!(memory.orders().unwrap(), orders);
        fs::write(directory.path().join(ORDERS), "{\"host\":").unwrap();
        assert!(memory.orders().is_err());
    }
}
