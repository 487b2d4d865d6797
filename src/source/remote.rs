//! A remote repository: the host's `git`, as a child, fetches one branch into a bare clone in the state directory.
//!
//! Whatever the remote does, a fetch ends within its deadline, keeps within its limits of memory and disk, asks nobody
//! anything, and runs nothing that the remote offers. What was fetched is only believed by `verify`. The clone is
//! disposable: one that is damaged is made anew, and what was accepted is remembered elsewhere.

mod command;
mod failure;
pub mod proxy;
mod storage;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::settings::Transport;
use super::{Location, git};
use crate::sys::command::{self as child, CommandError, Output};
use command::Invocation;
pub use failure::FetchError;
use storage::Storage;

/// The reference that holds what the remote offers.
pub(super) const OFFERED: &str = "refs/exitpool/offered";
/// The clone's name in the state directory.
const CLONE: &str = "source.git";
/// How often the clone's size is looked at during a fetch.
const MEASURE_EVERY: Duration = Duration::from_millis(250);

/// Whether tags are fetched as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// No: nobody looks at them.
    Ignored,
    /// Yes: signed ones count.
    Fetched,
}

/// Where a file in a remote repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The repository.
    pub location: Location,
    /// The branch.
    pub branch: String,
    /// The file's path within the repository.
    pub path: PathBuf,
}

/// A file in a branch of a remote repository, and the branch's clone on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    location: Location,
    branch: String,
    path: PathBuf,
    tags: Tags,
    transport: Transport,
    storage: Storage,
}

impl Remote {
    /// Describes a remote; nothing is opened yet.
    pub fn new(place: Place, tags: Tags, transport: Transport, state_dir: &Path) -> Self {
        let Place { location, branch, path } = place;
        let storage = Storage::new(state_dir.join(CLONE), format!("{}\n{branch}\n", location.secret()));
        Self { location, branch, path, tags, transport, storage }
    }

    /// The clone's directory, where something of this remote and branch was fetched into it.
    pub fn fetched(&self) -> Option<&Path> {
        let directory = self.storage.directory();
        (self.storage.is_current() && git::has_reference(directory, OFFERED)).then_some(directory)
    }

    /// How often it is fetched.
    pub fn poll_every(&self) -> Duration {
        self.transport.poll_every
    }

    /// Fetches what the branch is now. A damaged clone is made anew, within the same deadline.
    pub async fn fetch(&self) -> Result<(), FetchError> {
        let end = Instant::now() + self.transport.timeout;
        let fetched = self.attempt(end).await;
        if fetched.as_ref().is_err_and(FetchError::is_about_storage) || self.is_intact().await {
            return fetched;
        }
        tracing::warn!(clone = %self.storage.directory().display(), "the clone is damaged; fetching it anew");
        self.storage.remove()?;
        self.attempt(end).await
    }

    async fn attempt(&self, end: Instant) -> Result<(), FetchError> {
        self.storage.prepare()?;
        let arguments = self.fetch_arguments();
        let output = tokio::select! {
            output = self.git(&arguments, end) => output?,
            () = self.storage.outgrows(self.transport.max_bytes, MEASURE_EVERY) => return self.too_large(),
        };
        if self.storage.size() > self.transport.max_bytes {
            return self.too_large();
        }
        if !output.status.success() {
            return Err(self.failure(&output, end).await);
        }
        self.tidy(end).await;
        Ok(())
    }

    fn fetch_arguments(&self) -> Vec<String> {
        let options = [
            "fetch",
            "--quiet",
            "--force",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            "--no-show-forced-updates",
            "--refmap=",
            command::REMOTE,
        ];
        let branch = format!("+refs/heads/{}:{OFFERED}", self.branch);
        let tags = (self.tags == Tags::Fetched).then(|| "+refs/tags/*:refs/tags/*".to_owned());
        options.into_iter().map(str::to_owned).chain([branch]).chain(tags).collect()
    }

    /// Runs git in the clone, until `end` at the latest.
    async fn git(&self, arguments: &[String], end: Instant) -> Result<Output, FetchError> {
        let deadline = end.saturating_duration_since(Instant::now());
        let invocation = Invocation {
            location: &self.location,
            transport: &self.transport,
            directory: self.storage.directory(),
            deadline,
        };
        child::run_group(invocation.command(arguments)?, deadline).await.map_err(|error| match error {
            CommandError::Deadline { .. } => {
                FetchError::Deadline { location: self.location.clone(), deadline: self.transport.timeout }
            }
            source => FetchError::Command { location: self.location.clone(), source },
        })
    }

    /// Packs the clone when it has come to many packs. Where that fails, the next fetch tries again.
    async fn tidy(&self, end: Instant) {
        if self.storage.has_many_packs() {
            let arguments = ["repack", "-a", "-d", "--quiet"].map(str::to_owned);
            if let Err(error) = self.git(&arguments, end).await {
                tracing::debug!(%error, "the clone could not be packed");
            }
        }
    }

    fn too_large(&self) -> Result<(), FetchError> {
        self.storage.remove()?;
        Err(FetchError::TooLarge { location: self.location.clone(), limit: self.transport.max_bytes })
    }

    async fn failure(&self, output: &Output, end: Instant) -> FetchError {
        if failure::is_about_host_key(&output.stderr) {
            let left = end.saturating_duration_since(Instant::now());
            let expected = self.pinned_keys(left).await;
            let offered = failure::offered_key(&output.stderr);
            return FetchError::HostKey { location: self.location.clone(), offered, expected };
        }
        if output.status.code().is_none() && failure::was_too_large(output.status) {
            return FetchError::TooLarge { location: self.location.clone(), limit: self.transport.max_bytes };
        }
        FetchError::told(&self.location, &self.branch, self.transport.max_bytes, &output.stderr)
    }

    /// The fingerprints that are pinned for the host, for people.
    async fn pinned_keys(&self, deadline: Duration) -> Vec<String> {
        let Some(file) = &self.transport.known_hosts else { return Vec::new() };
        let known_host = self.location.known_host();
        let file = file.display().to_string();
        let listed = child::run("ssh-keygen", &["-l", "-F", &known_host, "-f", &file], b"", deadline).await;
        listed.map(|output| failure::fingerprints(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
    }

    /// Whether everything that is needed of the branch can be read, where there is anything.
    async fn is_intact(&self) -> bool {
        let (directory, path) = (self.storage.directory().to_owned(), self.path.clone());
        let read = tokio::task::spawn_blocking(move || git::is_readable(&directory, OFFERED, &path)).await;
        self.storage.is_current() && read.unwrap_or(false)
    }
}
