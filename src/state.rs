//! The state directory: what stands in it, which version each part has, and who works with it.
//!
//! | part | its version | what it is worth |
//! |---|---|---|
//! | `state.json` | [`VERSION`] | says which version of this program's layout all parts have that say none by themselves |
//! | `audit.sqlite`, `audit.head`, `audit.key` | [`audit::VERSION`] | what was done; nothing reads it to decide |
//! | `alerts.sqlite` | [`outbox::VERSION`] | incidents that fire, and messages that no channel has taken |
//! | `ratchet.json` | [`ratchet::VERSION`] | which commit was accepted last: nothing behind it is taken |
//! | `accepted.yaml`, `history/` | the layout's | the revision in force, and those that can be gone back to |
//! | `orders.json`, `rotations.json` | the layout's | what operators have said; when nodes rotate and which still have to, and which exits they leave alone |
//! | `lockouts.json` | [`LOCKOUTS_VERSION`] | who guessed too often, what was taken of quotas, which codes were taken |
//! | `efforts.json` | the layout's | how often tors were restarted, and what fails; good until the next boot of this host |
//! | `instances/*/state` | tor's | the guard relays of each tor: losing them costs anonymity |
//! | `applied.json` | the layout's | what each object of this host was left as; good on this host alone |
//! | `backup.json` | [`note`]'s | when a backup was made last |
//! | `source.git`, `instances/*/cached-*` | git's, tor's | what is fetched anew where it is missing |
//!
//! # Guarantees
//!
//! - A part of a later version than this program knows is named before anything is written, and stays as it is.
//! - A restore that was interrupted is finished, or undone, before anything is read.
//! - Nobody replaces a directory that somebody works with.

pub mod note;
pub mod replace;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::alert::outbox;
use crate::audit;
use crate::error::{Classify, Kind, chain};
use crate::source::ratchet;
use crate::sys::{database, files};

/// The file that says which version the layout has.
pub const STAMP: &str = "state.json";
/// The version of the layout. A directory without a stamp has version 1, which was written without one at first.
pub const VERSION: u32 = 1;
/// The audit trail.
pub const TRAIL: &str = "audit.sqlite";
/// The key that signs it.
pub const TRAIL_KEY: &str = "audit.key";
/// Its newest signature, once more.
pub const TRAIL_HEAD: &str = "audit.head";
/// The outbox of alerts.
pub const OUTBOX: &str = "alerts.sqlite";
/// Who is locked out, what was taken of quotas, and which codes were taken.
pub const LOCKOUTS: &str = "lockouts.json";
/// The version of that.
pub const LOCKOUTS_VERSION: u32 = 1;
/// The directory of the tors' DataDirectories.
pub const INSTANCES: &str = "instances";
/// The clone of a remote source.
pub const CLONE: &str = "source.git";

/// What the stamp says.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    version: u32,
    /// The program that has written it.
    exitpool: String,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A later program has written a part of it.
    #[error(
        "{} has version {found}, and this exitpool ({}) knows {known}: run the exitpool that has written it{by}, \
         or restore a backup of before with this one (docs/upgrading.md); nothing was changed",
        path.display(), env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The part.
        path: PathBuf,
        /// The version that it has.
        found: i64,
        /// The newest one that is known here.
        known: i64,
        /// Who has written it, ` (0.2.0)`; empty where that is not known.
        by: String,
    },
    /// Somebody works with it.
    #[error("somebody works with the state directory {}: stop the daemon, and whatever else uses it", .0.display())]
    InUse(PathBuf),
    /// It is being replaced.
    #[error("the state directory {} is being replaced by a restore: wait until that has ended", .0.display())]
    Replaced(PathBuf),
    /// A restore that was interrupted can be neither finished nor undone.
    #[error("cannot finish the interrupted restore in {}: check its owner and free space, and try again", path.display())]
    Unfinished {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("cannot use the state directory {}: check its owner, or name another --state-dir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Classify for StateError {
    fn kind(&self) -> Kind {
        Kind::Host
    }
}

/// What somebody does with a state directory while it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Works with it, beside others.
    Shared,
    /// Replaces it: nobody else works with it.
    Alone,
}

