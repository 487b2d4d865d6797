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

    /// The trial that can still be kept.
    pub fn current(&self) -> Option<Trial> {
        self.read().filter(|trial| trial.state == State::Pending)
    }

    /// The trial of that name, while it can still be kept.
    pub fn pending(&self, id: u64) -> Option<Trial> {
        self.current().filter(|trial| trial.id == id)
    }

    pub(super) fn write(&self, trial: &Trial) -> Result<(), TrialError> {
        let json = serde_json::to_vec(trial).map_err(io::Error::from);
        json.and_then(|json| files::write_atomically(&self.file(), &json)).map_err(failed(&self.file()))
    }

    pub(super) fn remove(&self) -> Result<(), TrialError> {
        files::remove(&self.file()).map_err(failed(&self.file()))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::desired::{Confirmation, DriverChoice};
    use crate::firewall::model::Guard;
    use crate::firewall::{Firewall, FirewallError};
    use crate::observe::{Observation, ObservedGuard};
    use crate::sys::clock::since_boot;
    use crate::trial::fuse::take_back;
    use crate::trial::probes::Probes;

    /// A firewall that refuses the first few times.
    #[derive(Default)]
    struct Refusing {
        times: usize,
        asked: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl Firewall for Refusing {
        fn name(&self) -> &'static str {
            "nftables"
        }

        async fn observe(&self, _wanted: &Guard) -> Observation<ObservedGuard> {
            Observation::Absent
        }

        async fn apply(&self, _guard: &Guard) -> Result<(), FirewallError> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            let refused = FirewallError::Refused { tool: "nft", stderr: "no".to_owned() };
            if asked < self.times { Err(refused) } else { Ok(()) }
        }

        async fn remove(&self) -> Result<(), FirewallError> {
            Ok(())
        }

        async fn changed(&self) {
            std::future::pending().await
        }
    }

    fn trial(id: u64) -> Trial {
        Trial {
            id,
            until_ms: u64::try_from((since_boot() + Duration::from_secs(60)).as_millis()).unwrap(),
            driver: DriverChoice::Nftables,
            guard: Guard::default(),
            fallback: Guard::default(),
            confirm: Confirmation::Auto,
            probes: Probes::default(),
            state: State::Pending,
        }
    }

    fn place() -> (Place, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        (Place::of(directory.path()), directory)
    }

    #[tokio::test]
    async fn keeping_and_taking_back_exclude_each_other() {
        let (place, _directory) = place();
        place.write(&trial(1)).unwrap();
        assert!(!place.keep(2).unwrap(), "another one");
        let held = place.lock().unwrap();
        assert!(matches!(place.keep(1), Err(TrialError::Busy)));
        drop(held);
        assert!(place.keep(1).unwrap() && place.read().is_none());
        let firewall = Refusing::default();
        take_back(&place, 1, &firewall).await.unwrap();
        assert_eq!(firewall.asked.load(Ordering::Relaxed), 0, "it was kept");

        place.write(&trial(3)).unwrap();
        take_back(&place, 3, &firewall).await.unwrap();
        assert_eq!(place.read().unwrap().state, State::TakenBack);
        assert!(!place.keep(3).unwrap(), "too late");
    }

    #[tokio::test(start_paused = true)]
    async fn taking_back_is_tried_again_and_a_failure_is_written_down() {
        let (place, _directory) = place();
        for (times, state) in [(4, State::TakenBack), (5, State::Failed("nft refused: no".to_owned()))] {
            place.write(&trial(1)).unwrap();
            take_back(&place, 1, &Refusing { times, ..Refusing::default() }).await.unwrap();
            assert_eq!(place.read().unwrap().state, state, "{times}");
        }
    }

    /// The time that is left is that of the clock since the boot: what the wall clock says is nowhere written.
    #[tokio::test]
    async fn the_time_runs_on_the_clock_that_nobody_sets() {
        let left = trial(1).left();
        assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30), "{left:?}");
        assert!(Trial { until_ms: 0, ..trial(1) }.left().is_zero());
        let json = serde_json::to_value(trial(1)).unwrap();
        let until = Duration::from_millis(json["until_ms"].as_u64().unwrap());
        assert!(until > since_boot() && until < since_boot() + Duration::from_secs(61));
    }

    #[tokio::test]
    async fn a_fuse_that_has_died_is_told_from_one_that_burns() {
        let (place, _directory) = place();
        assert!(!place.burns(1));
        let burning = place.burn(1).unwrap();
        assert!(place.burns(1) && !place.burns(2));
        drop(burning);
        assert!(!place.burns(1));
        place.clear().await.unwrap();
        assert_eq!(fs::read_dir(&place.directory).unwrap().count(), 1, "its lock alone is left");
    }
}
