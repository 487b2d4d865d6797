//! A file as a source: its revision is the digest of its content, and of the lists that it names.
//!
//! A list is looked for beside the file itself, where a link to it leads: what is swapped in by one link is read
//! together. The kernel keeps the way to a list below that directory, whatever links stand on it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::{Candidate, MAX_BYTES, SourceError};
use crate::desired::Revision;
use crate::desired::lists::{self, ListProblem, Lists, MAX_LIST_BYTES};
use crate::desired::values::ListPath;

/// Reads the file and its lists.
pub fn candidate(path: &Path) -> Result<Candidate, SourceError> {
    let bytes = read(path)?;
    let named = lists::named(&bytes);
    let lists: Lists = if named.is_empty() { Lists::default() } else { read_lists(path, named) };
    Ok(Candidate { revision: revision(&bytes, &lists), bytes, lists, file: path.display().to_string(), verdict: None })
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    let refuse = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SourceError::Missing { path: path.to_owned() },
        _ => SourceError::Unreadable { path: path.to_owned(), source },
    };
    // Opening a pipe would wait for its writer.
    if !path.metadata().map_err(refuse)?.is_file() {
        return Err(SourceError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(refuse)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(SourceError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// The paths whose changes may make another revision: the file, and its lists.
pub fn watched(path: &Path) -> Vec<PathBuf> {
    let named = read(path).map(|bytes| lists::named(&bytes)).unwrap_or_default();
    let beside = named.iter().filter_map(|list| Some(directory(path).ok()?.join(list.as_path())));
    std::iter::once(path.to_owned()).chain(beside).collect()
}

/// The directory in which the file really stands.
fn directory(path: &Path) -> io::Result<PathBuf> {
    Ok(path.canonicalize()?.parent().map_or_else(PathBuf::new, Path::to_owned))
}

fn read_lists(path: &Path, named: Vec<ListPath>) -> Lists {
    let opened = directory(path).and_then(|directory| {
        Ok(openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    });
    let read = |list: ListPath| {
        let content = match &opened {
            Ok(directory) => read_list(directory, &list),
            Err(error) => Err(ListProblem::Unreadable(error.to_string())),
        };
        (list, content)
    };
    named.into_iter().map(read).collect()
}

fn read_list(directory: &rustix::fd::OwnedFd, list: &ListPath) -> Result<Vec<u8>, ListProblem> {
    // Opening a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let unreadable = |error: io::Error| ListProblem::Unreadable(error.to_string());
    let opened = openat2(directory, list.as_path(), flags, Mode::empty(), within).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => ListProblem::Missing,
        Errno::XDEV => ListProblem::Outside,
        other => unreadable(other.into()),
    })?;
    let file = File::from(opened);
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err(ListProblem::Directory);
    }
    if !kind.is_file() {
        return Err(ListProblem::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(MAX_LIST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_LIST_BYTES { Err(ListProblem::TooLarge) } else { Ok(bytes) }
}

/// The digest of the file; with lists, of all of them, so that a change of a list is another revision.
fn revision(bytes: &[u8], lists: &Lists) -> Revision {
    if lists.is_empty() {
        return Revision::of_file(&Sha256::digest(bytes).into());
    }
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(bytes);
    for (path, content) in lists.iter() {
        add(path.to_string().as_bytes());
        match content {
            Ok(content) => add(content),
            Err(problem) => add(format!("\0{problem}").as_bytes()),
        }
    }
    Revision::of_file(&digest.finalize().into())
}
