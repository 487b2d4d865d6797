//! A trail as text that another machine can check: one JSON document a line.
//!
//! First what it is and where it begins, then every row with its hash and, where it is kept, its address; last what is
//! signed of it.

use std::io::{self, BufRead, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::AuditError;
use super::chain::{Hash, Opening, Row};
use super::check::{Link, Pinned, Seals, Verified, Walk};
use super::reading::Reading;
use super::seal::{Seal, unhex};
use crate::desired::names::hex;

/// What the first line says of the format.
const FORMAT: &str = "exitpool audit trail";
/// Its version.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    format: String,
    version: u32,
    anchor: Option<Seal>,
    head: Seal,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    row: Row,
    hash: String,
    opening: Option<Opening>,
}

/// Writes a trail out; says how many rows it has.
pub fn write(reading: &Reading, to: &mut impl Write, named: &Path) -> Result<u64, AuditError> {
    let failed = |source| AuditError::Export { path: named.to_owned(), source };
    let Seals { anchor, head } = reading.seals()?;
    let head = head.ok_or(AuditError::Unsigned)?;
    let first = First { format: FORMAT.to_owned(), version: VERSION, anchor, head };
    line(to, &first).map_err(failed)?;
    let (mut rows, mut at) = (0, 0);
    reading.each(|link| {
        at += 1;
        let Link { row, hash, opening } = link.cloned().ok_or(AuditError::Broken { row: at })?;
        rows += 1;
        line(to, &Line { row, hash: hex(&hash), opening }).map_err(failed)
    })?;
    to.flush().map_err(failed)?;
    Ok(rows)
}

fn line(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    to.write_all(b"\n")
}

/// Checks a trail that was written out.
pub fn verify(from: impl BufRead, named: &Path, pinned: &Pinned) -> Result<Verified, AuditError> {
    let failed = |source| AuditError::Export { path: named.to_owned(), source };
    let mut lines = from.lines();
    let first = lines.next().transpose().map_err(failed)?;
    let first: First = first.as_deref().and_then(read).ok_or_else(|| AuditError::NoTrail { path: named.to_owned() })?;
    if first.format != FORMAT || first.version != VERSION {
        return Err(AuditError::NoTrail { path: named.to_owned() });
    }
    let seals = Seals { anchor: first.anchor, head: Some(first.head) };
    let mut walk = Walk::begin(&seals, pinned)?;
    for line in lines {
        let line = match line {
            Ok(line) => read(&line),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(error) => return Err(failed(error)),
        };
        walk.step(line.and_then(link).as_ref())?;
    }
    walk.end()
}

/// Reads a line that is written exactly as we write it: anything else was changed.
fn read<T: Serialize + DeserializeOwned>(line: &str) -> Option<T> {
    let value: T = serde_json::from_str(line).ok()?;
    (serde_json::to_string(&value).ok()? == line).then_some(value)
}

fn link(Line { row, hash, opening }: Line) -> Option<Link> {
    Some(Link { row, hash: Hash::try_from(unhex(&hash)?).ok()?, opening })
}
