//! Looking at a backup: whether it is whole, and whether what is in it is good.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::BackupError;
use super::container::{Keys, unpack};
use super::envelope::Opener;
use super::manifest::Manifest;
use super::members::Kind;
use crate::audit::{self, AuditError};
use crate::reconcile::history::{self, History};
use crate::reconcile::memory::{ACCEPTED, Memory};
use crate::source::ratchet::Ratchet;
use crate::state::{self, TRAIL};
use crate::sys::database;

/// A backup that was looked at.
#[derive(Debug)]
pub struct Checked {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Whether it is sealed.
    pub is_encrypted: bool,
    /// How many rows its audit trail has.
    pub rows: Option<u64>,
}

/// Unpacks a backup into an empty directory, and looks at every part of it.
pub fn open(from: impl Read + 'static, opener: &Opener, into: &Path, keys: Keys) -> Result<Checked, BackupError> {
    let (from, is_encrypted) = opener.open(from)?;
    let manifest = unpack(from, into, keys)?;
    let rows = parts(into, &manifest)?;
    Ok(Checked { manifest, is_encrypted, rows })
}

/// Looks at the parts of an unpacked backup; says how many rows the audit trail has.
fn parts(place: &Path, manifest: &Manifest) -> Result<Option<u64>, BackupError> {
    state::refuse_newer(place)?;
    let has = |name: &str| manifest.members.iter().any(|member| member.name == name);
    for member in &manifest.members {
        let damaged = |why: String| BackupError::Damaged { name: member.name.clone(), why };
        let path = place.join(&member.name);
        match member.kind {
            Kind::Database => database::check(&path).map_err(|error| damaged(error.to_string()))?,
            Kind::Memory if member.name.ends_with(".json") => {
                let read = fs::read(&path).map_err(|source| BackupError::Read { path, source })?;
                serde_json::from_slice::<serde_json::Value>(&read).map_err(|error| damaged(error.to_string()))?;
            }
            _ => {}
        }
    }
    let damaged = |name: &str, why: String| BackupError::Damaged { name: name.to_owned(), why };
    let memory = Memory::new(place);
    if has(ACCEPTED) && memory.accepted().is_none() {
        return Err(damaged(ACCEPTED, "no revision can be read from it".to_owned()));
    }
    memory.orders().map_err(|error| damaged("orders.json", crate::error::chain(&error)))?;
    Ratchet::of(place).tooth().map_err(|error| damaged("ratchet.json", crate::error::chain(&error)))?;
    let revisions = manifest.members.iter().filter(|it| it.name.starts_with(history::DIRECTORY)).count();
    if History::of(place).list().len() != revisions {
        return Err(damaged(history::DIRECTORY, "a revision cannot be read".to_owned()));
    }
    if has(TRAIL) { Ok(Some(trail(&place.join(TRAIL), manifest).map_err(BackupError::Trail)?)) } else { Ok(None) }
}

/// Checks the chain, up to the row that the manifest names and by the key that it names.
fn trail(path: &Path, manifest: &Manifest) -> Result<u64, AuditError> {
    let verified = audit::verify(path, &audit::own(path))?;
    let (found, wanted) = (Some(verified.key.to_string()), &manifest.trail_key);
    if found != *wanted {
        let text = |key: &Option<String>| key.clone().unwrap_or_else(|| "nobody".to_owned());
        return Err(AuditError::OtherKey { found: text(&found), wanted: text(wanted) });
    }
    match manifest.trail.as_ref() == Some(&verified.head.to_string()) {
        true => Ok(verified.rows),
        false => Err(AuditError::Broken { row: verified.head.row.unsigned_abs() }),
    }
}
