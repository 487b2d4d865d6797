//! Where the desired state comes from: a file, or a branch of a git repository, on this host or a remote one.
//!
//! A source hands out one [`Candidate`] at a time, the bytes of its newest version and the revision that names them, and
//! beside them the lists that `desired` finds named in these bytes, of the same revision. What the bytes mean is that
//! room's business. A source is never written to.
//!
//! A remote repository is fetched into a bare clone on this host, and read from there. Where the operator names signers,
//! `verify` stands between the repository and the candidate, and the ratchet remembers how far the branch was accepted.

mod error;
mod file;
mod git;
mod location;
pub mod ratchet;
pub mod remote;
pub mod settings;
mod trail;
pub mod verify;
mod watch;

use std::path::{Path, PathBuf};

use git2::{Oid, Repository};
use jiff::Timestamp;

pub use error::SourceError;
pub use location::{Location, Scheme};
pub use watch::Watch;

use crate::desired::lists::Given;
use crate::desired::{Lists, Revision};
use ratchet::Ratchet;
use remote::{Place, Remote, Tags};
use settings::{SourceSettings, Trust};
use verify::{Policy, Signer, Signers, Verdict, VerifyError};

/// The largest file that is handed out; `desired` reads no larger one.
pub const MAX_BYTES: u64 = crate::desired::load::MAX_FILE_BYTES as u64;

/// The newest version of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The immutable id of these bytes.
    pub revision: Revision,
    /// The file's content.
    pub bytes: Vec<u8>,
    /// The lists that it names, of the same revision; one that cannot be had says why.
    pub lists: Lists,
    /// The file's name, for messages.
    pub file: String,
    /// Why it is believed; `None` where nobody asked for signatures.
    pub verdict: Option<Verdict>,
}

impl Candidate {
    /// The file with its lists.
    pub fn given(&self) -> Given<'_> {
        Given { document: &self.bytes, lists: &self.lists }
    }
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
    /// The same, in a repository on another host.
    Remote(Place),
}

impl SourceSpec {
    /// Understands `--source`, `--branch` and `--path`.
    ///
    /// A directory has to be a git repository. What does not exist yet is taken for a file, unless its name ends in
    /// `.git` or `/`: the daemon may well be started before its source is there.
    pub fn from_options(source: &str, branch: &str, path: &str) -> Result<Self, SourceError> {
        let location = source.strip_prefix("file://").unwrap_or(source);
        if let Some(location) = Location::parse(location)? {
            let path = git::checked(branch, path)?;
            return Ok(Self::Remote(Place { location, branch: branch.to_owned(), path }));
        }
        let here = Path::new(location);
        let looks_like_repository = !here.exists() && (location.ends_with('/') || location.ends_with(".git"));
        if here.is_dir() || looks_like_repository {
            return git::spec(here, branch, path);
        }
        Ok(Self::File(here.to_owned()))
    }
}

/// A source that can be asked and watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    spec: SourceSpec,
    remote: Option<Remote>,
    trust: Option<(Trust, Ratchet)>,
}

impl Source {
    /// Takes a source by its description, and believes it; a remote one is described, but cannot be read.
    pub fn new(spec: SourceSpec) -> Self {
        Self { spec, remote: None, trust: None }
    }

    /// Takes a source on an operator's conditions; nothing is opened yet.
    pub fn with(settings: SourceSettings) -> Self {
        let SourceSettings { spec, state_dir, transport, trust } = settings;
        let tags = match &trust {
            Some(trust) if trust.min_signers > 1 => Tags::Fetched,
            _ => Tags::Ignored,
        };
        let remote = match &spec {
            SourceSpec::Remote(place) => Some(Remote::new(place.clone(), tags, transport, &state_dir)),
            _ => None,
        };
        Self { spec, remote, trust: trust.map(|trust| (trust, Ratchet::of(&state_dir))) }
    }

    /// The source's description.
    pub fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    /// The remote repository, where it is one: what has to be fetched.
    pub fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// Whether revisions have to be signed.
    pub fn needs_signatures(&self) -> bool {
        self.trust.is_some()
    }

    /// Reads the newest version, of a remote source that which was fetched last. Where signers are named, it is
    /// verified. Blocks for as long as a file of at most [`MAX_BYTES`] takes.
    pub fn candidate(&self) -> Result<Candidate, SourceError> {
        match &self.spec {
            SourceSpec::File(path) if self.trust.is_some() => Err(SourceError::Unsignable { path: path.clone() }),
            SourceSpec::File(path) => file::candidate(path),
            _ => self.tip()?.candidate(|repository, commit| self.verdict(repository, commit)),
        }
    }

