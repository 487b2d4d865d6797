//! Whether a trail is what was written: one walk over its rows, wherever they are read from.

use jiff::Timestamp;

use super::AuditError;
use super::chain::{BEGINNING, Hash, Opening, Row, link, read_ranges};
use super::seal::{About, Place, Seal, unhex};
use crate::desired::names::hex;
use crate::export::key::PublicKey;

/// A row with what stands beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The row.
    pub row: Row,
    /// The hash that it carries.
    pub hash: Hash,
    /// The address that it commits to, unless that was erased.
    pub opening: Option<Opening>,
}

/// What is signed of a trail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seals {
    /// The last row that was removed; `None` where none ever was.
    pub anchor: Option<Seal>,
    /// The newest row; every trail has it.
    pub head: Option<Seal>,
}

/// What is known of a trail from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pinned {
    /// The key that has to have signed it.
    pub key: Option<PublicKey>,
    /// Places that it has to have, unless they were removed by its retention.
    pub places: Vec<Place>,
}

/// What was found to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many rows there are.
    pub rows: u64,
    /// How many rows before them were removed by the retention.
    pub removed: u64,
    /// How many addresses were erased of them.
    pub erased: u64,
    /// The newest row.
    pub head: Place,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The key that signed it.
    pub key: PublicKey,
}

/// A walk over a trail, from its first row to its newest.
#[derive(Debug)]
pub struct Walk<'a> {
    pinned: &'a Pinned,
    head: &'a Seal,
    key: PublicKey,
    removed: i64,
    last: i64,
    hash: Hash,
    /// Rows whose address is not there.
    unopened: Vec<i64>,
    /// Rows whose address was erased, as later rows say.
    erased: Vec<(i64, i64)>,
}

impl<'a> Walk<'a> {
    /// Checks the signatures, and begins behind the rows that were removed.
    pub fn begin(seals: &'a Seals, pinned: &'a Pinned) -> Result<Self, AuditError> {
        let head = seals.head.as_ref().ok_or(AuditError::Unsigned)?;
        let key = head.signer(About::Head).ok_or(AuditError::BadSignature)?;
        if let Some(wanted) = pinned.key.filter(|wanted| *wanted != key) {
            return Err(AuditError::OtherKey { found: key.to_string(), wanted: wanted.to_string() });
        }
        let (removed, hash) = match &seals.anchor {
            None => (0, BEGINNING),
            Some(anchor) => {
                let signer = anchor.signer(About::Anchor).filter(|signer| *signer == key);
                let hash = unhex(&anchor.hash).and_then(|hash| Hash::try_from(hash).ok());
                (anchor.row, signer.and(hash).ok_or(AuditError::BadSignature)?)
            }
        };
        let walk = Self { pinned, head, key, removed, last: removed, hash, unopened: Vec::new(), erased: Vec::new() };
        walk.has_its_pins()?;
        Ok(walk)
    }

    /// Takes the next row; `None` is one that cannot even be read.
    pub fn step(&mut self, link: Option<&Link>) -> Result<(), AuditError> {
        let expected = self.last + 1;
        let broken = || AuditError::Broken { row: expected.unsigned_abs() };
        let Link { row, hash, opening } = link.ok_or_else(broken)?;
        let linked = self::link(&self.hash, row).map_err(|_| broken())?;
        if row.row != expected || linked != *hash {
            return Err(broken());
        }
        match (&row.address, opening) {
            (Some(sealed), Some(opening)) if opening.commitment() == *sealed => {}
            (Some(_), None) => self.unopened.push(row.row),
            (None, None) => {}
            _ => return Err(broken()),
        }
        if let Some(erased) = &row.erased {
            self.erased.extend(read_ranges(erased).ok_or_else(broken)?);
        }
        (self.last, self.hash) = (expected, linked);
        self.has_its_pins()
    }

    /// Whether the place where it stands is the one that was written down elsewhere.
    fn has_its_pins(&self) -> Result<(), AuditError> {
        let here = self.pinned.places.iter().find(|place| place.row == self.last);
        match here {
            Some(place) if place.hash != hex(&self.hash) => Err(AuditError::Broken { row: self.last.unsigned_abs() }),
            _ => Ok(()),
        }
    }

    /// Checks that it has come to the end that was signed.
    pub fn end(self) -> Result<Verified, AuditError> {
        let was_erased = |row: i64| self.erased.iter().any(|(first, last)| (*first..=*last).contains(&row));
        if let Some(row) = self.unopened.iter().find(|row| !was_erased(**row)) {
            return Err(AuditError::Unopened { row: row.unsigned_abs() });
        }
        let furthest = self.pinned.places.iter().map(|place| place.row).chain([self.head.row]).max();
        ends_at(self.last, &self.hash, self.head, furthest.unwrap_or(0))?;
        Ok(Verified {
            rows: (self.last - self.removed).unsigned_abs(),
            removed: self.removed.unsigned_abs(),
            erased: u64::try_from(self.unopened.len()).unwrap_or(u64::MAX),
            head: Place { row: self.last, hash: hex(&self.hash) },
            signed_at: self.head.at.parse().map_err(|_| AuditError::BadSignature)?,
            key: self.key,
        })
    }
}

/// Whether a trail's newest row is the one that was signed, and no older than the furthest that is known of.
pub fn ends_at(last: i64, hash: &Hash, head: &Seal, furthest: i64) -> Result<(), AuditError> {
    if last < furthest {
        return Err(AuditError::Cut { last: last.unsigned_abs(), signed: furthest.unsigned_abs() });
    }
    if last > head.row {
        return Err(AuditError::Beyond { row: (head.row + 1).unsigned_abs() });
    }
    if head.is_of(last, hash) { Ok(()) } else { Err(AuditError::Broken { row: last.unsigned_abs() }) }
}
