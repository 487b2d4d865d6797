//! Files: written atomically, in directories that nobody else can enter.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// The mode of every directory of ours.
const PRIVATE_DIRECTORY: u32 = 0o700;
/// The mode of every file of ours.
const PRIVATE_FILE: u32 = 0o600;

/// Writes a file so that a reader, or a crash, sees the old content or the new one and nothing between.
///
/// The parent directories are made when they are missing, private to us; the file is private as well. It belongs to
/// whoever the directory belongs to: what root writes for a daemon, the daemon has to read.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_private_directory(directory)?;
    let mut file =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(PRIVATE_FILE)).tempfile_in(directory)?;
    let (owner, ours) = (fs::metadata(directory)?, file.as_file().metadata()?);
    if ours.uid() == 0 && owner.uid() != 0 {
        fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Replaces the content of a file that is somebody else's, at once: mode and owner stay.
///
/// A link is not followed: name the file that it leads to.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let before = fs::metadata(path)?;
    let mut file = tempfile::Builder::new().tempfile_in(directory)?;
    file.write_all(bytes)?;
    if fchown(file.as_file(), Some(before.uid()), Some(before.gid())).is_err() {
        // Only root may give a file away: it becomes that of whoever edits it, as with an editor.
        tracing::debug!(path = %path.display(), "the file's owner is not kept");
    }
    file.as_file().set_permissions(before.permissions())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Makes a file that is not there yet, with a mode; one that is there is an error and stays as it is.
pub fn make_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes a file; one that is gone already is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Moves a file aside that cannot be understood: `<name>.damaged-1`, or the next number that is free. Says where it is now.
pub fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = aside(path)?;
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// The first name that is free for a damaged file to be put aside.
pub fn aside(path: &Path) -> io::Result<PathBuf> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        PathBuf::from(name)
    };
    (1..).map(numbered).find(|aside| !aside.exists()).ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

/// Makes a directory, and its parents, that only we can enter; one that is there is left as it is.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(path)
}

/// Makes a directory, and its parents, that others may enter as the process says (`umask`); one that is there stays.
pub fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pool.yaml");
        assert_eq!(replace(&path, b"new").unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o664);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_root_writes_belongs_to_the_directorys_owner() {
        const NOBODY: u32 = 65_534;
        let directory = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).is_err() {
            println!("skipped: only root gives a directory away");
            return;
        }
        let path = directory.path().join("file");
        write_atomically(&path, b"x").unwrap();
        let written = fs::metadata(&path).unwrap();
        assert_eq!((written.uid(), written.gid(), written.mode() & 0o777), (NOBODY, NOBODY, PRIVATE_FILE));
    }
}
