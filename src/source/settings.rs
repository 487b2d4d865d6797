//! How a source is reached and what is believed of it: the operator's settings, never read from the source itself.

use std::path::PathBuf;
use std::time::Duration;

use git2::Oid;

use super::SourceSpec;
use super::verify::Keys;

/// Where the desired state comes from, and on which conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// Where from.
    pub spec: SourceSpec,
    /// Where the clone of a remote source and the ratchet stand.
    pub state_dir: PathBuf,
    /// How a remote source is fetched.
    pub transport: Transport,
    /// Which commits are believed; `None` believes whoever can write to the source.
    pub trust: Option<Trust>,
}

/// How a remote source is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// The deploy key.
    pub identity: Option<PathBuf>,
    /// The pinned host keys.
    pub known_hosts: Option<PathBuf>,
    /// How often it is fetched.
    pub poll_every: Duration,
    /// How long one fetch may take, from its first packet to its last.
    pub timeout: Duration,
    /// How large the clone may become.
    pub max_bytes: u64,
}

/// Which commits are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Who may sign, in OpenSSH's format.
    pub allowed_signers: PathBuf,
    /// The commit that the branch begins with, where none was accepted yet.
    pub first_commit: Option<Oid>,
    /// Which keys count.
    pub keys: Keys,
    /// How many different people have to have signed.
    pub min_signers: usize,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            identity: None,
            known_hosts: None,
            poll_every: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
            max_bytes: 256 << 20,
        }
    }
}

impl SourceSettings {
    /// A source that is believed as it is.
    pub fn of(spec: SourceSpec, state_dir: PathBuf) -> Self {
        Self { spec, state_dir, transport: Transport::default(), trust: None }
    }
}
