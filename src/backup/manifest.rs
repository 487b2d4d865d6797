//! What a backup says of itself.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::BackupError;
use super::members::{Kind, kind_of};

/// What every manifest calls its format.
pub const FORMAT: &str = "exitpool backup";
/// The version of the format.
pub const VERSION: u32 = 1;
/// The manifest's name in the container; it comes first.
pub const NAME: &str = "manifest.json";
/// The name of the sums; they come last.
pub const SUMS: &str = "SHA256SUMS";

/// What is in a backup, of which host and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// The program that made it.
    pub exitpool: String,
    /// The host's name.
    pub host: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// The revision in force.
    pub revision: Option<String>,
    /// The newest row of the audit trail, `ROW:HASH`.
    pub trail: Option<String>,
    /// The public key that signed it.
    pub trail_key: Option<String>,
    /// What is in it, in this order.
    pub members: Vec<Entry>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the state directory.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How many bytes it has.
    pub size: u64,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Reads a manifest, and refuses one of another format, of a later version, and one that names what no backup has.
    pub fn read(bytes: &[u8]) -> Result<Self, BackupError> {
        #[derive(Deserialize)]
        struct Beginning {
            format: String,
            version: u32,
            #[serde(default)]
            exitpool: String,
        }
        let foreign = || BackupError::Foreign(format!("its {NAME} is not one of ours"));
        let Beginning { format, version, exitpool } = serde_json::from_slice(bytes).map_err(|_| foreign())?;
        if format != FORMAT {
            return Err(foreign());
        }
        if version > VERSION {
            return Err(BackupError::Newer { found: version, known: VERSION, by: exitpool });
        }
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| BackupError::Changed(format!("its {NAME}: {error}")))?;
        manifest.names_what_it_may()?;
        Ok(manifest)
    }

    fn names_what_it_may(&self) -> Result<(), BackupError> {
        let mut seen = BTreeSet::new();
        for Entry { name, kind, .. } in &self.members {
            if kind_of(name) != Some(*kind) || !seen.insert(name) {
                return Err(BackupError::Changed(format!("its {NAME} names `{}`", name.escape_debug())));
            }
        }
        Ok(())
    }

    /// How many bytes its members have.
    pub fn size(&self) -> u64 {
        self.members.iter().map(|member| member.size).fold(0, u64::saturating_add)
    }

    /// Whether it has members of a kind.
    pub fn has(&self, kind: Kind) -> bool {
        self.members.iter().any(|member| member.kind == kind)
    }

    /// The sums as `sha256sum -c` reads them.
    pub fn sums(&self, own: &str) -> String {
        let line = |sum: &str, name: &str| format!("{sum}  {name}\n");
        let members = self.members.iter().map(|member| line(&member.sha256, &member.name));
        std::iter::once(line(own, NAME)).chain(members).collect()
    }
}
