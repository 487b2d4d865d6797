//! The audit trail: an append-only, hash-chained record of what was done, and why.
//!
//! Nothing reads it to decide anything: losing it loses history, never the pool. So appending neither fails nor
//! waits; what cannot be written is logged and counted. A chain shows that a row in the middle was changed or taken
//! out. It does not show that the newest rows were cut off, nor that somebody computed the whole chain anew: whoever
//! wants that sends the log to another host.

mod chain;
mod store;
mod writer;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::desired::Revision;
use crate::error::{Classify, Kind};
use store::Store;
use writer::Writer;

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// The revision that was in force.
    pub revision: Option<Revision>,
    /// What it was done to.
    pub object: String,
    /// The step's sentence.
    pub action: String,
    /// Why it was done.
    pub cause: String,
    /// What came of it.
    pub result: String,
}

/// A record in its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its row, counted from one.
    pub row: u64,
    /// The record.
    #[serde(flatten)]
    pub record: Record,
    /// SHA-256 over the previous row's hash and this row, in hexadecimal digits.
    pub hash: String,
}

/// Why the trail cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A newer exitpool has written it.
    #[error("{} has version {found}, and this exitpool knows {known}: run the newer one, or move the file away", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// A row is not what was written, or is gone.
    #[error("the audit trail is broken at row {row}: it was changed, or rows before it are gone")]
    Broken {
        /// The first such row.
        row: u64,
    },
    /// The database refused.
    #[error("cannot use the audit trail {}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A damaged file could not be moved out of the way.
    #[error("cannot move the damaged audit trail {} aside", path.display())]
    Aside {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The thread that writes could not be started, or has ended.
    #[error("the audit trail's writer is not running")]
    Stopped {
        /// Why it could not be started.
        #[source]
        source: Option<std::io::Error>,
    },
}

impl Classify for AuditError {
    fn kind(&self) -> Kind {
        match self {
            Self::Stopped { source: None } => Kind::Bug,
            _ => Kind::Host,
        }
    }
}

/// The trail, as the daemon holds it.
///
/// Dropping it writes what is still queued, and waits for that.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    writer: Writer,
}

impl Audit {
    /// Opens the trail, or begins one.
    ///
    /// A file that is damaged or no database is moved aside, which the log says; one that a newer exitpool has
    /// written is refused.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let store = Store::open_or_begin_anew(path)?;
        Ok(Self { path: path.to_owned(), writer: Writer::start(path, store)? })
    }

    /// Appends a record, in the background.
    pub fn append(&self, record: Record) {
        self.writer.append(record);
    }

    /// How many records could not be written since the start.
    pub fn lost(&self) -> u64 {
        self.writer.lost()
    }

    /// Waits until everything appended so far is on the disk, or counted as lost.
    pub async fn flush(&self) -> Result<(), AuditError> {
        let (done, flushed) = oneshot::channel();
        self.writer.flush(done);
        flushed.await.map_err(|_| AuditError::Stopped { source: None })
    }

    /// Lists the newest records, the newest first.
    pub async fn list(&self, limit: usize) -> Result<Vec<Entry>, AuditError> {
        self.flush().await?;
        self.read(move |path| list(path, limit)).await
    }

    /// Checks the whole chain, and counts its rows.
    pub async fn verify(&self) -> Result<u64, AuditError> {
        self.flush().await?;
        self.read(verify).await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, AuditError> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || work(&path)).await;
        read.map_err(|_| AuditError::Stopped { source: None })?
    }
}

/// Lists the newest records of a trail that another process may be writing, the newest first. It blocks.
pub fn list(path: &Path, limit: usize) -> Result<Vec<Entry>, AuditError> {
    Store::read_only(path)?.newest(limit)
}

/// Checks the whole chain of such a trail, and counts its rows. It blocks.
pub fn verify(path: &Path) -> Result<u64, AuditError> {
    Store::read_only(path)?.verify()
}

#[cfg(test)]
mod tests;
