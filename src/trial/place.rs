//! Where a trial is written down: one file in the runtime directory, replaced at once, and two locks beside it.
//!
//! The kernel gives a lock back when its holder dies, so a fuse that has died is told from one that burns.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::files;

use super::{State, Trial, TrialError};

/// How long somebody waits who has to have the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// The directory of trials.
#[derive(Debug, Clone)]
pub struct Place {
    directory: PathBuf,
}

/// A lock that is held as long as this lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the kernel unlocks it when it is closed")] File);

impl Place {
    /// The trials of a runtime directory.
    pub fn of(runtime_dir: &Path) -> Self {
        Self { directory: runtime_dir.join("trial") }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("trial.json")
    }

    fn fuse(&self, id: u64) -> PathBuf {
        self.directory.join(format!("fuse-{id}"))
    }

    /// The runtime directory.
    pub(super) fn runtime_dir(&self) -> &Path {
        self.directory.parent().unwrap_or(&self.directory)
    }

    /// The trial that is written down.
    pub fn read(&self) -> Option<Trial> {
        serde_json::from_slice(&fs::read(self.file()).ok()?).ok()
    }

    /// The trial of that name, while it can still be kept.
    pub fn pending(&self, id: u64) -> Option<Trial> {
        self.read().filter(|trial| trial.id == id && trial.state == State::Pending)
    }

    pub(super) fn write(&self, trial: &Trial) -> Result<(), TrialError> {
        let json = serde_json::to_vec(trial).map_err(io::Error::from);
        json.and_then(|json| files::write_atomically(&self.file(), &json)).map_err(failed(&self.file()))
    }

    pub(super) fn remove(&self) -> Result<(), TrialError> {
        match fs::remove_file(self.file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&self.file())(error)),
            _ => Ok(()),
        }
    }

    /// Keeps a change, unless it is too late; says whether it was in time.
    pub fn keep(&self, id: u64) -> Result<bool, TrialError> {
        let _lock = self.lock()?;
        let Some(trial) = self.pending(id) else { return Ok(false) };
        self.remove()?;
        tracing::info!(probes = trial.probes.count(), confirm = ?trial.confirm, "the change of the firewall is kept");
        Ok(true)
    }

    /// Forgets a trial that has ended, or that nothing is to become of any more.
    pub async fn clear(&self) -> Result<(), TrialError> {
        let _lock = self.lock_at_last().await?;
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("fuse-") {
                let _ = fs::remove_file(entry.path());
            }
        }
        self.remove()
    }

    /// Takes the lock under which a trial is begun, kept and taken back.
    pub fn lock(&self) -> Result<Lock, TrialError> {
        self.try_lock(&self.directory.join("lock"))
    }

    /// The same, for somebody who cannot do without.
    pub(super) async fn lock_at_last(&self) -> Result<Lock, TrialError> {
        let started = tokio::time::Instant::now();
        loop {
            match self.lock() {
                Err(TrialError::Busy) if started.elapsed() < LOCK_PATIENCE => tokio::time::sleep(LOCK_RETRY).await,
                other => return other,
            }
        }
    }

    /// Marks a fuse as burning.
    pub(super) fn burn(&self, id: u64) -> Result<Lock, TrialError> {
        self.try_lock(&self.fuse(id))
    }

    /// Whether the fuse of a trial burns.
    pub fn burns(&self, id: u64) -> bool {
        matches!(self.try_lock(&self.fuse(id)), Err(TrialError::Busy))
    }

    fn try_lock(&self, path: &Path) -> Result<Lock, TrialError> {
        files::make_private_directory(&self.directory).map_err(failed(&self.directory))?;
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        let file = opened.map_err(failed(path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(fs::TryLockError::WouldBlock) => Err(TrialError::Busy),
            Err(fs::TryLockError::Error(error)) => Err(failed(path)(error)),
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> TrialError {
    let path = path.to_owned();
    move |source| TrialError::File { path, source }
}
