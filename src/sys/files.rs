//! Files: written atomically, in directories that nobody else can enter.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// The mode of every directory of ours.
const PRIVATE_DIRECTORY: u32 = 0o700;
/// The mode of every file of ours.
const PRIVATE_FILE: u32 = 0o600;

/// Writes a file so that a reader, or a crash, sees the old content or the new one and nothing between.
///
/// The parent directories are made when they are missing, private to us; the file is private as well.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_private_directory(directory)?;
    let mut file =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(PRIVATE_FILE)).tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Makes a directory, and its parents, that only we can enter; one that is there is left as it is.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(path)
}