    /// Remembers that a candidate is accepted: from now on only what descends from it is.
    ///
    /// It has to be remembered before it is applied, or a restart could go back behind it.
    pub fn accept(&self, candidate: &Candidate) -> Result<(), SourceError> {
        match (&self.trust, &candidate.verdict) {
            (Some((_, ratchet)), Some(verdict)) => Ok(ratchet.advance(verdict)?),
            _ => Ok(()),
        }
    }

    /// Accepts a commit of the branch because an operator says so, whatever was accepted before and whoever signed it.
    pub fn accept_by_hand(&self, commit: Oid, reason: &str) -> Result<(), SourceError> {
        let Some((_, ratchet)) = &self.trust else { return Err(SourceError::NoRatchet) };
        let tip = self.tip()?;
        let repository = git::open(tip.repository)?;
        let path = || tip.repository.to_owned();
        let newest = tip.newest(&repository)?;
        if newest != commit && !repository.graph_descendant_of(newest, commit).unwrap_or(false) {
            return Err(SourceError::CommitMissing { path: path(), branch: tip.branch.to_owned(), commit });
        }
        let payload = verify::payload(&repository, commit).map_err(|error| error.of(&repository))?;
        Ok(ratchet.force(commit, payload, reason)?)
    }

    /// Who signed a commit, by today's trust; for people, before they accept it by hand.
    pub fn signer(&self, commit: Oid) -> Result<Signer, SourceError> {
        let Some((trust, _)) = &self.trust else { return Err(SourceError::NoRatchet) };
        let repository = self.repository()?;
        let signers = Signers::read(&trust.allowed_signers, Timestamp::now())?;
        verify::signer(&repository, commit, trust.policy(&signers)).map_err(|error| error.of(&repository))
    }

    /// The branch's newest commit, where the source is a repository; it need not be believed.
    pub fn offered(&self) -> Option<Revision> {
        self.tip().ok()?.revision().ok()
    }

    /// Opens the repository, for those who have to look at its history.
    pub fn repository(&self) -> Result<Repository, SourceError> {
        git::open(self.tip()?.repository)
    }

    /// Where the branch's newest commit is found.
    fn tip(&self) -> Result<git::Tip<'_>, SourceError> {
        match &self.spec {
            SourceSpec::File(path) => Err(SourceError::NotARepository { path: path.clone() }),
            SourceSpec::Git { repository, branch, path } => Ok(git::Tip { repository, branch, reference: None, path }),
            SourceSpec::Remote(Place { location, branch, path }) => {
                let location = location.to_string();
                let Some(remote) = &self.remote else { return Err(SourceError::Remote { location }) };
                let repository = remote.fetched().ok_or(SourceError::NotFetched { location })?;
                Ok(git::Tip { repository, branch, reference: Some(remote::OFFERED), path })
            }
        }
    }

    fn verdict(&self, repository: &Repository, commit: Oid) -> Result<Option<Verdict>, SourceError> {
        let Some((trust, ratchet)) = &self.trust else { return Ok(None) };
        let base = ratchet.base(trust.first_commit)?;
        let signers = Signers::read(&trust.allowed_signers, Timestamp::now())?;
        let verdict = verify::judge(repository, commit, base, trust.policy(&signers));
        verdict.map(Some).map_err(|error| error.of(repository))
    }

    /// Calls `wake` whenever the source may have another version, and once at the start, until the watch is dropped.
    ///
    /// A wake-up means 'look again' and nothing more: it carries no payload, several changes may come as one, and
    /// there may have been none. A source that does not exist yet, or vanishes and comes back, is watched as well. A
    /// caller keeps a resync timer of its own: not every file system reports its changes. A remote source is fetched
    /// instead, and cannot be watched.
    pub fn watch(&self, wake: impl Fn() + Send + 'static) -> Result<Watch, SourceError> {
        match self.spec.clone() {
            SourceSpec::File(path) => watch::start(&path.clone(), Box::new(move || file::watched(&path)), wake),
            SourceSpec::Git { repository, branch, .. } => {
                watch::start(&repository.clone(), Box::new(move || git::watched(&repository, &branch)), wake)
            }
            SourceSpec::Remote(place) => Err(SourceError::Remote { location: place.location.to_string() }),
        }
    }
}

impl Trust {
    fn policy<'a>(&self, signers: &'a Signers) -> Policy<'a> {
        Policy { signers, keys: self.keys, min_signers: self.min_signers }
    }
}

impl VerifyError {
    /// The same as an error of the source that has this repository.
    fn of(self, repository: &Repository) -> SourceError {
        match self {
            Self::Refused(refusal) => SourceError::Refused(refusal),
            Self::Repository(source) => SourceError::Repository { path: repository.path().to_owned(), source },
        }
    }
}

#[cfg(test)]
mod tests;
