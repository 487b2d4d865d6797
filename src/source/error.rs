//! Why a source has no candidate: what, where, and what to do.

use std::path::PathBuf;

use super::MAX_BYTES;
use super::ratchet::RatchetError;
use super::verify::{Refusal, SignersError};
use crate::error::{Classify, Kind};

/// Why a source could not be understood, read or watched.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The source is on another host, and only the daemon has a clone of it.
    #[error("the source `{location}` is remote; clone it, and give the clone's path or its file")]
    Remote {
        /// Where, without user and password.
        location: String,
    },
    /// The source is reached in a way that is not allowed, or in none.
    #[error("`{location}` is not a source; give https://, ssh://, git://, `user@host:path`, or a path on this host")]
    Scheme {
        /// Where, without user and password.
        location: String,
    },
    /// The remote has not been fetched yet.
    #[error("`{location}` has not been fetched yet")]
    NotFetched {
        /// Where, without user and password.
        location: String,
    },
    /// The revision is not believed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Who may sign is not known.
    #[error(transparent)]
    Signers(#[from] SignersError),
    /// What was accepted last is not known, or cannot be remembered.
    #[error(transparent)]
    Ratchet(#[from] RatchetError),
    /// Signatures are asked of something that cannot have any.
    #[error("the source `{}` is a file, and a file has no signed commits; give a git repository, or leave `--allowed-signers` out", path.display())]
    Unsignable {
        /// The file.
        path: PathBuf,
    },
    /// Nobody asked for signatures, so nothing is remembered of what was accepted.
    #[error(
        "no commit is refused here, because no signatures are asked for; give `--allowed-signers` as the daemon has it"
    )]
    NoRatchet,
    /// The branch does not have a commit.
    #[error("branch `{branch}` of `{}` does not have commit {commit}; check the id, and `exitpool reconcile` first", path.display())]
    CommitMissing {
        /// The repository.
        path: PathBuf,
        /// The branch.
        branch: String,
        /// The commit.
        commit: git2::Oid,
    },
    /// The branch's name is none.
    #[error("`{branch}` is not the name of a branch; give it without `refs/heads/`, as in `main`")]
    BranchName {
        /// What was said.
        branch: String,
    },
    /// The path within the repository leads out of it.
    #[error("`{}` is not a path within a repository; give it from the repository's root, as in `hosts/a/pool.yaml`", path.display())]
    PathOutside {
        /// What was said.
        path: PathBuf,
    },
    /// The directory is no repository.
    #[error("the source `{}` is a directory, and not a git repository; give a file, or a repository", path.display())]
    NotARepository {
        /// The directory.
        path: PathBuf,
    },
    /// The file does not exist.
    #[error("the source `{}` does not exist; create it, or check the path", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Something other than a file stands there.
    #[error("the source `{}` is not a file; give a regular file, or a git repository", path.display())]
    NotAFile {
        /// What it is.
        path: PathBuf,
    },
    /// The operating system refused to read it.
    #[error("the source `{}` cannot be read; check who may read it, and every directory above it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is far too large to be a desired state.
    #[error("the source `{}` has more than {MAX_BYTES} bytes; check that it is the right file", path.display())]
    TooLarge {
        /// The file, or its path within the repository.
        path: PathBuf,
    },
    /// The repository belongs to somebody else, and git does not trust it.
    #[error(
        "the repository `{path}` belongs to another user; run as its owner, \
         or say `git config --system --add safe.directory {path}`",
        path = path.display()
    )]
    NotOwned {
        /// The repository.
        path: PathBuf,
    },
    /// The repository does not have the branch.
    #[error("the repository `{}` has no branch `{branch}`; it has {branches}", path.display())]
    BranchMissing {
        /// The repository.
        path: PathBuf,
        /// The branch.
        branch: String,
        /// The branches it has, for people.
        branches: String,
    },
    /// The newest commit does not have the file.
    #[error("commit {commit} of branch `{branch}` has no file `{}`; add it, or check `--path`", path.display())]
    PathMissing {
        /// The path within the repository.
        path: PathBuf,
        /// The branch.
        branch: String,
        /// The commit.
        commit: String,
    },
    /// The path leads to something other than a file.
    #[error("`{}` in commit {commit} of branch `{branch}` is {what}; a plain file is needed", path.display())]
    NotAFileInCommit {
        /// The path within the repository.
        path: PathBuf,
        /// The branch.
        branch: String,
        /// The commit.
        commit: String,
        /// What it is.
        what: &'static str,
    },
    /// git could not read the repository.
    #[error("the repository `{}` cannot be read; run `git fsck` in it", path.display())]
    Repository {
        /// The repository.
        path: PathBuf,
        /// Why.
        source: git2::Error,
    },
    /// The operating system does not watch it.
    #[error(
        "changes of the source `{}` cannot be watched; raise `fs.inotify.max_user_watches` and \
         `fs.inotify.max_user_instances`, or check who may read the directories above it",
        path.display()
    )]
    Watch {
        /// The file, or the repository.
        path: PathBuf,
        /// Why.
        source: notify::Error,
    },
}

impl Classify for SourceError {
    fn kind(&self) -> Kind {
        match self {
            Self::Remote { .. }
            | Self::Scheme { .. }
            | Self::BranchName { .. }
            | Self::PathOutside { .. }
            | Self::NotARepository { .. }
            | Self::NoRatchet
            | Self::CommitMissing { .. }
            | Self::Unsignable { .. } => Kind::Usage,
            _ => Kind::Source,
        }
    }
}
