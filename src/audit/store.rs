//! The database file: rows, the addresses beside them, and what is signed of both.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::appending::Appending;
use super::chain::{BEGINNING, Hash, ranges};
use super::check::{self, Seals};
use super::reading::{newest, put_seal, seals};
use super::schema::{self, VERSION};
use super::seal::{About, Age, Beside, OwnKey, Seal, unhex};
use super::{AuditError, Deed, Who, policy};
use crate::desired::{AddressPolicy, AuditPolicy};
use crate::error::chain;
use crate::export::key::PublicKey;
use crate::sys::database;

/// Where a trail has become too large, it is cut down to this share of its bound, so that the next row cuts nothing.
const KEPT_PERCENT: u64 = 90;

/// An open trail.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Connection,
    beside: Beside,
    own: OwnKey,
}

impl Store {
    /// Opens the trail for writing; one that is damaged, cut off or changed is moved aside, and a new one begun.
    pub fn open_or_begin_anew(path: &Path) -> Result<Self, AuditError> {
        match Self::open(path) {
            Err(why) if why.is_damage() => {
                let (why, aside) = (chain(&why), move_aside(path)?);
                let aside = aside.display();
                tracing::error!(
                    error = why,
                    "the audit trail {} is damaged: it is now {aside}, and a new one begins",
                    path.display()
                );
                let mut store = Self::open(path)?;
                let action = format!("the audit trail before this one is put aside as {aside}");
                store.append(&[Deed::of_the_trail(action, why)], AddressPolicy::None)?;
                Ok(store)
            }
            other => other,
        }
    }

    /// The public key that signs it.
    pub fn key(&self) -> PublicKey {
        self.own.key.public()
    }

    fn open(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Database { path: path.to_owned(), source };
        // A later version first: what it looks like to this one is no damage.
        if let Some(found) = database::version(path).filter(|found| *found > VERSION) {
            return Err(AuditError::Newer { path: path.to_owned(), found, known: VERSION });
        }
        let (database, found) = database::open(path, VERSION, prepare).map_err(failed)?;
        let beside = Beside::of(path);
        let own = beside.key()?;
        let mut store = Self { path: path.to_owned(), database, beside, own };
        match found {
            0 => store.begin()?,
            1 => store.carry_over()?,
            VERSION => {}
            _ => return Err(AuditError::Newer { path: path.to_owned(), found, known: VERSION }),
        }
        store.look_at_its_end()?;
        store.sign_with_the_own_key()?;
        Ok(store)
    }

    /// Makes the tables of a new trail, and signs that it is empty.
    fn begin(&mut self) -> Result<(), AuditError> {
        let key = &self.own.key;
        let transaction = self.database.transaction();
        let made = transaction.and_then(|transaction| {
            schema::make(&transaction)?;
            put_seal(&transaction, About::Head, &Seal::sign(key, About::Head, 0, &BEGINNING))?;
            transaction.commit()
        });
        made.map_err(|source| self.failed(source))?;
        self.remember_head()
    }

