//! The database file: one table of rows, which can be added and not changed.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::chain::{BEGINNING, Hash, Row, link};
use super::{AuditError, Entry, Record};
use crate::desired::Revision;
use crate::desired::names::hex;

/// The version of the table's layout, in `PRAGMA user_version`; a database that was just made has 0.
const VERSION: i64 = 1;

/// What makes each version out of the one before it.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE record (
        row      INTEGER PRIMARY KEY,
        at       TEXT NOT NULL,
        revision TEXT,
        object   TEXT NOT NULL,
        action   TEXT NOT NULL,
        cause    TEXT NOT NULL,
        result   TEXT NOT NULL,
        hash     BLOB NOT NULL
    ) STRICT;
    CREATE TRIGGER record_is_not_changed BEFORE UPDATE ON record
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
    CREATE TRIGGER record_is_not_deleted BEFORE DELETE ON record
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
"];

/// The files that SQLite keeps for one database.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// An open trail.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Connection,
}

/// Makes the file when it is missing, readable to its owner alone; SQLite gives its companions the same mode.
///
/// What goes wrong here goes wrong again when SQLite opens it, and is told then.
fn make_private(path: &Path) {
    let _ = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
}

impl Store {
    /// Opens the trail for writing; a damaged file is moved aside, and a new one begun.
    pub fn open_or_begin_anew(path: &Path) -> Result<Self, AuditError> {
        match Self::open(path) {
            Err(AuditError::Database { source, .. }) if is_damage(&source) => {
                let aside = move_aside(path).map_err(|source| AuditError::Aside { path: path.to_owned(), source })?;
                let (path_shown, aside) = (path.display(), aside.display());
                tracing::error!(error = %source, "the audit trail {path_shown} is damaged: it is now {aside}, and a new one begins");
                Self::open(path)
            }
            other => other,
        }
    }

    fn open(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Database { path: path.to_owned(), source };
        make_private(path);
        let mut database = Connection::open(path).map_err(failed)?;
        let found = prepare(&database).map_err(failed)?;
        if found > VERSION {
            return Err(AuditError::Newer { path: path.to_owned(), found, known: VERSION });
        }
        migrate(&mut database, found).map_err(failed)?;
        Ok(Self { path: path.to_owned(), database })
    }

    /// Opens the trail for reading, beside a process that writes.
    pub fn read_only(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Database { path: path.to_owned(), source };
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
        let found = version(&database).map_err(failed)?;
        if found > VERSION {
            return Err(AuditError::Newer { path: path.to_owned(), found, known: VERSION });
        }
        Ok(Self { path: path.to_owned(), database })
    }

    /// Appends records in one transaction: all of them or none.
    pub fn append(&mut self, records: &[Record]) -> Result<(), AuditError> {
        // Immediate: what is read, the newest hash, is what is written after.
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate);
        let appended = transaction.and_then(|transaction| {
            append(&transaction, records)?;
            transaction.commit()
        });
        appended.map_err(|source| self.failed(source))
    }

    /// The newest entries, the newest first.
    pub fn newest(&self, limit: usize) -> Result<Vec<Entry>, AuditError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = || -> rusqlite::Result<Vec<Entry>> {
            let mut query = self.database.prepare(&format!("{SELECT} ORDER BY row DESC LIMIT ?1"))?;
            query
                .query_map([limit], |columns| entry(&read_row(columns)?, &columns.get::<_, Vec<u8>>("hash")?))?
                .collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// Walks through the chain from its beginning, and counts the rows.
    pub fn verify(&self) -> Result<u64, AuditError> {
        let walk = || -> rusqlite::Result<Result<u64, u64>> {
            let mut query = self.database.prepare(&format!("{SELECT} ORDER BY row"))?;
            let mut rows = query.query([])?;
            let (mut count, mut previous) = (0, BEGINNING);
            while let Some(columns) = rows.next()? {
                match next_link(columns, count + 1, &previous) {
                    Some(hash) => (count, previous) = (count + 1, hash),
                    None => return Ok(Err(count + 1)),
                }
            }
            Ok(Ok(count))
        };
        walk().map_err(|source| self.failed(source))?.map_err(|row| AuditError::Broken { row })
    }

    fn failed(&self, source: rusqlite::Error) -> AuditError {
        AuditError::Database { path: self.path.clone(), source }
    }
}

