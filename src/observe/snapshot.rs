//! A host on paper: everything that a plan for it depends on, without its secrets, to be planned for elsewhere.
//!
//! Pure: whoever asks looks at the host, and reads and writes the file.
//!
//! # Guarantees
//!
//! - The plan for a snapshot is the plan for the host that it was taken of, step by step and word by word.
//! - What may be secret is in it by its digest alone. What no plan depends on is not in it: which exits a node uses now,
//!   and what tor says about those.
//!
//! # What it cannot know
//!
//! A guard that somebody has altered is described against the one that was wished then; another wish would describe it in
//! other words. A wish for another `firewall.driver` would ask another driver. And what operators have allowed or confirmed
//! is said of one revision, which is not the one to be planned for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};

use super::{Bootstrap, Control, Instance, Observation, Observed, Stranger, overlap};
use crate::desired::{Desired, DriverChoice, Fingerprint, InstanceName, Revision};
use crate::error::{Classify, Kind};
use crate::plan::{Applied, Mandate, Plan, Suspended, Wish, plan};
use crate::tor::layout::Layout;
use crate::tor::options::{RunningOptions, Values, digest};

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u64 = 1;
/// The program that reads here.
const OURS: &str = env!("CARGO_PKG_VERSION");
/// The largest snapshot that is read: a thousand nodes that name 1,500 exits each have half of it.
pub const MAX_BYTES: u64 = 128 << 20;

/// A host on paper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Snapshot")]
pub struct Snapshot {
    /// The version of this format.
    #[schemars(extend("const" = VERSION))]
    pub version: u64,
    /// When the host was looked at.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub taken_at: Timestamp,
    /// The version of the program that wrote it.
    pub exitpool: String,
    /// The revision that was in force.
    pub revision: Revision,
    /// Its `firewall.driver`, with which the firewall was read.
    pub driver: DriverChoice,
    /// Where exitpool keeps its things on that host.
    pub host: Place,
    /// What each object was left as, which tells drift from change.
    pub applied: Applied,
    /// What operators have suspended.
    pub suspended: Suspended,
    /// The exits that instances leave alone, since they have rotated away from them.
    #[serde(default)]
    pub avoid: BTreeMap<InstanceName, BTreeSet<Fingerprint>>,
    /// How often they have.
    #[serde(default)]
    pub turns: BTreeMap<InstanceName, u64>,
    /// The listening TCP sockets of others.
    pub listeners: Vec<Stranger>,
    /// The host as it was seen; `strangers` stays empty, since `listeners` has them all.
    pub observed: Observed,
}

/// Where exitpool keeps its things on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// `--runtime-dir`.
    pub runtime_dir: PathBuf,
    /// `--state-dir`.
    pub state_dir: PathBuf,
    /// The status page's port, where others than the host can reach it.
    pub panel_port: Option<u16>,
}

/// Why a file is not taken for a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is more of it than any host fills.
    #[error("it has more than {} MiB, so it is no snapshot", MAX_BYTES >> 20)]
    TooLarge,
    /// It ends before it is complete.
    #[error("it is empty or cut off; take it again with `exitpool snapshot`")]
    CutOff,
    /// It says nothing of a version.
    #[error("it is no snapshot: it has no `version`; take one with `exitpool snapshot`")]
    NoVersion,
    /// A newer program has written it.
    #[error("it has version {0} of the format, and this exitpool knows {VERSION}: upgrade exitpool here")]
    Newer(u64),
    /// Nothing has written it.
    #[error("it has version {0} of the format, which there never was")]
    Older(u64),
    /// Another program has written it, in another way.
    #[error("exitpool {by} wrote it, and {OURS} cannot read it, at `{path}`: use one exitpool here and there")]
    OtherProgram {
        /// The other program's version.
        by: String,
        /// Where.
        path: String,
        /// What is wrong there.
        #[source]
        source: serde_json::Error,
    },
    /// It is written in another way.
    #[error("it is no snapshot of version {VERSION}, at `{path}`")]
    Other {
        /// Where.
        path: String,
        /// What is wrong there.
        #[source]
        source: serde_json::Error,
    },
}

