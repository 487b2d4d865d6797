//! A branch of a local repository as a source: its revision is its newest commit.
//!
//! The file is read out of the commit's tree. The work tree is never looked at: what is not committed is not desired.

use std::path::{Component, Path, PathBuf};

use git2::{BranchType, Commit, ErrorCode, FileMode, ObjectType, Oid, Reference, Repository};

use super::verify::Verdict;
use super::{Candidate, MAX_BYTES, SourceError, SourceSpec};
use crate::desired::Revision;
use crate::desired::lists::{self, ListProblem, Lists, MAX_LIST_BYTES};
use crate::desired::values::ListPath;

/// Describes a file in a repository; the repository may not exist yet.
pub fn spec(repository: &Path, branch: &str, path: &str) -> Result<SourceSpec, SourceError> {
    let path = checked(branch, path)?;
    if repository.exists() {
        open(repository)?;
    }
    Ok(SourceSpec::Git { repository: repository.to_owned(), branch: branch.to_owned(), path })
}

/// Checks the name of a branch, and a path within a repository.
pub fn checked(branch: &str, path: &str) -> Result<PathBuf, SourceError> {
    if !Reference::is_valid_name(&ref_name(branch)) || branch.starts_with("refs/") {
        return Err(SourceError::BranchName { branch: branch.to_owned() });
    }
    let path = PathBuf::from(path);
    let stays_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !stays_inside || path.as_os_str().is_empty() {
        return Err(SourceError::PathOutside { path });
    }
    Ok(path)
}

/// A file in the newest commit of a branch.
#[derive(Debug, Clone, Copy)]
pub struct Tip<'a> {
    /// The repository.
    pub repository: &'a Path,
    /// The branch's name, for people and for the revision.
    pub branch: &'a str,
    /// The reference that holds the branch, where it is not the branch's own.
    pub reference: Option<&'a str>,
    /// The file's path within the repository.
    pub path: &'a Path,
}

impl Tip<'_> {
    /// Reads the file out of the newest commit, if `believed` says that the commit may be believed.
    pub fn candidate(
        self,
        believed: impl FnOnce(&Repository, Oid) -> Result<Option<Verdict>, SourceError>,
    ) -> Result<Candidate, SourceError> {
        let Self { repository, branch, path, .. } = self;
        let opened = open(repository)?;
        let commit = self.commit(&opened)?;
        let verdict = believed(&opened, commit.id())?;
        let within = Within { repository, branch, path, commit: commit.id() };
        let blob = within.find(&commit)?;
        let bytes = within.read(&opened, blob)?;
        let lists = within.lists(&opened, &commit, lists::named(&bytes))?;
        let revision = revision(branch, commit.id())?;
        Ok(Candidate { revision, bytes, lists, file: path.display().to_string(), verdict })
    }

    /// The newest commit as a revision.
    pub fn revision(self) -> Result<Revision, SourceError> {
        let opened = open(self.repository)?;
        revision(self.branch, self.newest(&opened)?)
    }

    /// The newest commit.
    pub fn newest(self, opened: &Repository) -> Result<Oid, SourceError> {
        Ok(self.commit(opened)?.id())
    }

    fn commit<'r>(&self, opened: &'r Repository) -> Result<Commit<'r>, SourceError> {
        let Self { repository: path, branch, .. } = *self;
        let name = self.reference.map_or_else(|| ref_name(branch), str::to_owned);
        let reference = opened.find_reference(&name).map_err(|source| match source.code() {
            ErrorCode::NotFound => SourceError::BranchMissing {
                path: path.to_owned(),
                branch: branch.to_owned(),
                branches: branches(opened),
            },
            _ => SourceError::Repository { path: path.to_owned(), source },
        })?;
        reference.peel_to_commit().map_err(|source| SourceError::Repository { path: path.to_owned(), source })
    }
}

/// Whether a repository has a reference, readable or not.
pub fn has_reference(repository: &Path, reference: &str) -> bool {
    let found = Repository::open_bare(repository).and_then(|opened| opened.find_reference(reference).map(drop));
    found.map_or_else(|error| error.code() != ErrorCode::NotFound, |()| true)
}

/// Whether every commit of a reference, and the file in its newest one, can be read, where they are there at all.
pub fn is_readable(repository: &Path, reference: &str, path: &Path) -> bool {
    let tip = Tip { repository, branch: reference, reference: Some(reference), path };
    let walk = |opened: &Repository, tip: Oid| -> Result<(), git2::Error> {
        let mut walk = opened.revwalk()?;
        walk.push(tip)?;
        walk.try_for_each(|commit| opened.find_commit(commit?).map(drop))
    };
    let broken = |source| SourceError::Repository { path: repository.to_owned(), source };
    match tip.candidate(|opened, commit| walk(opened, commit).map(|()| None).map_err(broken)) {
        Err(SourceError::Repository { .. } | SourceError::NotARepository { .. } | SourceError::Missing { .. }) => false,
        Ok(_) | Err(_) => true,
    }
}

