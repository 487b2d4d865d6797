//! What goes into a backup, and what each member is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::audit;
use crate::desired::InstanceName;
use crate::reconcile::history;
use crate::reconcile::memory::{ACCEPTED, ORDERS, ROTATIONS};
use crate::source::ratchet;
use crate::state::{INSTANCES, LOCKOUTS, OUTBOX, STAMP, TRAIL, TRAIL_HEAD, TRAIL_KEY};
use crate::sys::{database, dying};

/// tor's own memory in its DataDirectory: its guard relays, and how long its circuits take.
const GUARDS: &str = "state";
/// tor's directory cache. One is enough: the others are seeded from it.
const CACHE: [&str; 4] = ["cached-certs", "cached-microdescs", "cached-microdescs.new", CONSENSUS];
const CONSENSUS: &str = "cached-microdesc-consensus";
/// Files of a few kilobytes.
const MEMORY: [&str; 6] = [STAMP, ACCEPTED, ORDERS, ROTATIONS, LOCKOUTS, ratchet::FILE];
/// A file that is longer is no key of anybody's.
const LONGEST_KEY_BYTES: u64 = 64 * 1024;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A database of SQLite.
    Database,
    /// What the daemon remembers, in a small file.
    Memory,
    /// The guard relays of a tor.
    Guards,
    /// A tor's copy of the Tor network's directory.
    Cache,
    /// A secret key.
    Key,
}

impl Kind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Memory => "memory",
            Self::Guards => "guards",
            Self::Cache => "cache",
            Self::Key => "key",
        }
    }
}

/// What a path in the state directory is in a backup; `None` for what no backup has.
pub fn kind_of(name: &str) -> Option<Kind> {
    if name == TRAIL || name == OUTBOX {
        return Some(Kind::Database);
    }
    if name == TRAIL_HEAD || MEMORY.contains(&name) {
        return Some(Kind::Memory);
    }
    match name.split('/').collect::<Vec<_>>()[..] {
        [directory, file] if directory == history::DIRECTORY => is_revision(file).then_some(Kind::Memory),
        [directory, instance, file] if directory == INSTANCES && instance.parse::<InstanceName>().is_ok() => match file
        {
            GUARDS => Some(Kind::Guards),
            file => CACHE.contains(&file).then_some(Kind::Cache),
        },
        [file] => may_be_a_key(file).then_some(Kind::Key),
        _ => None,
    }
}