    /// Carries a trail of version 1 over, where its chain is whole.
    fn carry_over(&mut self) -> Result<(), AuditError> {
        let key = &self.own.key;
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate);
        let carried = transaction.and_then(|transaction| {
            let old = match schema::take_old(&transaction)? {
                Ok(old) => old,
                Err(row) => return Ok(Some(row)),
            };
            schema::make(&transaction)?;
            let count = old.rows.len();
            let mut rows = Appending::behind(&transaction)?;
            old.rows.into_iter().try_for_each(|carried| rows.add(carried))?;
            let action =
                format!("{count} rows are carried over from version 1, whose last one had the hash {}", old.hash);
            rows.append(&Deed::of_the_trail(action, "an upgrade".to_owned()), AddressPolicy::None)?;
            rows.sign(key)?;
            transaction.commit()?;
            Ok(None)
        });
        if let Some(row) = carried.map_err(|source| self.failed(source))? {
            return Err(AuditError::Broken { row: row.unsigned_abs() });
        }
        // What version 1 had in its text is not left behind in free pages.
        let cleaned = self.database.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM");
        cleaned.and_then(|()| self.empty_the_log()).map_err(|source| self.failed(source))?;
        self.remember_head()
    }

    /// Whether the trail still ends where it was signed last, in the database and beside it.
    fn look_at_its_end(&self) -> Result<(), AuditError> {
        let seals = self.seals()?;
        let head = seals.head.as_ref().ok_or(AuditError::Unsigned)?;
        if head.signer(About::Head).is_none() {
            return Err(AuditError::BadSignature);
        }
        let (last, hash) = newest(&self.database).map_err(|source| self.failed(source))?;
        let beside = self.beside.head();
        let furthest = beside.iter().map(|seal| seal.row).chain([head.row]).max().unwrap_or(0);
        check::ends_at(last, &hash, head, furthest)?;
        match beside {
            Some(seal) if self.has(&seal).map_err(|source| self.failed(source))? == Some(false) => {
                Err(AuditError::Broken { row: seal.row.unsigned_abs() })
            }
            _ => Ok(()),
        }
    }

    /// Whether the row of a seal has its hash; `None` where that row is not kept.
    fn has(&self, seal: &Seal) -> rusqlite::Result<Option<bool>> {
        let query = "SELECT hash FROM record WHERE row = ?1";
        let hash: Option<Hash> = self.database.query_row(query, [seal.row], |columns| columns.get(0)).optional()?;
        Ok(hash.map(|hash| seal.is_of(seal.row, &hash)))
    }

    /// Signs anew what another key has signed, where the host's key was lost; the trail says so.
    ///
    /// While the host has its key, a signature of another one is somebody else's work.
    fn sign_with_the_own_key(&mut self) -> Result<(), AuditError> {
        let seals = self.seals()?;
        let own = self.own.key.public().to_string();
        let Some(other) = [&seals.head, &seals.anchor].into_iter().flatten().find(|seal| seal.key != own) else {
            return Ok(());
        };
        if self.own.age == Age::Kept {
            return Err(AuditError::OtherKey { found: other.key.clone(), wanted: own });
        }
        tracing::warn!(
            before = other.key,
            now = own,
            "the audit trail is signed with another key from here on; pin that"
        );
        if let Some(anchor) = &seals.anchor {
            let hash =
                unhex(&anchor.hash).and_then(|hash| Hash::try_from(hash).ok()).ok_or(AuditError::BadSignature)?;
            anchor.signer(About::Anchor).ok_or(AuditError::BadSignature)?;
            let anchor = Seal::sign(&self.own.key, About::Anchor, anchor.row, &hash);
            put_seal(&self.database, About::Anchor, &anchor).map_err(|source| self.failed(source))?;
        }
        let action = format!("the audit trail is signed by {own}, and was by {}", other.key);
        self.append(&[Deed::of_the_trail(action, "the key was lost".to_owned())], AddressPolicy::None)
    }

    /// Appends deeds in one transaction, and signs the last of them in the same one: all of it or nothing.
    pub fn append(&mut self, deeds: &[Deed], addresses: AddressPolicy) -> Result<(), AuditError> {
        self.change(|rows| deeds.iter().try_for_each(|deed| rows.append(deed, addresses)))
    }

    fn change(&mut self, work: impl FnOnce(&mut Appending<'_>) -> rusqlite::Result<()>) -> Result<(), AuditError> {
        let key = &self.own.key;
        // Immediate: what is read, the newest hash, is what is written after.
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate);
        let changed = transaction.and_then(|transaction| {
            let mut rows = Appending::behind(&transaction)?;
            work(&mut rows)?;
            rows.sign(key)?;
            transaction.commit()
        });
        changed.map_err(|source| self.failed(source))?;
        self.remember_head()
    }

    /// Writes what was signed last outside of the database as well.
    fn remember_head(&self) -> Result<(), AuditError> {
        let Some(head) = self.seals()?.head else { return Ok(()) };
        // The rows are written; what is weaker is that cutting them off is noticed later, or not.
        if let Err(error) = self.beside.remember(&head) {
            tracing::warn!(%error, file = %self.beside.head_file().display(), "cannot write down where the audit trail ends");
        }
        Ok(())
    }

    /// Erases the addresses that lie in a network, or that it lies in; the trail says of which rows, and by whom.
    pub fn erase(&mut self, network: &IpNet, who: &Who, cause: &str) -> Result<u64, AuditError> {
        let rows = self.rows_from(network).map_err(|source| self.failed(source))?;
        if rows.is_empty() {
            return Ok(0);
        }
        let action = format!("the addresses of {} rows are erased: {}", rows.len(), ranges(&rows));
        let deed = Deed { who: who.clone(), ..Deed::of_the_trail(action, cause.to_owned()) };
        self.change(|appending| {
            schema::erase(appending.transaction, &rows)?;
            appending.append_erasure(&deed, &rows)
        })?;
        self.empty_the_log().map_err(|source| self.failed(source))?;
        Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
    }

    fn rows_from(&self, network: &IpNet) -> rusqlite::Result<BTreeSet<i64>> {
        let mut query = self.database.prepare("SELECT row, address FROM opening")?;
        let all = query.query_map([], |columns| Ok((columns.get::<_, i64>(0)?, columns.get::<_, String>(1)?)))?;
        let meets = |address: &str| policy::read(address).is_some_and(|it| policy::meet(&it, network));
        all.filter_map(|found| match found {
            Ok((row, address)) => meets(&address).then_some(Ok(row)),
            Err(error) => Some(Err(error)),
        })
        .collect()
    }

    /// Makes the file shorter by what is free in it. Each step of the statement gives one page back.
    fn give_pages_back(&self) -> rusqlite::Result<()> {
        let mut vacuum = self.database.prepare("PRAGMA incremental_vacuum")?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        Ok(())
    }

    /// Puts what SQLite's log has into the database, and empties it: it has pages as they were before.
    fn empty_the_log(&self) -> rusqlite::Result<()> {
        self.database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Removes the oldest rows, as far as the policy says; what is left begins behind a signed anchor.
    pub fn prune(&mut self, policy: &AuditPolicy, now: Timestamp) -> Result<(), AuditError> {
        let last = self.last_to_go(policy, now).map_err(|source| self.failed(source))?;
        let Some((row, hash)) = last else { return Ok(()) };
        let key = &self.own.key;
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate);
        let pruned = transaction.and_then(|transaction| {
            put_seal(&transaction, About::Anchor, &Seal::sign(key, About::Anchor, row, &hash))?;
            transaction.execute("DELETE FROM opening WHERE row <= ?1", [row])?;
            transaction.execute("DELETE FROM record WHERE row <= ?1", [row])?;
            transaction.commit()
        });
        let shrunk = pruned.and_then(|()| {
            self.give_pages_back()?;
            self.empty_the_log()
        });
        shrunk.map_err(|source| self.failed(source))?;
        tracing::info!("the audit trail's rows up to {row} are removed, as `audit` in the desired state says");
        Ok(())
    }

    /// The last row that is older than it may be, or that has to go to make room.
    fn last_to_go(&self, policy: &AuditPolicy, now: Timestamp) -> rusqlite::Result<Option<(i64, Hash)>> {
        let too_old = SignedDuration::try_from(policy.keep_for).ok().and_then(|age| now.checked_sub(age).ok());
        let aged = too_old.map(|oldest| self.last_before(oldest)).transpose()?.flatten();
        let crowded = self.last_beyond(policy.keep_bytes)?;
        let Some(row) = aged.max(crowded) else { return Ok(None) };
        let query = "SELECT row, hash FROM record WHERE row = ?1";
        self.database.query_row(query, [row], |columns| Ok((columns.get(0)?, columns.get(1)?))).optional()
    }

    /// The last of the rows that were all written before a time.
    fn last_before(&self, oldest: Timestamp) -> rusqlite::Result<Option<i64>> {
        let mut query = self.database.prepare("SELECT row, at FROM record ORDER BY row")?;
        let mut rows = query.query([])?;
        let mut last = None;
        while let Some(columns) = rows.next()? {
            let at: String = columns.get(1)?;
            if at.parse::<Timestamp>().is_ok_and(|at| at >= oldest) {
                break;
            }
            last = Some(columns.get(0)?);
        }
        Ok(last)
    }

    fn last_beyond(&self, bytes: u64) -> rusqlite::Result<Option<i64>> {
        let number = |name| self.database.pragma_query_value(None, name, |value| value.get::<_, i64>(0));
        let size = (number("page_count")? - number("freelist_count")?) * number("page_size")?;
        let size = size.unsigned_abs();
        if size <= bytes {
            return Ok(None);
        }
        let ends = "SELECT min(row), max(row) FROM record";
        let (first, last): (Option<i64>, Option<i64>) =
            self.database.query_row(ends, [], |columns| Ok((columns.get(0)?, columns.get(1)?)))?;
        let Some((first, last)) = first.zip(last) else { return Ok(None) };
        let rows = (last - first + 1).unsigned_abs();
        let kept = u128::from(rows) * u128::from(bytes * KEPT_PERCENT / 100) / u128::from(size);
        Ok(Some(last - i64::try_from(kept).unwrap_or(i64::MAX)))
    }

    fn failed(&self, source: rusqlite::Error) -> AuditError {
        AuditError::Database { path: self.path.clone(), source }
    }

    fn seals(&self) -> Result<Seals, AuditError> {
        seals(&self.database).map_err(|source| self.failed(source))
    }
}

/// Sets up what only a trail needs, and says which version the file has.
fn prepare(database: &Connection) -> rusqlite::Result<i64> {
    let found = schema::version(database)?;
    if found == 0 {
        // Only a database without tables can be told so: what is removed makes the file shorter.
        database.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    // What is erased is overwritten.
    database.pragma_update(None, "secure_delete", true)?;
    Ok(found)
}

/// Renames the files of a trail to the first free `….damaged-N`; the key stays, since it is the host's.
fn move_aside(path: &Path) -> Result<PathBuf, AuditError> {
    let failed = |source| AuditError::Aside { path: path.to_owned(), source };
    let aside = database::move_aside(path).map_err(failed)?;
    let head = Beside::of(path).head_file().to_owned();
    database::rename_where_there(&head, &database::with_suffix(&aside, ".head")).map_err(failed)?;
    Ok(aside)
}
