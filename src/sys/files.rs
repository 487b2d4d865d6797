//! Files: written atomically, in directories that nobody else can enter.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

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

/// Makes a directory, and its parents, that only we can enter; one that is there is left as it is.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

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