fn is_revision(file: &str) -> bool {
    file.strip_suffix(".yaml")
        .is_some_and(|number| number.len() == 8 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Keys that an operator has laid into the state directory have names of their own; ours are taken.
fn may_be_a_key(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let ours = [".json", ".sqlite", ".yaml", ".git", ".head"];
    let is_ours = [INSTANCES, history::DIRECTORY].contains(&name) || ours.iter().any(|end| name.ends_with(end));
    !name.starts_with('.') && !is_ours && name.bytes().all(is_plain) && (1..=100).contains(&name.len())
}

/// What is wished for beside what every backup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// The secret keys.
    pub keys: bool,
    /// A tor's directory cache.
    pub cache: bool,
}

/// A member that is to be packed.
#[derive(Debug)]
pub struct Member {
    /// Its path in the state directory.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its content.
    pub content: Content,
}

/// Where the content of a member is.
#[derive(Debug)]
pub enum Content {
    /// Here.
    Bytes(Vec<u8>),
    /// In a file that nobody else writes.
    File(PathBuf),
}

/// What was collected.
#[derive(Debug, Default)]
pub struct Collected {
    /// The members.
    pub members: Vec<Member>,
    /// The newest row of the trail, and the key that signed it.
    pub trail: Option<(String, String)>,
}

/// Collects the members from a state directory that a daemon may be working with; copies go into `staging`.
pub fn collect(state_dir: &Path, staging: &Path, wish: Wish) -> Result<Collected, BackupError> {
    let mut collected = Collected::default();
    collected.databases(state_dir, staging)?;
    for name in MEMORY {
        collected.small(state_dir, name.to_owned(), Kind::Memory)?;
    }
    for file in names(&state_dir.join(history::DIRECTORY))?.iter().filter(|file| is_revision(file)) {
        collected.small(state_dir, format!("{}/{file}", history::DIRECTORY), Kind::Memory)?;
    }
    let instances = names(&state_dir.join(INSTANCES))?;
    let instances: Vec<&String> = instances.iter().filter(|name| name.parse::<InstanceName>().is_ok()).collect();
    for instance in &instances {
        collected.small(state_dir, format!("{INSTANCES}/{instance}/{GUARDS}"), Kind::Guards)?;
    }
    if wish.cache {
        collected.cache(state_dir, staging, &instances)?;
    }
    if wish.keys {
        collected.keys(state_dir)?;
    }
    Ok(collected)
}

impl Collected {
    fn databases(&mut self, state_dir: &Path, staging: &Path) -> Result<(), BackupError> {
        for name in [TRAIL, OUTBOX] {
            let (from, to) = (state_dir.join(name), staging.join(name));
            if !from.exists() {
                continue;
            }
            database::copy(&from, &to).map_err(|source| match database::is_of_the_disk(&source) {
                true => BackupError::Write { path: to.clone(), source: io::Error::other(source) },
                false => BackupError::Database { path: from.clone(), source },
            })?;
            dying::moment("backup");
            let damaged =
                |error: rusqlite::Error| BackupError::Damaged { name: name.to_owned(), why: error.to_string() };
            database::check(&to).map_err(damaged)?;
            self.add(name.to_owned(), Kind::Database, Content::File(to.clone()));
            if name == TRAIL {
                // That of the copy: the one beside the original may be of a later row.
                let (head, place, key) = audit::head(&to).map_err(BackupError::Trail)?;
                self.add(TRAIL_HEAD.to_owned(), Kind::Memory, Content::Bytes(head));
                self.trail = Some((place.to_string(), key));
            }
        }
        Ok(())
    }

    /// A file that is replaced at once where it is written; one that is not there is left out.
    fn small(&mut self, state_dir: &Path, name: String, kind: Kind) -> Result<(), BackupError> {
        let path = state_dir.join(&name);
        match fs::read(&path) {
            Ok(bytes) => self.add(name, kind, Content::Bytes(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(BackupError::Read { path, source }),
        }
        Ok(())
    }

    /// The cache with the newest consensus.
    fn cache(&mut self, state_dir: &Path, staging: &Path, instances: &[&String]) -> Result<(), BackupError> {
        let directory = |instance: &str| state_dir.join(INSTANCES).join(instance);
        let written = |name: &&&String| fs::metadata(directory(name).join(CONSENSUS)).and_then(|it| it.modified()).ok();
        let Some(newest) = instances.iter().filter(|name| written(name).is_some()).max_by_key(written) else {
            return Ok(());
        };
        for file in CACHE {
            let (from, to) = (directory(newest).join(file), staging.join(file));
            match fs::copy(&from, &to) {
                Ok(_) => self.add(format!("{INSTANCES}/{newest}/{file}"), Kind::Cache, Content::File(to)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(BackupError::Write { path: to, source }),
            }
        }
        Ok(())
    }

    /// The trail's key, and private keys that an operator has laid beside it.
    fn keys(&mut self, state_dir: &Path) -> Result<(), BackupError> {
        for name in names(state_dir)? {
            let path = state_dir.join(&name);
            let is_small = fs::metadata(&path).is_ok_and(|it| it.is_file() && it.len() <= LONGEST_KEY_BYTES);
            if kind_of(&name) != Some(Kind::Key) || !is_small {
                continue;
            }
            let bytes = fs::read(&path).map_err(|source| BackupError::Read { path, source })?;
            if name == TRAIL_KEY || is_private(&bytes) {
                self.add(name, Kind::Key, Content::Bytes(bytes));
            }
        }
        Ok(())
    }

    fn add(&mut self, name: String, kind: Kind, content: Content) {
        self.members.push(Member { name, kind, content });
    }
}

/// Whether a file is a private key, as OpenSSH and PEM write them.
fn is_private(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.starts_with(b"-----BEGIN ") && first.trim_ascii_end().ends_with(b"PRIVATE KEY-----")
}

/// The names in a directory, in order; one that is not there has none.
fn names(directory: &Path) -> Result<Vec<String>, BackupError> {
    let failed = |source| BackupError::Read { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_backup_has_may_be_in_one() {
        for (name, kind) in [
            ("audit.sqlite", Kind::Database),
            ("audit.head", Kind::Memory),
            ("history/00000001.yaml", Kind::Memory),
            ("instances/eu-0/state", Kind::Guards),
            ("instances/eu-0/cached-certs", Kind::Cache),
            ("audit.key", Kind::Key),
            ("deploy", Kind::Key),
        ] {
            assert_eq!(kind_of(name), Some(kind), "{name}");
        }
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "..",
            "history/../../x",
            "instances/../state",
            "instances/eu-0/keys",
            "instances/EU/state",
            "instances/eu-0/state/x",
            ".restore-agreed",
            "instances",
            "applied.json",
            "backup.json",
            "source.git",
            "history/1.yaml",
        ] {
            assert_eq!(kind_of(name), None, "{name}");
        }
    }
}
