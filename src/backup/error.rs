//! Why a backup cannot be made, read or put in place.

use std::io;
use std::path::PathBuf;

use crate::audit::AuditError;
use crate::error::{Classify, Kind};
use crate::state::StateError;

/// Why a backup cannot be made, read or put in place.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("this is no backup of exitpool: {0}")]
    Foreign(String),
    /// A later program has written it.
    #[error(
        "this backup has format {found} and is of exitpool {by}, and this exitpool knows format {known}: use the exitpool that made it, or a later one"
    )]
    Newer {
        /// Its format.
        found: u32,
        /// The newest one that is known here.
        known: u32,
        /// The program that made it.
        by: String,
    },
    /// Its end is missing.
    #[error("this backup is cut off: {0}; take another copy of it, or an earlier one")]
    Truncated(String),
    /// It is not what was written.
    #[error("this backup was changed or damaged: {0}; take another copy of it, or an earlier one")]
    Changed(String),
    /// It is encrypted, and nothing was given to open it.
    #[error(
        "this backup is encrypted: name the key that opens it with --identity, or the passphrase with --passphrase-file"
    )]
    Encrypted,
    /// What was given does not open it.
    #[error("this backup cannot be decrypted: {0}")]
    Undecryptable(String),
    /// Keys are asked for in the clear.
    #[error("a backup with keys is encrypted or not made: name --recipient, --recipients-file or --passphrase-file")]
    KeysInTheClear,
    /// A key or passphrase to encrypt or decrypt with is none.
    #[error("{0}")]
    Key(String),
    /// A part of the state is spoilt.
    #[error("{name} is damaged: {why}")]
    Damaged {
        /// The part.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A database cannot be copied or read.
    #[error("cannot copy {}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The trail in it cannot be used.
    #[error("the audit trail in it is not whole")]
    Trail(#[source] AuditError),
    /// Something cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something cannot be written.
    #[error("cannot write {}, and nothing of it is left: make room, or name another place", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no room for what is in it.
    #[error("there is no room in {}: {needed_mib} MiB are needed, and {free_mib} MiB are free", path.display())]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// What it needs.
        needed_mib: u64,
        /// What there is.
        free_mib: u64,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Something stands where it is to be restored.
    #[error("{} has a state already: say --replace to put the backup in its place; what is there is kept beside it", .0.display())]
    Occupied(PathBuf),
    /// Tors run on it.
    #[error(
        "tor still runs for {instances}, and would write its own guards over those of the backup: stop the daemon, end them (`kill $(cat /run/exitpool/instances/*/pid)`), and try again"
    )]
    TorsRun {
        /// The instances.
        instances: String,
    },
}

impl Classify for BackupError {
    fn kind(&self) -> Kind {
        Kind::Host
    }
}
