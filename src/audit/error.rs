//! Why the trail cannot be used, or is not what was written.

use std::path::PathBuf;

use crate::error::{Classify, Kind};
use crate::sys::database;

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
    /// An older exitpool has written it.
    #[error("{} has version {found}: the daemon carries it over when it starts, so start it, or read it with the exitpool that wrote it", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: i64,
    },
    /// It is neither a trail nor one that was written out.
    #[error("{} is no audit trail: name a database of exitpool, or what `exitpool audit export` has written", path.display())]
    NoTrail {
        /// The file.
        path: PathBuf,
    },
    /// A row is not what was written, or is gone.
    #[error("the audit trail is broken at row {row}: it was changed, or rows before it are gone")]
    Broken {
        /// The first such row.
        row: u64,
    },
    /// Its newest rows are gone.
    #[error("the audit trail ends at row {last}, and row {signed} was signed: its newest rows are gone")]
    Cut {
        /// Its newest row.
        last: u64,
        /// The row that it should have.
        signed: u64,
    },
    /// Somebody without the key has added rows.
    #[error("row {row} of the audit trail stands behind the one that was signed last: the daemon has not written it")]
    Beyond {
        /// The first such row.
        row: u64,
    },
    /// An address is gone, and no row says that it was erased.
    #[error("the address of row {row} of the audit trail is gone, and no row says that it was erased")]
    Unopened {
        /// The row.
        row: u64,
    },
    /// An address belongs to no row.
    #[error("the audit trail has an address that belongs to none of its rows")]
    Stray,
    /// Nothing is signed.
    #[error("the audit trail is not signed: its signature is gone")]
    Unsigned,
    /// A signature is none.
    #[error("a signature of the audit trail is not good: it was changed")]
    BadSignature,
    /// Another key has signed it.
    #[error("the audit trail is signed by {found}, and not by {wanted}")]
    OtherKey {
        /// The key that has.
        found: String,
        /// The key that should have.
        wanted: String,
    },
    /// The key could not be read or made.
    #[error("cannot use the audit trail's key {}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It could not be read as a file, or written out.
    #[error("cannot read or write {}", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
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

impl AuditError {
    /// Whether it means that the file's content cannot be trusted, as opposed to a full disk or a locked file.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Broken { .. }
            | Self::Cut { .. }
            | Self::Beyond { .. }
            | Self::Unopened { .. }
            | Self::Stray
            | Self::Unsigned
            | Self::BadSignature
            | Self::OtherKey { .. } => true,
            Self::Database { source, .. } => database::is_damage(source),
            _ => false,
        }
    }
}
