//! A branch of a local repository as a source: its revision is its newest commit.
//!
//! The file is read out of the commit's tree. The work tree is never looked at: what is not committed is not desired.

use std::path::{Component, Path, PathBuf};

use git2::{BranchType, Commit, ErrorCode, FileMode, ObjectType, Oid, Reference, Repository};

use super::{Candidate, MAX_BYTES, SourceError, SourceSpec};
use crate::desired::Revision;

/// Describes a file in a repository; the repository may not exist yet.
pub fn spec(repository: &Path, branch: &str, path: &str) -> Result<SourceSpec, SourceError> {
    if !Reference::is_valid_name(&ref_name(branch)) || branch.starts_with("refs/") {
        return Err(SourceError::BranchName { branch: branch.to_owned() });
    }
    let path = PathBuf::from(path);
    let stays_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !stays_inside || path.as_os_str().is_empty() {
        return Err(SourceError::PathOutside { path });
    }
    if repository.exists() {
        open(repository)?;
    }
    Ok(SourceSpec::Git { repository: repository.to_owned(), branch: branch.to_owned(), path })
}

/// Reads the file out of the branch's newest commit.
pub fn candidate(repository: &Path, branch: &str, path: &Path) -> Result<Candidate, SourceError> {
    let opened = open(repository)?;
    let commit = tip(&opened, repository, branch)?;
    let within = Within { repository, branch, path, commit: commit.id() };
    let blob = within.find(&commit)?;
    let bytes = within.read(&opened, blob)?;
    let revision = Revision::of_commit(branch, &commit.id().to_string())
        .map_err(|_| SourceError::BranchName { branch: branch.to_owned() })?;
    Ok(Candidate { revision, bytes, file: path.display().to_string() })
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

fn ref_name(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

/// Opens a repository where it stands: neither the directories above it nor the environment are asked.
fn open(path: &Path) -> Result<Repository, SourceError> {
    Repository::open(path).map_err(|source| match source.code() {
        ErrorCode::Owner => SourceError::NotOwned { path: path.to_owned() },
        ErrorCode::NotFound if !path.exists() => SourceError::Missing { path: path.to_owned() },
        ErrorCode::NotFound => SourceError::NotARepository { path: path.to_owned() },
        _ => SourceError::Repository { path: path.to_owned(), source },
    })
}

fn tip<'r>(opened: &'r Repository, path: &Path, branch: &str) -> Result<Commit<'r>, SourceError> {
    let reference = opened.find_reference(&ref_name(branch)).map_err(|source| match source.code() {
        ErrorCode::NotFound => {
            SourceError::BranchMissing { path: path.to_owned(), branch: branch.to_owned(), branches: branches(opened) }
        }
        _ => SourceError::Repository { path: path.to_owned(), source },
    })?;
    reference.peel_to_commit().map_err(|source| SourceError::Repository { path: path.to_owned(), source })
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
            Some(ObjectType::Blob) if is_link => Err(self.not_a_file("a symbolic link")),
            Some(ObjectType::Blob) => Ok(entry.id()),
            Some(ObjectType::Tree) => Err(self.not_a_file("a directory")),
            _ => Err(self.not_a_file("a submodule")),
        }
    }

    fn read(&self, opened: &Repository, blob: Oid) -> Result<Vec<u8>, SourceError> {
        let size = opened.odb().and_then(|objects| objects.read_header(blob)).map_err(|source| self.broken(source))?.0;
        if size as u64 > MAX_BYTES {
            return Err(SourceError::TooLarge { path: self.path.to_owned() });
        }
        Ok(opened.find_blob(blob).map_err(|source| self.broken(source))?.content().to_owned())
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