/// The paths whose changes may move the branch. A repository that is not there yet may become one of two kinds.
pub fn watched(repository: &Path, branch: &str) -> Vec<PathBuf> {
    let of =
        |own: &Path, common: &Path| vec![own.join("HEAD"), common.join("packed-refs"), common.join(ref_name(branch))];
    let within = repository.join(".git");
    match open(repository) {
        Ok(opened) => of(opened.path(), opened.commondir()),
        Err(_) => [of(repository, repository), of(&within, &within)].concat(),
    }
}

fn revision(branch: &str, commit: Oid) -> Result<Revision, SourceError> {
    Revision::of_commit(branch, &commit.to_string()).map_err(|_| SourceError::BranchName { branch: branch.to_owned() })
}

fn ref_name(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

/// Opens a repository where it stands: neither the directories above it nor the environment are asked.
pub fn open(path: &Path) -> Result<Repository, SourceError> {
    Repository::open(path).map_err(|source| match source.code() {
        ErrorCode::Owner => SourceError::NotOwned { path: path.to_owned() },
        ErrorCode::NotFound if !path.exists() => SourceError::Missing { path: path.to_owned() },
        ErrorCode::NotFound => SourceError::NotARepository { path: path.to_owned() },
        _ => SourceError::Repository { path: path.to_owned(), source },
    })
}

/// Lists the branches of a repository, for people.
fn branches(opened: &Repository) -> String {
    const MOST: usize = 10;
    let branches = opened.branches(Some(BranchType::Local)).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        branches.filter_map(|(branch, _)| branch.name().ok().flatten().map(|name| format!("`{name}`"))).collect();
    names.sort();
    match names.len() {
        0 => "none: nothing has been committed yet".to_owned(),
        count if count > MOST => format!("{} and {} more", names[..MOST].join(", "), count - MOST),
        _ => names.join(", "),
    }
}

const LINK: &str = "a symbolic link";
const DIRECTORY: &str = "a directory";
const SUBMODULE: &str = "a submodule";

/// A path within a commit.
struct Within<'a> {
    repository: &'a Path,
    branch: &'a str,
    path: &'a Path,
    commit: Oid,
}

impl Within<'_> {
    fn broken(&self, source: git2::Error) -> SourceError {
        SourceError::Repository { path: self.repository.to_owned(), source }
    }

    /// The id of the file's content.
    fn find(&self, commit: &Commit<'_>) -> Result<Oid, SourceError> {
        let tree = commit.tree().map_err(|source| self.broken(source))?;
        let entry = tree.get_path(self.path).map_err(|source| match source.code() {
            ErrorCode::NotFound => SourceError::PathMissing {
                path: self.path.to_owned(),
                branch: self.branch.to_owned(),
                commit: self.short(),
            },
            _ => self.broken(source),
        })?;
        let is_link = entry.filemode() == i32::from(FileMode::Link);
        match entry.kind() {
            Some(ObjectType::Blob) if is_link => Err(self.not_a_file(LINK)),
            Some(ObjectType::Blob) => Ok(entry.id()),
            Some(ObjectType::Tree) => Err(self.not_a_file(DIRECTORY)),
            _ => Err(self.not_a_file(SUBMODULE)),
        }
    }

    fn read(&self, opened: &Repository, blob: Oid) -> Result<Vec<u8>, SourceError> {
        let size = opened.odb().and_then(|objects| objects.read_header(blob)).map_err(|source| self.broken(source))?.0;
        if size as u64 > MAX_BYTES {
            return Err(SourceError::TooLarge { path: self.path.to_owned() });
        }
        Ok(opened.find_blob(blob).map_err(|source| self.broken(source))?.content().to_owned())
    }

    /// The lists of the same commit; only a repository that cannot be read is an error here.
    fn lists(&self, opened: &Repository, commit: &Commit<'_>, named: Vec<ListPath>) -> Result<Lists, SourceError> {
        let read = |list: ListPath| Ok((list.clone(), self.list(opened, commit, &list)?));
        named.into_iter().map(read).collect()
    }

    fn list(
        &self,
        opened: &Repository,
        commit: &Commit<'_>,
        list: &ListPath,
    ) -> Result<Result<Vec<u8>, ListProblem>, SourceError> {
        let path = self.path.with_file_name(list.as_path());
        let within = Within { path: &path, ..*self };
        let found = within.find(commit).and_then(|blob| within.read(opened, blob));
        Ok(match found {
            Ok(content) if content.len() > MAX_LIST_BYTES => Err(ListProblem::TooLarge),
            Ok(content) => Ok(content),
            Err(SourceError::PathMissing { .. }) => Err(ListProblem::Missing),
            Err(SourceError::TooLarge { .. }) => Err(ListProblem::TooLarge),
            Err(SourceError::NotAFileInCommit { what: LINK, .. }) => Err(ListProblem::Link),
            Err(SourceError::NotAFileInCommit { what: DIRECTORY, .. }) => Err(ListProblem::Directory),
            Err(SourceError::NotAFileInCommit { .. }) => Err(ListProblem::Submodule),
            Err(error) => return Err(error),
        })
    }

    fn not_a_file(&self, what: &'static str) -> SourceError {
        let path = self.path.to_owned();
        SourceError::NotAFileInCommit { path, branch: self.branch.to_owned(), commit: self.short(), what }
    }

    /// Twelve digits of the commit's id.
    fn short(&self) -> String {
        let mut digits = self.commit.to_string();
        digits.truncate(12);
        digits
    }
}