/// A state directory that nobody replaces, or that nobody else uses, until this is dropped or its process ends.
#[derive(Debug)]
pub struct Hold {
    _directory: File,
}

impl Hold {
    /// Takes a directory that is there; a restore that was interrupted in it is finished or undone.
    pub fn take(state_dir: &Path, how: Use) -> Result<Self, StateError> {
        let failed = |source| StateError::Directory { path: state_dir.to_owned(), source };
        let directory = File::open(state_dir).map_err(failed)?;
        if !directory.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let lock = |operation, refused: fn(PathBuf) -> StateError| match flock(&directory, operation) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(refused(state_dir.to_owned())),
            Err(error) => Err(failed(error.into())),
        };
        if how == Use::Alone || replace::is_interrupted(state_dir) {
            lock(FlockOperation::NonBlockingLockExclusive, StateError::InUse)?;
            let unfinished = |source| StateError::Unfinished { path: state_dir.to_owned(), source };
            replace::finish(state_dir).map_err(unfinished)?;
        }
        if how == Use::Shared {
            lock(FlockOperation::NonBlockingLockShared, StateError::Replaced)?;
        }
        Ok(Self { _directory: directory })
    }
}

/// Takes a state directory to work with: made where it is missing, and refused where a later program has written it.
///
/// One that cannot be made or opened is nobody's; whoever writes in it says why it cannot.
pub fn admit(state_dir: &Path) -> Result<Option<Hold>, StateError> {
    let _ = files::make_private_directory(state_dir);
    let hold = match Hold::take(state_dir, Use::Shared) {
        Ok(hold) => hold,
        Err(error @ StateError::Directory { .. }) => {
            tracing::error!(error = chain(&error), "nothing can be kept over a restart");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    refuse_newer(state_dir)?;
    carry_over(state_dir);
    Ok(Some(hold))
}

/// Refuses a directory of which a part has a later version than is known here.
pub fn refuse_newer(state_dir: &Path) -> Result<(), StateError> {
    let stamp = stamp(state_dir);
    let by = stamp.as_ref().map(|stamp| format!(" ({})", stamp.exitpool)).unwrap_or_default();
    let json = |name| version_in(&state_dir.join(name)).map(i64::from);
    let parts = [
        (STAMP, stamp.map(|stamp| i64::from(stamp.version)), i64::from(VERSION)),
        (TRAIL, database::version(&state_dir.join(TRAIL)), audit::VERSION),
        (OUTBOX, database::version(&state_dir.join(OUTBOX)), outbox::VERSION),
        (ratchet::FILE, json(ratchet::FILE), i64::from(ratchet::VERSION)),
        (LOCKOUTS, json(LOCKOUTS), i64::from(LOCKOUTS_VERSION)),
    ];
    for (name, found, known) in parts {
        if let Some(found) = found.filter(|found| *found > known) {
            return Err(StateError::Newer { path: state_dir.join(name), found, known, by });
        }
    }
    Ok(())
}

/// Brings an older directory to this version's layout, and says so in its stamp. The databases are carried over by those
/// who open them.
fn carry_over(state_dir: &Path) {
    let ours = Stamp { version: VERSION, exitpool: env!("CARGO_PKG_VERSION").to_owned() };
    if stamp(state_dir).is_some_and(|found| found.version == ours.version && found.exitpool == ours.exitpool) {
        return;
    }
    let json = serde_json::to_vec(&ours).map_err(io::Error::from);
    if let Err(error) = json.and_then(|json| files::write_atomically(&state_dir.join(STAMP), &json)) {
        tracing::warn!(%error, "the state directory does not say which version it has");
    }
}

fn stamp(state_dir: &Path) -> Option<Stamp> {
    serde_json::from_slice(&std::fs::read(state_dir.join(STAMP)).ok()?).ok()
}

/// The `version` that a document says.
fn version_in(path: &Path) -> Option<u32> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    serde_json::from_slice::<Versioned>(&std::fs::read(path).ok()?).ok().map(|document| document.version)
}

#[cfg(test)]
mod tests;
