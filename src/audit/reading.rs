//! Reading a trail, beside a process that may be writing it: what it says, and whether it is whole.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::chain::{BEGINNING, Hash, Opening, Row};
use super::check::{Link, Pinned, Seals, Verified, Walk};
use super::schema::{self, VERSION};
use super::seal::{About, Seal, unhex};
use super::{AuditError, Entry, Filter, Record};
use crate::desired::Revision;
use crate::desired::names::hex;

/// Rows with the addresses beside them.
const SELECT: &str =
    "SELECT record.*, opening.salt, opening.address AS opened FROM record LEFT JOIN opening USING (row)";

/// A trail that is open for reading.
#[derive(Debug)]
pub struct Reading<D = Connection> {
    path: PathBuf,
    database: D,
}

#[cfg(test)]
impl Reading<&Connection> {
    /// Reads through a connection, with what it has not committed.
    pub fn over<T>(database: &Connection, work: impl FnOnce(Reading<&Connection>) -> T) -> T {
        work(Reading { path: PathBuf::new(), database })
    }
}

impl Reading {
    /// Opens a trail as it is now: rows that are written meanwhile are not seen.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Database { path: path.to_owned(), source };
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
        // One picture for all that is read.
        database.execute_batch("BEGIN").map_err(failed)?;
        match schema::version(&database).map_err(failed)? {
            VERSION => Ok(Self { path: path.to_owned(), database }),
            found if found > VERSION => Err(AuditError::Newer { path: path.to_owned(), found, known: VERSION }),
            found => Err(AuditError::Older { path: path.to_owned(), found }),
        }
    }
}

impl<D: Borrow<Connection>> Reading<D> {
    /// The newest entries that a filter lets through, the newest first.
    pub fn newest(&self, filter: &Filter) -> Result<Vec<Entry>, AuditError> {
        let read = || -> rusqlite::Result<Vec<Entry>> {
            let mut query = self.database.borrow().prepare(&format!("{SELECT} ORDER BY row DESC"))?;
            let mut rows = query.query([])?;
            let mut entries = Vec::new();
            while entries.len() < filter.limit
                && let Some(columns) = rows.next()?
            {
                let entry = entry(link(columns)?)?;
                if filter.since.is_some_and(|since| entry.record.at < since) {
                    break;
                }
                if filter.lets_through(&entry.record) {
                    entries.push(entry);
                }
            }
            Ok(entries)
        };
        read().map_err(|source| self.failed(source))
    }

    /// Walks through the chain from its beginning.
    pub fn verify(&self, pinned: &Pinned) -> Result<Verified, AuditError> {
        let seals = self.seals()?;
        let mut walk = Walk::begin(&seals, pinned)?;
        self.each(|link| walk.step(link))?;
        let verified = walk.end()?;
        if self.openings_without_a_row().map_err(|source| self.failed(source))? {
            return Err(AuditError::Stray);
        }
        Ok(verified)
    }

    /// Hands every row over, from the first to the newest; `None` stands for one that cannot be read.
    pub fn each(&self, mut work: impl FnMut(Option<&Link>) -> Result<(), AuditError>) -> Result<(), AuditError> {
        let failed = |source| self.failed(source);
        let mut query = self.database.borrow().prepare(&format!("{SELECT} ORDER BY row")).map_err(failed)?;
        let mut rows = query.query([]).map_err(failed)?;
        while let Some(columns) = rows.next().map_err(failed)? {
            work(link(columns).ok().as_ref())?;
        }
        Ok(())
    }

    /// What is signed of it.
    pub fn seals(&self) -> Result<Seals, AuditError> {
        seals(self.database.borrow()).map_err(|source| self.failed(source))
    }

    fn openings_without_a_row(&self) -> rusqlite::Result<bool> {
        let query = "SELECT EXISTS (SELECT 1 FROM opening WHERE row NOT IN (SELECT row FROM record))";
        self.database.borrow().query_row(query, [], |columns| columns.get(0))
    }

    fn failed(&self, source: rusqlite::Error) -> AuditError {
        AuditError::Database { path: self.path.clone(), source }
    }
}

/// The newest row and its hash; where all rows were removed, the last of those.
pub fn newest(database: &Connection) -> rusqlite::Result<(i64, Hash)> {
    let query = "SELECT row, hash FROM record ORDER BY row DESC LIMIT 1";
    let newest = database.query_row(query, [], |columns| Ok((columns.get(0)?, columns.get(1)?))).optional()?;
    if let Some(newest) = newest {
        return Ok(newest);
    }
    let anchor = seals(database)?.anchor;
    let place = anchor.and_then(|anchor| Some((anchor.row, Hash::try_from(unhex(&anchor.hash)?).ok()?)));
    Ok(place.unwrap_or((0, BEGINNING)))
}

/// What is signed of a trail.
pub fn seals(database: &Connection) -> rusqlite::Result<Seals> {
    let mut query = database.prepare("SELECT about, row, hash, at, key, signature FROM seal")?;
    let seal = |columns: &rusqlite::Row<'_>| {
        let [hash, at, key, signature] = ["hash", "at", "key", "signature"].map(|name| columns.get::<_, String>(name));
        let seal = Seal { row: columns.get("row")?, hash: hash?, at: at?, key: key?, signature: signature? };
        Ok((columns.get::<_, String>("about")?, seal))
    };
    let mut found = query.query_map([], seal)?.collect::<rusqlite::Result<BTreeMap<String, Seal>>>()?;
    Ok(Seals { anchor: found.remove(About::Anchor.word()), head: found.remove(About::Head.word()) })
}

/// Puts a seal in the place of the one before.
pub fn put_seal(database: &Connection, about: About, seal: &Seal) -> rusqlite::Result<()> {
    let Seal { row, hash, at, key, signature } = seal;
    let replace = "INSERT OR REPLACE INTO seal VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    database.prepare_cached(replace)?.execute(params![about.word(), row, hash, at, key, signature]).map(drop)
}

fn link(columns: &rusqlite::Row<'_>) -> rusqlite::Result<Link> {
    let opened: Option<String> = columns.get("opened")?;
    let salt: Option<String> = columns.get("salt")?;
    let opening = opened.zip(salt).map(|(address, salt)| Opening { salt, address });
    Ok(Link { row: schema::read(columns)?, hash: columns.get("hash")?, opening })
}

fn entry(Link { row, hash, opening }: Link) -> rusqlite::Result<Entry> {
    let text = |error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error)
    };
    let Row { row, at, revision, object, action, cause, result, signers, uid, token, address, erased: _ } = row;
    let at: Timestamp = at.parse().map_err(|error: jiff::Error| text(error.into()))?;
    let revision = revision.map(|revision| revision.parse::<Revision>()).transpose();
    let revision = revision.map_err(|error| text(error.into()))?;
    Ok(Entry {
        row: row.unsigned_abs(),
        record: Record { at, revision, object, action, cause, result },
        signers: signers.map(|signers| signers.split(", ").map(str::to_owned).collect()).unwrap_or_default(),
        uid,
        token,
        address_erased: address.is_some() && opening.is_none(),
        address: opening.map(|opening| opening.address),
        hash: hex(&hash),
    })
}
