//! The clone as files: made, kept clean of leftovers, measured, thrown away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::FetchError;
use crate::sys::files;

/// Says of which remote and branch it is the clone: the digest of both, since a location can hold a password.
const MARK: &str = "exitpool-origin";
/// From so many packs on they are made one.
const MANY_PACKS: usize = 50;

/// The directory of the clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    directory: PathBuf,
    mark: String,
}

impl Storage {
    pub fn new(directory: PathBuf, origin: String) -> Self {
        use sha2::{Digest as _, Sha256};
        Self { directory, mark: crate::desired::names::hex(&Sha256::digest(origin)) }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the directory is a clone of this remote and branch.
    pub fn is_current(&self) -> bool {
        fs::read_to_string(self.directory.join(MARK)).is_ok_and(|mark| mark == self.mark)
    }

    /// Makes the clone where there is none of this remote, and takes away what a killed fetch left in it.
    pub fn prepare(&self) -> Result<(), FetchError> {
        if self.is_current() && git2::Repository::open_bare(&self.directory).is_ok() {
            return self.sweep(&self.directory).map_err(|source| self.failed(source));
        }
        self.remove()?;
        let failed = |error: git2::Error| self.failed(io::Error::other(error));
        files::make_private_directory(&self.directory).map_err(|source| self.failed(source))?;
        git2::Repository::init_bare(&self.directory).map_err(failed)?;
        // Last, so that a half-made clone is not taken for one.
        files::write_atomically(&self.directory.join(MARK), self.mark.as_bytes()).map_err(|source| self.failed(source))
    }

    /// Throws the clone away, or whatever else stands in its place.
    pub fn remove(&self) -> Result<(), FetchError> {
        let removed = match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(&self.directory),
            removed => removed,
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    /// Only one fetch runs at a time, so that every lock and every unfinished pack before it is a leftover.
    fn sweep(&self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                self.sweep(&entry.path())?;
            } else if name.ends_with(".lock") || name.starts_with("tmp_") || name.starts_with(".tmp-") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Ends when the clone is larger than it may be.
    pub async fn outgrows(&self, limit: u64, every: Duration) {
        while self.size() <= limit {
            tokio::time::sleep(every).await;
        }
    }

    /// How many bytes the clone has.
    pub fn size(&self) -> u64 {
        size(&self.directory)
    }

    pub fn has_many_packs(&self) -> bool {
        let files = fs::read_dir(self.directory.join("objects/pack")).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|extension| extension == "pack")).count() > MANY_PACKS
    }

    fn failed(&self, source: io::Error) -> FetchError {
        FetchError::Storage { directory: self.directory.clone(), source }
    }
}

/// What is removed while it is measured counts nothing.
fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        Ok(_) => entry.metadata().map_or(0, |metadata| metadata.len()),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_a_killed_fetch_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::new(directory.path().join("source.git"), "a".to_owned());
        storage.prepare().unwrap();
        let leftovers =
            ["shallow.lock", "packed-refs.lock", "index.lock", "refs/heads/x.lock", "objects/pack/tmp_pack_a"];
        for name in leftovers {
            fs::write(storage.directory().join(name), "").unwrap();
        }
        storage.prepare().unwrap();
        for name in leftovers {
            assert!(!storage.directory().join(name).exists(), "{name}");
        }
        assert!(storage.is_current());
    }

    #[test]
    fn a_clone_of_something_else_is_thrown_away() {
        let directory = tempfile::tempdir().unwrap();
        let at = |origin: &str| Storage::new(directory.path().join("source.git"), origin.to_owned());
        at("a").prepare().unwrap();
        fs::write(at("a").directory().join("file"), "12345").unwrap();
        let before = at("a").size();
        assert!(before > 5 && !at("b").is_current());
        at("b").prepare().unwrap();
        assert!(at("b").is_current() && at("b").size() < before);
    }
}
