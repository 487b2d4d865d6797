//! The outbox: what was decided and is not delivered yet, and the incidents that fire. A file of its own in the state
//! directory, written by [`daemon`](crate::daemon)'s alerting alone.
//!
//! - What fires and what people are to be told of it is written in one transaction: a crash forgets both or neither, and
//!   in the first case the next daemon decides again.
//! - A message stays until its channel has taken it, so it is delivered at least once; one that comes twice has the same
//!   [key](super::Notice::key).
//! - The messages of an incident reach a channel in their order. Those of another one do not wait for them.
//! - Ages count from the boot. After another boot they begin anew: nobody knows how long the host was off.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::engine::{Boot, Kept};
use super::{Happened, Notice};
use crate::error::{Classify, Kind};
use crate::sys::database;

/// The version of the tables' layout, in `PRAGMA user_version`; a database that was just made has 0.
pub const VERSION: i64 = 1;
/// Pages that are kept in memory; they are read seldom.
const CACHE_KIB: i64 = -128;
const LAYOUT: &str = "
    CREATE TABLE boot (id TEXT NOT NULL) STRICT;
    CREATE TABLE incident (kept TEXT NOT NULL) STRICT;
    CREATE TABLE message (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        channel  TEXT NOT NULL,
        incident TEXT NOT NULL,
        key      TEXT NOT NULL,
        repeats  INTEGER NOT NULL,
        notice   TEXT NOT NULL,
        born     INTEGER NOT NULL,
        due      INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        error    TEXT,
        UNIQUE (channel, key)
    ) STRICT;
    CREATE INDEX message_of_incident ON message (channel, incident, id);
";

/// A message that no channel took for so long is given up.
pub const EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// The messages that go first: none of the same incident waits before them.
const FIRST: &str = "NOT EXISTS (SELECT 1 FROM message AS before WHERE before.channel = message.channel
                     AND before.incident = message.incident AND before.id < message.id)";

/// An open outbox.
#[derive(Debug)]
pub struct Outbox {
    path: PathBuf,
    database: Connection,
}

/// What an outbox holds when it is opened.
#[derive(Debug)]
pub struct Held {
    /// The incidents that fired when it was written last.
    pub kept: Vec<Kept>,
    /// Whether the host was booted since then.
    pub boot: Boot,
}

/// A message that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its row.
    pub id: i64,
    /// Its channel.
    pub channel: String,
    /// What people are told.
    pub notice: Notice,
    /// How often it was tried.
    pub attempts: u32,
}

/// What waits for a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The channel.
    pub channel: String,
    /// How many messages.
    pub messages: u64,
    /// When the first of them is due, since the boot.
    pub due: Duration,
    /// What went wrong with the latest that was tried.
    pub error: Option<String>,
}

/// Why the outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A newer exitpool has written it.
    #[error("{} has version {found}, and this exitpool knows {VERSION}: run the newer one, or move the file away", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: i64,
    },
    /// The database refused.
    #[error("cannot use the outbox of alerts {}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

impl Classify for OutboxError {
    fn kind(&self) -> Kind {
        Kind::Host
    }
}

impl Outbox {
    /// Opens the outbox, or begins one. A file that is damaged is moved aside, which the log says.
    pub fn open(path: &Path, boot: &str, now: Duration) -> Result<(Self, Held), OutboxError> {
        match Self::open_as_it_is(path, boot, now) {
            Err(OutboxError::Database { source, .. }) if database::is_damage(&source) => {
                let aside = database::move_aside(path);
                tracing::error!(error = %source, ?aside, "the outbox of alerts is damaged: a new one begins");
                Self::open_as_it_is(path, boot, now)
            }
            other => other,
        }
    }

    fn open_as_it_is(path: &Path, boot: &str, now: Duration) -> Result<(Self, Held), OutboxError> {
        let failed = |source| OutboxError::Database { path: path.to_owned(), source };
        // A later version first: what it looks like to this one is no damage.
        if let Some(found) = database::version(path).filter(|found| *found > VERSION) {
            return Err(OutboxError::Newer { path: path.to_owned(), found });
        }
        let (mut database, found) = database::open(path, VERSION, set_up).map_err(failed)?;
        if found > VERSION {
            return Err(OutboxError::Newer { path: path.to_owned(), found });
        }
        let held = prepare(&mut database, found, boot, now).map_err(failed)?;
        Ok((Self { path: path.to_owned(), database }, held))
    }

