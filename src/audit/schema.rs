//! The layout of the database, and how an older one is carried over.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, params};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::chain::{BEGINNING, Hash, Row};
use crate::desired::names::hex;

/// The version of the layout, in `PRAGMA user_version`; a database that was just made has 0.
pub const VERSION: i64 = 2;

/// Rows are added at the end, and removed from the beginning behind a signed anchor; none is changed.
const LAYOUT: &str = "
    CREATE TABLE record (
        row      INTEGER PRIMARY KEY,
        at       TEXT NOT NULL,
        revision TEXT,
        object   TEXT NOT NULL,
        action   TEXT NOT NULL,
        cause    TEXT NOT NULL,
        result   TEXT NOT NULL,
        signers  TEXT,
        uid      INTEGER,
        token    TEXT,
        address  TEXT,
        erased   TEXT,
        hash     BLOB NOT NULL
    ) STRICT;
    CREATE TABLE opening (
        row     INTEGER PRIMARY KEY,
        salt    TEXT NOT NULL,
        address TEXT NOT NULL
    ) STRICT;
    CREATE TABLE seal (
        about     TEXT PRIMARY KEY CHECK (about IN ('head', 'anchor')),
        row       INTEGER NOT NULL,
        hash      TEXT NOT NULL,
        at        TEXT NOT NULL,
        key       TEXT NOT NULL,
        signature TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER record_is_not_changed BEFORE UPDATE ON record
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
    CREATE TRIGGER record_is_not_deleted BEFORE DELETE ON record
        WHEN OLD.row > coalesce((SELECT row FROM seal WHERE about = 'anchor'), 0)
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
    CREATE TRIGGER opening_is_not_changed BEFORE UPDATE ON opening
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
";

/// Which layout a database has.
pub fn version(database: &Connection) -> rusqlite::Result<i64> {
    database.pragma_query_value(None, "user_version", |value| value.get(0))
}

/// Makes the tables of a new database.
pub fn make(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(LAYOUT)?;
    transaction.pragma_update(None, "user_version", VERSION)
}

/// A row of version 1, in the order that its hash was made over.
#[derive(Debug, Serialize)]
struct OldRow {
    row: i64,
    at: String,
    revision: Option<String>,
    object: String,
    action: String,
    cause: String,
    result: String,
}

/// What a database of version 1 says.
#[derive(Debug)]
pub struct Old {
    /// Its rows, which have no hash yet.
    pub rows: Vec<Carried>,
    /// The hash of its last row, in hexadecimal digits.
    pub hash: String,
}

/// A row of version 1 as this version has it.
#[derive(Debug)]
pub struct Carried {
    /// The row, without its commitment.
    pub row: Row,
    /// The address that stood in its text.
    pub address: Option<String>,
}

/// Takes the rows of a database of version 1 out of it; `Err` names the first row that was changed there.
pub fn take_old(transaction: &Transaction<'_>) -> rusqlite::Result<Result<Old, i64>> {
    let mut query = transaction
        .prepare("SELECT row, at, revision, object, action, cause, result, hash FROM record ORDER BY row")?;
    let mut found = query.query([])?;
    let (mut rows, mut previous) = (Vec::new(), BEGINNING);
    while let Some(columns) = found.next()? {
        let expected = i64::try_from(rows.len()).unwrap_or(i64::MAX).saturating_add(1);
        match read_old(columns)
            .ok()
            .filter(|(row, hash)| row.row == expected && old_link(&previous, row) == Some(*hash))
        {
            Some((row, hash)) => {
                rows.push(carry(row));
                previous = hash;
            }
            None => return Ok(Err(expected)),
        }
    }
    drop(found);
    drop(query);
    transaction.execute_batch("DROP TABLE record")?;
    Ok(Ok(Old { rows, hash: hex(&previous) }))
}

fn read_old(columns: &rusqlite::Row<'_>) -> rusqlite::Result<(OldRow, Hash)> {
    let row = OldRow {
        row: columns.get(0)?,
        at: columns.get(1)?,
        revision: columns.get(2)?,
        object: columns.get(3)?,
        action: columns.get(4)?,
        cause: columns.get(5)?,
        result: columns.get(6)?,
    };
    Ok((row, columns.get(7)?))
}

fn old_link(previous: &Hash, row: &OldRow) -> Option<Hash> {
    let mut digest = Sha256::new();
    digest.update(previous);
    digest.update(serde_json::to_vec(row).ok()?);
    Some(digest.finalize().into())
}

/// Version 1 had the token and the address of a download in the text of its cause.
fn carry(old: OldRow) -> Carried {
    let OldRow { row, at, revision, object, action, cause, result } = old;
    let used = cause.strip_prefix("token ").and_then(|rest| rest.split_once(" from "));
    let (token, address) = match used {
        Some((token, address)) => (Some(token.to_owned()), Some(address.to_owned())),
        None => (None, None),
    };
    let cause = if token.is_some() { super::DOWNLOADED.to_owned() } else { cause };
    let (signers, uid, erased) = (None, None, None);
    let row = Row { row, at, revision, object, action, cause, result, signers, uid, token, address: None, erased };
    Carried { row, address }
}

/// Puts a row into its table.
pub fn insert(transaction: &Transaction<'_>, row: &Row, hash: &Hash) -> rusqlite::Result<()> {
    let Row { row, at, revision, object, action, cause, result, signers, uid, token, address, erased } = row;
    let mut insert =
        transaction.prepare_cached("INSERT INTO record VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)")?;
    insert.execute(params![
        row, at, revision, object, action, cause, result, signers, uid, token, address, erased, hash
    ])?;
    Ok(())
}

/// Reads a row as it was put in.
pub fn read(columns: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        row: columns.get("row")?,
        at: columns.get("at")?,
        revision: columns.get("revision")?,
        object: columns.get("object")?,
        action: columns.get("action")?,
        cause: columns.get("cause")?,
        result: columns.get("result")?,
        signers: columns.get("signers")?,
        uid: columns.get("uid")?,
        token: columns.get("token")?,
        address: columns.get("address")?,
        erased: columns.get("erased")?,
    })
}

/// Removes the openings of rows.
pub fn erase(transaction: &Transaction<'_>, rows: &BTreeSet<i64>) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare("DELETE FROM opening WHERE row = ?1")?;
    rows.iter().try_for_each(|row| delete.execute([row]).map(drop))
}
