//! Rows on their way into the database, within one transaction.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

use super::chain::{Hash, Opening, Row, SALT_BYTES, link, ranges};
use super::reading::{newest, put_seal};
use super::schema::{self, Carried};
use super::seal::{About, Seal};
use super::{Deed, Record, Who, policy};
use crate::desired::AddressPolicy;
use crate::export::key::SecretKey;
use crate::sys::random;

/// The end of the chain, while rows are added.
pub struct Appending<'a> {
    pub transaction: &'a Transaction<'a>,
    row: i64,
    hash: Hash,
}

impl<'a> Appending<'a> {
    /// Behind the newest row.
    pub fn behind(transaction: &'a Transaction<'a>) -> rusqlite::Result<Self> {
        let (row, hash) = newest(transaction)?;
        Ok(Self { transaction, row, hash })
    }

    /// Adds a deed.
    pub fn append(&mut self, deed: &Deed, addresses: AddressPolicy) -> rusqlite::Result<()> {
        let address = deed.who.address.and_then(|address| policy::written(addresses, address));
        self.add(Carried { row: row(deed), address })
    }

    /// Adds the row that says of which others the addresses are erased.
    pub fn append_erasure(&mut self, deed: &Deed, rows: &BTreeSet<i64>) -> rusqlite::Result<()> {
        self.add(Carried { row: Row { erased: Some(ranges(rows)), ..row(deed) }, address: None })
    }

    /// Adds a row, and beside it the address that it commits to.
    pub fn add(&mut self, Carried { row, address }: Carried) -> rusqlite::Result<()> {
        self.row += 1;
        let opening = address.map(hide).transpose()?;
        let row = Row { row: self.row, address: opening.as_ref().map(Opening::commitment), ..row };
        self.hash = link(&self.hash, &row).map_err(|error| unwritable(error.into()))?;
        schema::insert(self.transaction, &row, &self.hash)?;
        if let Some(Opening { salt, address }) = opening {
            let insert = "INSERT INTO opening VALUES (?1, ?2, ?3)";
            self.transaction.prepare_cached(insert)?.execute(params![self.row, salt, address])?;
        }
        Ok(())
    }

    /// Signs the newest row.
    pub fn sign(&self, key: &SecretKey) -> rusqlite::Result<()> {
        put_seal(self.transaction, About::Head, &Seal::sign(key, About::Head, self.row, &self.hash))
    }
}

fn hide(address: String) -> rusqlite::Result<Opening> {
    let salt = random::bytes::<SALT_BYTES>().map_err(|error| unwritable(error.into()))?;
    Ok(Opening::with(&salt, address))
}

fn unwritable(error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error)
}

/// A deed as a row that has no place yet, and no address.
fn row(Deed { record, who }: &Deed) -> Row {
    let Record { at, revision, object, action, cause, result } = record;
    let Who { signers, uid, token, address: _ } = who;
    Row {
        row: 0,
        at: at.to_string(),
        revision: revision.as_ref().map(ToString::to_string),
        object: object.clone(),
        action: action.clone(),
        cause: cause.clone(),
        result: result.clone(),
        signers: (!signers.is_empty()).then(|| signers.join(", ")),
        uid: *uid,
        token: token.clone(),
        address: None,
        erased: None,
    }
}