    /// Writes what fires now, and what people are told of it: all of it or nothing.
    pub fn commit(&mut self, kept: &[Kept], messages: &[(String, Notice)], now: Duration) -> Result<(), OutboxError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM incident", [])?;
            let mut insert = transaction.prepare("INSERT INTO incident VALUES (?1)")?;
            for kept in kept {
                insert.execute([json(kept)?])?;
            }
            messages.iter().try_for_each(|(channel, notice)| post(transaction, channel, notice, now))
        })
    }

    /// The message of a channel that is to be sent next, where one is due.
    pub fn due(&mut self, channel: &str, now: Duration) -> Result<Option<Due>, OutboxError> {
        let query = format!(
            "SELECT id, notice, attempts FROM message WHERE channel = ?1 AND due <= ?2 AND {FIRST} ORDER BY id LIMIT 1"
        );
        let row = self.read(|database| {
            let columns = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?));
            database.query_row(&query, params![channel, millis(now)], columns).optional()
        })?;
        let Some((id, notice, attempts)) = row else { return Ok(None) };
        match serde_json::from_str(&notice) {
            Ok(notice) => Ok(Some(Due { id, channel: channel.to_owned(), notice, attempts })),
            Err(error) => {
                tracing::error!(%error, "a message in the outbox cannot be read, and is given up");
                self.delivered(id)?;
                Ok(None)
            }
        }
    }

    /// A channel has taken a message.
    pub fn delivered(&mut self, id: i64) -> Result<(), OutboxError> {
        self.write(|transaction| transaction.execute("DELETE FROM message WHERE id = ?1", [id]).map(drop))
    }

    /// A channel has not taken a message: it is due later.
    pub fn failed(&mut self, id: i64, why: &str, due: Duration) -> Result<(), OutboxError> {
        self.write(|transaction| {
            let update = "UPDATE message SET attempts = attempts + 1, error = ?2, due = ?3 WHERE id = ?1";
            transaction.execute(update, params![id, why, millis(due)]).map(drop)
        })
    }

    /// Gives up what is too old, and what is for a channel that is gone; says what that was.
    pub fn give_up(&mut self, channels: &[&str], now: Duration) -> Result<Vec<Due>, OutboxError> {
        let oldest = millis(now.saturating_sub(EXPIRY));
        let is_over = now >= EXPIRY;
        let rows = self.read(|database| {
            let mut query = database.prepare("SELECT id, channel, notice, attempts, born FROM message")?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?, row.get::<_, i64>(4)?))
            };
            query.query_map([], row)?.collect::<rusqlite::Result<Vec<(i64, String, String, u32, i64)>>>()
        })?;
        let mut given_up = Vec::new();
        for (id, channel, notice, attempts, born) in rows {
            let is_old = is_over && born <= oldest;
            if !is_old && channels.contains(&channel.as_str()) {
                continue;
            }
            self.delivered(id)?;
            if let Ok(notice) = serde_json::from_str(&notice) {
                given_up.push(Due { id, channel, notice, attempts });
            }
        }
        Ok(given_up)
    }

    /// What waits for each channel.
    pub fn waiting(&self) -> Result<Vec<Waiting>, OutboxError> {
        let query = format!(
            "SELECT channel, count(*), min(CASE WHEN {FIRST} THEN due END), max(error) FROM message GROUP BY channel"
        );
        self.read(|database| {
            let row = |row: &rusqlite::Row<'_>| {
                let due = row.get::<_, i64>(2)?;
                Ok(Waiting {
                    channel: row.get(0)?,
                    messages: row.get::<_, i64>(1)?.unsigned_abs(),
                    due: Duration::from_millis(due.unsigned_abs()),
                    error: row.get(3)?,
                })
            };
            database.prepare(&query)?.query_map([], row)?.collect()
        })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, OutboxError> {
        work(&self.database).map_err(|source| self.error(source))
    }

    fn write(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>) -> Result<(), OutboxError> {
        let written = self.database.transaction().and_then(|transaction| {
            work(&transaction)?;
            transaction.commit()
        });
        written.map_err(|source| self.error(source))
    }

    fn error(&self, source: rusqlite::Error) -> OutboxError {
        OutboxError::Database { path: self.path.clone(), source }
    }
}

/// Forgets the messages of an outbox that nobody has open, and keeps what fires: they are of another time.
pub fn without_messages(path: &Path) -> rusqlite::Result<()> {
    Connection::open(path)?.execute("DELETE FROM message", []).map(drop)
}

/// Sets up what only an outbox needs, and says which version the file has.
fn set_up(database: &Connection) -> rusqlite::Result<i64> {
    database.pragma_update(None, "cache_size", CACHE_KIB)?;
    database.pragma_query_value(None, "user_version", |value| value.get(0))
}

/// Makes the tables where they are missing, and takes note of the boot.
fn prepare(database: &mut Connection, found: i64, boot: &str, now: Duration) -> rusqlite::Result<Held> {
    let transaction = database.transaction()?;
    if found < VERSION {
        transaction.execute_batch(LAYOUT)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    let before: Option<String> = transaction.query_row("SELECT id FROM boot", [], |row| row.get(0)).optional()?;
    let boot_is = if before.as_deref() == Some(boot) { Boot::Same } else { Boot::Another };
    if boot_is == Boot::Another {
        transaction.execute("DELETE FROM boot", [])?;
        transaction.execute("INSERT INTO boot VALUES (?1)", [boot])?;
        transaction.execute("UPDATE message SET born = ?1, due = ?1", [millis(now)])?;
    }
    let kept = {
        let mut query = transaction.prepare("SELECT kept FROM incident")?;
        let rows = query.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        rows.iter().filter_map(|kept| serde_json::from_str(kept).ok()).collect()
    };
    transaction.commit()?;
    Ok(Held { kept, boot: boot_is })
}

/// Puts a message in. One that says again what an undelivered one says takes its place.
fn post(transaction: &Transaction<'_>, channel: &str, notice: &Notice, now: Duration) -> rusqlite::Result<()> {
    let repeats = notice.happened == Happened::Repeated;
    if repeats {
        let older = "DELETE FROM message WHERE channel = ?1 AND incident = ?2 AND repeats = 1";
        transaction.execute(older, params![channel, notice.incident])?;
    }
    let insert = "INSERT OR IGNORE INTO message (channel, incident, key, repeats, notice, born, due)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)";
    let values = params![channel, notice.incident, notice.key(), repeats, json(notice)?, millis(now)];
    transaction.execute(insert, values).map(drop)
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
