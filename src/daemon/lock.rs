//! One reconciler for one runtime directory: a lock that the kernel gives back when its holder dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::sys::files;

/// The lock's file in the runtime directory.
const FILE: &str = "lock";

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody holds it.
    #[error("another exitpool already reconciles {0}: stop it, or use another --runtime-dir")]
    Held(PathBuf),
    /// The runtime directory cannot be used.
    #[error("cannot use the runtime directory {path}: check its owner, or use another --runtime-dir")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The right to reconcile what lives in a runtime directory.
#[derive(Debug)]
pub struct RuntimeLock {
    _file: File,
}

impl RuntimeLock {
    /// Takes the lock, without waiting.
    pub fn take(runtime_dir: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Directory { path: runtime_dir.to_owned(), source };
        files::make_private_directory(runtime_dir).map_err(failed)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(runtime_dir.join(FILE))
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held(runtime_dir.to_owned())),
            Err(error) => Err(failed(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let held = RuntimeLock::take(directory.path()).unwrap();
        assert!(matches!(RuntimeLock::take(directory.path()), Err(LockError::Held(_))));
        drop(held);
        RuntimeLock::take(directory.path()).unwrap();
    }
}