/// Whether an error means that the file's content cannot be trusted, as opposed to a full disk or a locked file.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

const SELECT: &str = "SELECT row, at, revision, object, action, cause, result, hash FROM record";

fn version(database: &Connection) -> rusqlite::Result<i64> {
    database.pragma_query_value(None, "user_version", |value| value.get(0))
}

/// Sets the connection up, looks for damage, and says which version the file has.
fn prepare(database: &Connection) -> rusqlite::Result<i64> {
    let found = version(database)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    // A record that was reported as written survives a loss of power.
    database.pragma_update(None, "synchronous", "FULL")?;
    let verdict: String = database.pragma_query_value(None, "quick_check", |value| value.get(0))?;
    if verdict == "ok" { Ok(found) } else { Err(damaged(verdict)) }
}

fn damaged(verdict: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(verdict))
}

fn migrate(database: &mut Connection, found: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(found).unwrap_or(0);
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip(done) {
        let transaction = database.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

fn append(transaction: &Transaction<'_>, records: &[Record]) -> rusqlite::Result<()> {
    let newest = transaction
        .query_row("SELECT row, hash FROM record ORDER BY row DESC LIMIT 1", [], |columns| {
            Ok((columns.get::<_, i64>(0)?, columns.get::<_, Hash>(1)?))
        })
        .optional()?;
    let (mut row, mut hash) = newest.unwrap_or((0, BEGINNING));
    let mut insert = transaction.prepare("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for record in records {
        row += 1;
        let written = written(row, record);
        hash = link(&hash, &written).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let Row { row, at, revision, object, action, cause, result } = written;
        insert.execute(params![row, at, revision, object, action, cause, result, hash])?;
    }
    Ok(())
}

fn written(row: i64, record: &Record) -> Row {
    Row {
        row,
        at: record.at.to_string(),
        revision: record.revision.as_ref().map(ToString::to_string),
        object: record.object.clone(),
        action: record.action.clone(),
        cause: record.cause.clone(),
        result: record.result.clone(),
    }
}

fn read_row(columns: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        row: columns.get("row")?,
        at: columns.get("at")?,
        revision: columns.get("revision")?,
        object: columns.get("object")?,
        action: columns.get("action")?,
        cause: columns.get("cause")?,
        result: columns.get("result")?,
    })
}

/// The hash of a row, when it is the one that was expected and carries that hash.
fn next_link(columns: &rusqlite::Row<'_>, expected: u64, previous: &Hash) -> Option<Hash> {
    let row = read_row(columns).ok()?;
    let stored: Hash = columns.get("hash").ok()?;
    let hash = link(previous, &row).ok()?;
    (u64::try_from(row.row) == Ok(expected) && hash == stored).then_some(hash)
}

fn entry(row: &Row, hash: &[u8]) -> rusqlite::Result<Entry> {
    let text = |column: usize, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    let at: Timestamp = row.at.parse().map_err(|error: jiff::Error| text(1, error.into()))?;
    let revision = row.revision.as_ref().map(|revision| revision.parse::<Revision>()).transpose();
    Ok(Entry {
        row: u64::try_from(row.row).unwrap_or(0),
        record: Record {
            at,
            revision: revision.map_err(|error| text(2, error.into()))?,
            object: row.object.clone(),
            action: row.action.clone(),
            cause: row.cause.clone(),
            result: row.result.clone(),
        },
        hash: hex(hash),
    })
}

/// Renames the files of a database to the first free `….damaged-N`.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = (1_u32..).map(|number| with_suffix(path, &format!(".damaged-{number}"))).find(|aside| !aside.exists());
    let aside = aside.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
    for suffix in SUFFIXES {
        match fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
