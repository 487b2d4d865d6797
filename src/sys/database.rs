//! SQLite files of ours: private, checked when they are opened, and moved aside where they are damaged.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

/// The files that SQLite keeps for one database.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Opens a database, which is made where it is missing, readable to its owner alone, and looks for damage. `prepare` says
/// the rest, before anything is in a new one.
///
/// What is reported as written survives a loss of power.
pub fn open<T>(
    path: &Path,
    prepare: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<(Connection, T)> {
    // What goes wrong here goes wrong again when SQLite opens it, and is told then.
    let _ = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let database = Connection::open(path)?;
    let prepared = prepare(&database)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    let verdict: String = database.pragma_query_value(None, "quick_check", |value| value.get(0))?;
    if verdict == "ok" { Ok((database, prepared)) } else { Err(damaged(verdict)) }
}

/// Whether an error means that the file's content cannot be trusted, as opposed to a full disk or a locked file.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Moves a database aside, with its companions; says where it is now.
pub fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let free = (1_u32..).map(|number| with_suffix(path, &format!(".damaged-{number}"))).find(|aside| !aside.exists());
    let aside = free.ok_or(io::ErrorKind::AlreadyExists)?;
    for suffix in SUFFIXES {
        rename_where_there(&with_suffix(path, suffix), &with_suffix(&aside, suffix))?;
    }
    Ok(aside)
}

/// Renames a file that need not be there.
pub fn rename_where_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A path with something behind its last part.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn damaged(verdict: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(verdict))
}
