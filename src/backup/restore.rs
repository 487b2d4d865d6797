//! Putting a backup in the place of a state directory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::BackupError;
use super::check::{Checked, open};
use super::container::Keys;
use super::envelope::Opener;
use super::manifest::Manifest;
use crate::alert::outbox;
use crate::audit::{self, Audit, Record, Who};
use crate::desired::InstanceName;
use crate::export::key::SecretKey;
use crate::source::ratchet::Ratchet;
use crate::state::replace::{Staged, is_empty};
use crate::state::{Hold, INSTANCES, OUTBOX, TRAIL, TRAIL_KEY, Use};
use crate::sys::{dying, files, users};

/// What becomes of a state that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupied {
    /// It stays, and nothing is restored.
    Refuse,
    /// It is moved aside.
    Replace,
}

/// A state that was restored.
#[derive(Debug)]
pub struct Restored {
    /// The backup.
    pub checked: Checked,
    /// Where the state of before is.
    pub aside: Option<PathBuf>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Restores a state directory from a backup: all of it, or nothing where anything is wrong.
pub fn restore(
    from: impl Read + 'static,
    opener: &Opener,
    state_dir: &Path,
    occupied: Occupied,
) -> Result<Restored, BackupError> {
    let unwritable = |source| BackupError::Write { path: state_dir.to_owned(), source };
    files::make_private_directory(state_dir).map_err(unwritable)?;
    let hold = Hold::take(state_dir, Use::Alone)?;
    no_tor_runs(state_dir)?;
    if occupied == Occupied::Refuse && !is_empty(state_dir).map_err(unwritable)? {
        return Err(BackupError::Occupied(state_dir.to_owned()));
    }
    let staged = Staged::begin(state_dir, &hold).map_err(unwritable)?;
    let place = staged.place();
    let checked = open(from, opener, &place, Keys::Unpack)?;
    dying::moment("restore");
    let notes = settle(&place, state_dir, &checked.manifest)?;
    dying::moment("restore");
    let aside = staged.put_in_place().map_err(unwritable)?;
    Ok(Restored { checked, aside, notes })
}

/// A tor holds a lock in its DataDirectory while it runs.
fn no_tor_runs(state_dir: &Path) -> Result<(), BackupError> {
    let mut running = Vec::new();
    for entry in fs::read_dir(state_dir.join(INSTANCES)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(lock) = File::open(entry.path().join("lock")) else { continue };
        if name.parse::<InstanceName>().is_ok() && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            running.push(name);
        }
    }
    running.sort_unstable();
    match running.is_empty() {
        true => Ok(()),
        false => Err(BackupError::TorsRun { instances: running.join(", ") }),
    }
}

/// Makes of an unpacked backup what goes on from here: with this host's key where that has signed it, without messages of
/// another time, and with a row of the trail that says what was done.
fn settle(place: &Path, state_dir: &Path, manifest: &Manifest) -> Result<Vec<String>, BackupError> {
    let database = |path: PathBuf| move |source| BackupError::Database { path, source };
    if place.join(OUTBOX).exists() {
        outbox::without_messages(&place.join(OUTBOX)).map_err(database(place.join(OUTBOX)))?;
    }
    keep_the_key(place, state_dir, manifest)
        .map_err(|source| BackupError::Write { path: place.join(TRAIL_KEY), source })?;
    let mut notes = Vec::new();
    let mut said = format!("the state is restored from a backup of {}, made at {:.0}", manifest.host, manifest.made_at);
    if let Ok((_, last, _)) = audit::head(&state_dir.join(TRAIL)) {
        said += &format!("; the trail before it ended at {last}");
        notes
            .push(format!("the trail that was replaced ended at {last}: it is kept beside, and can be verified there"));
    }
    let (before, now) = (tooth(state_dir), tooth(place));
    if let (Some(before), Some(now)) = (before, &now)
        && before != *now
    {
        said += &format!("; the ratchet goes from {before} to {now}");
        notes.push(format!("the ratchet goes from {before} to {now}: commits have to come after that one"));
    }
    if !place.join(TRAIL_KEY).exists() {
        notes.push(
            "the audit trail's key is not in the backup: another one is made, which the trail says; pin that"
                .to_owned(),
        );
    }
    tell(place, said).map_err(BackupError::Trail)?;
    Ok(notes)
}

fn tooth(state_dir: &Path) -> Option<String> {
    Ratchet::of(state_dir).tooth().ok().flatten().map(|tooth| tooth.commit)
}

/// This host goes on with its own key where a backup of its own brings none.
fn keep_the_key(place: &Path, state_dir: &Path, manifest: &Manifest) -> io::Result<()> {
    let (kept, own) = (place.join(TRAIL_KEY), state_dir.join(TRAIL_KEY));
    let Some(text) = fs::read_to_string(own).ok().filter(|_| !kept.exists()) else { return Ok(()) };
    let is_its = text.trim().parse::<SecretKey>().is_ok_and(|key| Some(key.public().to_string()) == manifest.trail_key);
    if is_its { files::write_atomically(&kept, text.as_bytes()) } else { Ok(()) }
}

/// Writes into the restored trail that it was restored, and waits until that is on the disk.
fn tell(place: &Path, action: String) -> Result<(), audit::AuditError> {
    let uid = rustix::process::getuid().as_raw();
    let record = Record {
        at: Timestamp::now(),
        revision: None,
        object: "host".to_owned(),
        action: action.clone(),
        cause: format!("order of {}", users::name_of(uid)),
        result: "done".to_owned(),
    };
    let trail = Audit::open(&place.join(TRAIL))?;
    trail.append_of(record, Who { uid: Some(uid), ..Who::default() });
    // Dropping it writes what is queued.
    drop(trail);
    let written = audit::list(&place.join(TRAIL), 1)?.pop().is_some_and(|newest| newest.record.action == action);
    if written { Ok(()) } else { Err(audit::AuditError::Stopped { source: Some(io::ErrorKind::StorageFull.into()) }) }
}
