//! The audit trail: an append-only, hash-chained, signed record of what was done, by whom, and why.
//!
//! Nothing reads it to decide anything: losing it loses history, never the pool. So appending neither fails nor
//! waits; what cannot be written is logged and counted.
//!
//! Each row's hash covers the row before it, and the newest is signed with the host's key in the transaction that
//! writes it. So a row that was changed, moved, added or taken out is found, and so are newest rows that were cut off:
//! only the newest signature is kept, and who has no key can make no other. Whoever has the key, as root has, can make
//! another trail; against that, a place of the chain is written down elsewhere ([`Pinned`]).
//!
//! Rows are removed from the beginning alone, behind a signed anchor. Addresses stand beside the rows, which have
//! commitments to them: they are erased without a hash becoming another one.

mod appending;
mod chain;
mod check;
mod deed;
mod error;
mod policy;
mod portable;
mod reading;
mod schema;
mod seal;
mod store;
mod writer;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use tokio::sync::oneshot;

use crate::desired::AuditPolicy;
use crate::export::key::PublicKey;
use reading::Reading;
use seal::Beside;
use store::Store;
use writer::{Erasure, Writer};

pub use check::{Pinned, Verified};
pub use deed::{DOWNLOADED, Deed, Entry, Filter, Record, Who};
pub use error::AuditError;
pub use policy::read as address;
pub use schema::VERSION;
pub use seal::Place;
pub use writer::Condition;

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
    /// A file that is damaged, cut off, changed or no database is moved aside, which the log and the new trail say; one
    /// that a newer exitpool has written is refused.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let store = Store::open_or_begin_anew(path)?;
        Ok(Self { path: path.to_owned(), writer: Writer::start(path, Some(store))? })
    }

    /// The same; where it cannot be opened, the log says why, and every record tries it again.
    pub fn keep(path: &Path) -> Result<Self, AuditError> {
        let store = Store::open_or_begin_anew(path);
        let store = store.inspect_err(|error| {
            tracing::error!(error = crate::error::chain(error), "no audit trail is kept while it cannot be opened");
        });
        Ok(Self { path: path.to_owned(), writer: Writer::start(path, store.ok())? })
    }

    /// Appends what the daemon has done by itself, in the background.
    pub fn append(&self, record: Record) {
        self.append_of(record, Who::default());
    }

    /// Appends what somebody has done, or had done.
    pub fn append_of(&self, record: Record, who: Who) {
        self.writer.append(Deed { record, who });
    }

    /// Says what is kept from now on, and how long.
    pub fn follow(&self, policy: AuditPolicy) {
        self.writer.follow(policy);
    }

    /// Erases the addresses that lie in a network, or that it lies in; says of how many rows.
    ///
    /// Copies, exports and the log are not reached.
    pub async fn erase(&self, network: IpNet, who: Who, cause: String) -> Result<u64, AuditError> {
        let (reply, erased) = oneshot::channel();
        self.writer.erase(Erasure { network, who, cause, reply });
        erased.await.map_err(|_| AuditError::Stopped { source: None })?
    }

    /// The public key that signs the trail; `None` where it could not be opened yet.
    pub fn key(&self) -> Option<PublicKey> {
        self.writer.condition().key
    }

    /// How many records could not be written since the start.
    pub fn lost(&self) -> u64 {
        self.writer.condition().lost
    }

    /// How it goes.
    pub fn condition(&self) -> Condition {
        self.writer.condition()
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

    /// Checks the whole chain.
    pub async fn verify(&self) -> Result<Verified, AuditError> {
        self.flush().await?;
        self.read(|path| verify(path, &own(path))).await
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
    search(path, &Filter::newest(limit))
}

/// Lists those of them that are wanted. It blocks.
pub fn search(path: &Path, filter: &Filter) -> Result<Vec<Entry>, AuditError> {
    Reading::open(path)?.newest(filter)
}

/// Checks the whole of a trail that another process may be writing, or of one that was written out. It blocks.
pub fn verify(path: &Path, pinned: &Pinned) -> Result<Verified, AuditError> {
    let failed = |source| AuditError::Export { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let is_database = file.fill_buf().map_err(failed)?.starts_with(b"SQLite format 3\0");
    if is_database { Reading::open(path)?.verify(pinned) } else { portable::verify(file, path, pinned) }
}

/// What this host knows of its own trail: its key, and where it ended last.
pub fn own(path: &Path) -> Pinned {
    let beside = Beside::of(path);
    let places = beside.head().map(|head| Place { row: head.row, hash: head.hash });
    Pinned { key: beside.public(), places: places.into_iter().collect() }
}

/// The newest signature of a trail as the file beside it has it, for a copy of that trail; and the place that it is of.
pub fn head(path: &Path) -> Result<(Vec<u8>, Place, String), AuditError> {
    let head = Reading::open(path)?.seals()?.head.ok_or(AuditError::Unsigned)?;
    let failed = |error: serde_json::Error| AuditError::Export { path: path.to_owned(), source: error.into() };
    let bytes = serde_json::to_vec(&head).map_err(failed)?;
    Ok((bytes, Place { row: head.row, hash: head.hash }, head.key))
}

/// Writes a trail out as text that [`verify`] reads; says how many rows it has. `named` is what errors call it. It blocks.
pub fn export(path: &Path, to: &mut impl Write, named: &Path) -> Result<u64, AuditError> {
    portable::write(&Reading::open(path)?, to, named)
}

/// The key that a trail is signed with: the host's own where its file can be read, else the one that the trail names.
pub fn public_key(path: &Path) -> Result<Option<PublicKey>, AuditError> {
    if let Some(own) = Beside::of(path).public() {
        return Ok(Some(own));
    }
    Ok(Reading::open(path)?.seals()?.head.and_then(|head| head.key.parse().ok()))
}

#[cfg(test)]
mod tests;
