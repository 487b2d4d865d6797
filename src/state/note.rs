//! When a backup was made last, and when one failed: a small file in the state directory, written by `exitpool backup` and
//! told by the daemon's metrics.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::sys::files;

/// The file in the state directory.
pub const FILE: &str = "backup.json";
/// The version of what is in it.
const VERSION: u32 = 1;

/// What is known of backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    version: u32,
    /// When the last one succeeded.
    pub succeeded: Option<Timestamp>,
    /// When the last one failed.
    pub failed: Option<Timestamp>,
}

impl Note {
    /// What is written down; nothing where that cannot be read.
    pub fn read(state_dir: &Path) -> Self {
        let read = std::fs::read(state_dir.join(FILE)).ok();
        let note = read.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        note.unwrap_or(Self { version: VERSION, succeeded: None, failed: None })
    }

    /// Writes down how a backup has ended.
    pub fn write(state_dir: &Path, at: Timestamp, is_good: bool) -> io::Result<()> {
        let before = Self::read(state_dir);
        let note = match is_good {
            true => Self { version: VERSION, succeeded: Some(at), ..before },
            false => Self { version: VERSION, failed: Some(at), ..before },
        };
        files::write_atomically(&state_dir.join(FILE), &serde_json::to_vec(&note)?)
    }
}
