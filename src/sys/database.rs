//! SQLite files of ours: private, checked when they are opened, and moved aside where they are damaged.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::files;

/// How a file of SQLite begins (<https://www.sqlite.org/fileformat2.html>, 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";
/// How long its header is, and where in it `user_version` stands.
const HEADER_BYTES: usize = 100;
const VERSION_AT: usize = 60;
/// How long a copy waits for a database that is locked, and how long between two tries.
const COPY_PATIENCE: Duration = Duration::from_secs(20);
const COPY_PAUSE: Duration = Duration::from_millis(50);

/// The files that SQLite keeps for one database.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Opens a database, which is made where it is missing, readable to its owner alone, and looks for damage. `prepare` says
/// the rest, before anything is in a new one, and which version the database has.
///
/// One of a later version than `known` is handed over as it is: what this SQLite makes of it is no damage.
///
/// What is reported as written survives a loss of power.
pub fn open(
    path: &Path,
    known: i64,
    prepare: impl FnOnce(&Connection) -> rusqlite::Result<i64>,
) -> rusqlite::Result<(Connection, i64)> {
    // What goes wrong here goes wrong again when SQLite opens it, and is told then.
    let _ = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let database = Connection::open(path)?;
    let found = prepare(&database)?;
    if found > known {
        return Ok((database, found));
    }
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    let verdict: String = database.pragma_query_value(None, "quick_check", |value| value.get(0))?;
    if verdict == "ok" { Ok((database, found)) } else { Err(damaged(verdict)) }
}

/// Which version a database has, in `PRAGMA user_version`; `None` where there is none, or nothing can tell.
///
/// It is read from the file first: a later SQLite may have written what this one cannot open.
pub fn version(path: &Path) -> Option<i64> {
    let mut head = [0; HEADER_BYTES];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    let written = i64::from(u32::from_be_bytes(head[VERSION_AT..VERSION_AT + 4].try_into().ok()?));
    let written = head.starts_with(MAGIC).then_some(written)?;
    if !with_suffix(path, "-wal").exists() {
        return Some(written);
    }
    // What was written last may stand in the log beside it.
    let logged = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|database| database.pragma_query_value(None, "user_version", |value| value.get::<_, i64>(0)));
    Some(logged.map_or(written, |logged| logged.max(written)))
}

/// Copies a database as it is at one moment into a new file, while others may write it; the copy needs no file beside it.
pub fn copy(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(COPY_PATIENCE)?;
    let _ = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(to);
    let mut copy = Connection::open(to)?;
    // Whoever copies writes the whole file to the disk.
    copy.pragma_update(None, "synchronous", "OFF")?;
    // Nobody else has it open, so it needs no memory that is shared with others.
    copy.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    let late = Instant::now() + COPY_PATIENCE;
    {
        let running = Backup::new(&source, &mut copy)?;
        // All pages in one go: a step that ends is begun anew by the next writer.
        while running.step(-1)? != StepResult::Done {
            if Instant::now() >= late {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, Some("it is locked".to_owned())));
            }
            std::thread::sleep(COPY_PAUSE);
        }
    }
    copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
}

/// Looks at every page of a database that nobody else has open.
pub fn check(path: &Path) -> rusqlite::Result<()> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let verdict: String = database.pragma_query_value(None, "integrity_check", |value| value.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(damaged(verdict)) }
}

/// Whether an error means that the file's content cannot be trusted, as opposed to a full disk or a locked file.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether an error means that a disk has no room, or cannot be written.
pub fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
}

/// Moves a database aside, with its companions; says where it is now.
pub fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = files::aside(path)?;
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