impl Classify for SnapshotError {
    fn kind(&self) -> Kind {
        Kind::Host
    }
}

impl SnapshotError {
    /// Names the program that wrote the file, where that explains what is wrong.
    fn of(self, by: Option<String>) -> Self {
        match (self, by.filter(|by| by != OURS)) {
            (Self::Other { path, source }, Some(by)) => Self::OtherProgram { by, path, source },
            (error, _) => error,
        }
    }
}

/// What is looked at before everything else.
#[derive(Deserialize)]
struct Header {
    version: Option<u64>,
    exitpool: Option<String>,
}

impl Snapshot {
    /// Understands a file's bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, SnapshotError> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(SnapshotError::TooLarge);
        }
        let header: Header = parse(bytes)?;
        match header.version {
            None => Err(SnapshotError::NoVersion),
            Some(VERSION) => parse(bytes).map_err(|error| error.of(header.exitpool)),
            Some(newer) if newer > VERSION => Err(SnapshotError::Newer(newer)),
            Some(older) => Err(SnapshotError::Older(older)),
        }
    }

    /// Takes the secrets out, and what no plan depends on.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        self.observed.strangers.clear();
        self.observed.guard_author = None;
        for instance in self.observed.instances.values_mut() {
            if let Observation::Present(control) = &mut instance.control {
                let seen = Arc::make_mut(control);
                *seen = redacted(std::mem::take(seen));
            }
        }
        self
    }

    /// Plans for the host as it was.
    pub fn plan(&self, desired: &Desired) -> Plan {
        let layout = Layout {
            runtime_dir: self.host.runtime_dir.clone(),
            state_dir: self.host.state_dir.clone(),
            torrc_defaults: None,
        };
        let (suspended, avoid, turns) = (self.suspended.clone(), self.avoid.clone(), self.turns.clone());
        let mandate = Mandate { suspended, avoid, turns, ..Mandate::default() };
        let panel_port = self.host.panel_port;
        let wish = Wish { desired, applied: &self.applied, layout: &layout, panel_port, mandate: &mandate };
        let strangers = self.strangers(desired);
        plan(&wish, &Observed { strangers, ..self.observed.clone() })
    }

    /// Who listens where the nodes of a wish are to listen.
    fn strangers(&self, desired: &Desired) -> BTreeMap<SocketAddr, Stranger> {
        let ours = |address: &SocketAddr| {
            self.observed.instances.values().flat_map(Instance::listeners).any(|it| it == *address)
        };
        let wanted = desired.pools.iter().flat_map(|pool| pool.nodes()).map(|node| node.socks);
        let found = wanted.filter(|wanted| !ours(wanted)).filter_map(|wanted| {
            let stranger = self.listeners.iter().find(|stranger| overlap(wanted, stranger.listens_on))?;
            Some((wanted, stranger.clone()))
        });
        found.collect()
    }

    /// The schema of what is written.
    pub fn schema() -> Schema {
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Self>()
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, SnapshotError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        refuse(path, error.into_inner())
    })?;
    json.end().map_err(|source| refuse(".".to_owned(), source))?;
    Ok(value)
}

fn refuse(path: String, source: serde_json::Error) -> SnapshotError {
    if source.is_eof() { SnapshotError::CutOff } else { SnapshotError::Other { path, source } }
}

fn redacted(control: Control) -> Control {
    let conceal = |(name, values): (String, Values)| {
        let values = digest::conceal(&name, values.to_vec()).into();
        (name, values)
    };
    Control {
        options: RunningOptions(control.options.0.into_iter().map(conceal).collect()),
        bootstrap: Bootstrap { warning: None, ..control.bootstrap },
        exit: None,
        latency_ms: None,
        ..control
    }
}
