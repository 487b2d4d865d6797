//! Where the desired state comes from: a file, or a branch of a git repository on this host.
//!
//! A source hands out one [`Candidate`] at a time, the bytes of its newest version and the revision that names them. It
//! neither knows nor cares what the bytes mean: that is `desired`'s business. It never writes.
//!
//! A remote repository comes in front of this: its transport fetches into a bare repository on this host, and its
//! commits' signatures and ancestry are checked between that fetch and the candidate. Neither exists yet.

mod error;
mod file;
mod git;
mod trail;
mod watch;

use std::path::{Path, PathBuf};

pub use error::SourceError;
pub use watch::Watch;

use crate::desired::Revision;

/// The largest file that is handed out; `desired` reads no larger one.
pub const MAX_BYTES: u64 = crate::desired::load::MAX_FILE_BYTES as u64;

/// The newest version of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The immutable id of these bytes.
    pub revision: Revision,
    /// The file's content.
    pub bytes: Vec<u8>,
    /// The file's name, for messages.
    pub file: String,
}

/// Which source, as an operator says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSpec {
    /// A file on this host.
    File(PathBuf),
    /// A file in the newest commit of a branch.
    Git {
        /// The repository on this host, bare or not; its work tree is never read.
        repository: PathBuf,
        /// The branch's name, without `refs/heads/`.
        branch: String,
        /// The file's path within the repository.
        path: PathBuf,
    },
}

impl SourceSpec {
    /// Understands `--source`, `--branch` and `--path`.
    ///
    /// A directory has to be a git repository. What does not exist yet is taken for a file, unless its name ends in
    /// `.git` or `/`: the daemon may well be started before its source is there.
    pub fn from_options(source: &str, branch: &str, path: &str) -> Result<Self, SourceError> {
        let location = source.strip_prefix("file://").unwrap_or(source);
        if is_remote(location) {
            return Err(SourceError::Remote { location: without_user(location) });
        }
        let here = Path::new(location);
        let looks_like_repository = !here.exists() && (location.ends_with('/') || location.ends_with(".git"));
        if here.is_dir() || looks_like_repository {
            return git::spec(here, branch, path);
        }
        Ok(Self::File(here.to_owned()))
    }
}

/// Whether a location is a URL, or `host:path` as git's ssh takes it.
fn is_remote(location: &str) -> bool {
    let is_host_and_path = || {
        let host = location.split_once(':').map(|(host, _)| host);
        host.is_some_and(|host| !host.is_empty() && !host.contains('/'))
    };
    location.contains("://") || (is_host_and_path() && !Path::new(location).exists())
}

/// A location without the user and password in it.
fn without_user(location: &str) -> String {
    let (scheme, rest) = location.split_once("://").map_or(("", location), |(scheme, rest)| (scheme, rest));
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let host_start = rest[..authority_end].rfind('@').map_or(0, |at| at + 1);
    if scheme.is_empty() { rest[host_start..].to_owned() } else { format!("{scheme}://{}", &rest[host_start..]) }
}

/// A source that can be asked and watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    spec: SourceSpec,
}

impl Source {
    /// Takes a source by its description; nothing is opened yet.
    pub fn new(spec: SourceSpec) -> Self {
        Self { spec }
    }

    /// The source's description.
    pub fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    /// Reads the newest version. Blocks for as long as a file of at most [`MAX_BYTES`] takes.
    pub fn candidate(&self) -> Result<Candidate, SourceError> {
        match &self.spec {
            SourceSpec::File(path) => file::candidate(path),
            SourceSpec::Git { repository, branch, path } => git::candidate(repository, branch, path),
        }
    }

    /// Calls `wake` whenever the source may have another version, and once at the start, until the watch is dropped.
    ///
    /// A wake-up means 'look again' and nothing more: it carries no payload, several changes may come as one, and
    /// there may have been none. A source that does not exist yet, or vanishes and comes back, is watched as well. A
    /// caller keeps a resync timer of its own: not every file system reports its changes.
    pub fn watch(&self, wake: impl Fn() + Send + 'static) -> Result<Watch, SourceError> {
        match self.spec.clone() {
            SourceSpec::File(path) => watch::start(&path.clone(), Box::new(move || vec![path.clone()]), wake),
            SourceSpec::Git { repository, branch, .. } => {
                watch::start(&repository.clone(), Box::new(move || git::watched(&repository, &branch)), wake)
            }
        }
    }
}

#[cfg(test)]
mod tests;
