//! The snapshot of the world: what a pass plans against.
//!
//! The types here are plain data; [`collect`] asks the drivers and fills them in. Nothing here decides anything.
//! Every object is absent, present or unknown, and unknown is never taken for absent: what could not be observed is
//! neither destroyed nor replaced nor started a second time.

pub mod collect;
pub mod listeners;
pub mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::{self, Fingerprint, InstanceName};
use crate::firewall::model::Guard;
use crate::tor::options::digest::TorrcDigest;
use crate::tor::options::{EXIT_NODES, RunningOptions};
pub use crate::tor::relays::CircuitLimits;
use crate::tor::relays::Relays;

/// What is known about one object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Observation<T> {
    /// It is not there.
    #[default]
    Absent,
    /// It is there, like this.
    Present(T),
    /// It could not be observed, for this reason.
    Unknown(String),
}

impl<T> Observation<T> {
    /// The object, where it is present.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            _ => None,
        }
    }

    /// Why the object could not be observed, where that is so.
    pub fn unknown(&self) -> Option<&str> {
        match self {
            Self::Unknown(why) => Some(why),
            _ => None,
        }
    }

    /// Whether it is certain that the object is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A snapshot of the world.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Observed {
    /// The instances that are ours: those with a directory of ours, and those with a process that runs in one.
    pub instances: BTreeMap<InstanceName, Instance>,
    /// The relays of the consensus, from a bootstrapped instance; absent while there is none.
    pub relays: Observation<Arc<Relays>>,
    /// The guard, as read back; absent where the driver has nothing of ours.
    pub guard: Observation<ObservedGuard>,
    /// Who changed the guard last, where it is not as wished and the kernel told; nothing is decided on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard_author: Option<Author>,
    /// Listening TCP sockets of others, at the addresses that nodes want.
    pub strangers: BTreeMap<SocketAddr, Stranger>,
    /// Who of outside uses this host, and must not be locked out unseen.
    pub visitors: BTreeSet<Visitor>,
    /// The tor program.
    pub tor: Observation<TorProgram>,
}

/// An instance of ours, as observed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Instance {
    /// Its torrc on disk; absent when there is no file.
    pub torrc: Observation<TorrcDigest>,
    /// Its process.
    pub process: Observation<Process>,
    /// What its control socket says; absent while there is no process. It is shared with the looks that saw the same.
    pub control: Observation<Arc<Control>>,
    /// Whether it has no process and a directory cache that is valid still: it starts without a download.
    pub has_cache: bool,
    /// Whether its process is there for certain, and its control socket gives no answer: it takes a question and says
    /// nothing, or the socket is gone, which a tor does not make anew.
    pub hangs: bool,
}

/// A tor process of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// When it started, in clock ticks after boot: with the pid it names one process for ever.
    pub started: u64,
}

/// What an instance says of itself over its control socket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// tor's version, `0.4.9.11`.
    pub version: String,
    /// The options that differ from tor's defaults.
    pub options: RunningOptions,
    /// How far it has come.
    pub bootstrap: Bootstrap,
    /// Whether it has built a circuit that can carry a stream.
    pub circuit_established: bool,
    /// Whether tor believes that the network is reachable; `None` until it knows.
    pub network_live: Option<bool>,
    /// The addresses on which SOCKS listens.
    pub socks_listeners: BTreeSet<SocketAddr>,
    /// The exit that new connections leave from; `None` until a circuit is built, and again while the circuits of before
    /// a rotation are the only ones.
    pub exit: Option<ObservedExit>,
    /// How long its latest circuit took to build, in milliseconds.
    pub latency_ms: Option<u32>,
    /// How many connections it carries now.
    pub connections: usize,
    /// What became of the new circuits that it was told to use.
    pub renewal: Renewal,
    /// The guard relays that its circuits begin at, as of the latest look that found any.
    pub guard_relays: BTreeSet<GuardRelay>,
    /// How often it was asked to connect to an address, and not to a name.
    pub unsafe_socks: UnsafeSocks,
    /// What became of the circuits that it has begun.
    pub begun: Begun,
}

/// What became of the circuits for exits that an instance has begun, since its `torrc` was changed last, or else since its
/// control socket is listened to.
///
/// tor goes on to say that it can build circuits for as long as its directory would do, while none is built any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Begun {
    /// How many were built.
    pub built: u64,
    /// How many have failed since the last one that was built.
    pub failed: u64,
}

/// A relay that circuits begin at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardRelay {
    /// The relay, or the bridge.
    pub fingerprint: Fingerprint,
    /// The name that its operator gave it; empty where none is known.
    pub nickname: String,
}

/// How often an instance was asked to connect to an address, and not to a name, since its control socket is listened to.
/// Which addresses these were is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UnsafeSocks {
    /// How often.
    pub count: u64,
    /// When that was the last time, RFC 3339.
    #[schemars(with = "Option<String>")]
    pub last: Option<Timestamp>,
}

/// What became of the new circuits that an instance was told to use, since its control socket is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Renewal {
    /// How often it has done so.
    pub done: u64,
    /// How far the latest time has come.
    pub stage: RenewalStage,
}

/// How far an instance has come that was told to use new circuits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RenewalStage {
    /// Nothing is under way.
    #[default]
    Idle,
    /// tor was told to and has not said that it does: it puts off what comes within 10 s of the last time.
    Asked,
    /// tor has said that it does; idle circuits from before are left to be closed.
    Said,
}

/// How far a tor process has bootstrapped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bootstrap {
    /// In percent; 100 is done.
    pub progress: u8,
    /// tor's own sentence for it.
    pub summary: String,
    /// What tor asks to be warned of, where it does.
    pub warning: Option<String>,
    /// Whether tor has a problem of which it says that it can be ignored.
    pub ignorable: bool,
}

/// An exit, as an instance uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedExit {
    /// The relay.
    pub fingerprint: Fingerprint,
    /// Whether a stream runs through it now; otherwise it is the newest idle circuit's, a good guess.
    pub confirmed: bool,
}

/// The guard as read back from the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObservedGuard {
    /// It is exactly this guard.
    Exact(Guard),
    /// It is there and differs from every guard we would make, in these ways.
    Altered(Vec<String>),
}

/// The program that changed something, as the kernel told it when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Author {
    /// Its process id then; the process may have ended since.
    pub pid: Option<u32>,
    /// The name of the process: that of the tool which spoke to the kernel, as `nft`.
    pub name: Option<String>,
    /// When that was heard of, RFC 3339.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// A listening socket that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stranger {
    /// The address it listens on, which may be a wildcard.
    pub listens_on: SocketAddr,
    /// Its process id and name, where they can be seen.
    pub process: Option<(u32, String)>,
}

/// Somebody of outside who uses this host now, or did so lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Visitor {
    /// Where they come from.
    pub address: IpAddr,
    /// What they use.
    pub door: Door,
}

/// What a visitor uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// SSH, at this port, now.
    Ssh(u16),
    /// The status page, within the last hour.
    Panel,
}

/// The tor program on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TorProgram {
    /// Where it stands.
    pub path: String,
    /// Its version, `0.4.9.11`.
    pub version: String,
}

impl Instance {
    /// Why the instance as a whole cannot be observed, where that is so.
    pub fn unknown(&self) -> Option<&str> {
        self.process.unknown().or(self.torrc.unknown()).or(self.control.unknown())
    }

    /// Whether it serves all its nodes: bootstrapped, listening, and able to build circuits.
    pub fn serves(&self, wanted: &desired::Instance) -> bool {
        self.process.present().is_some()
            && self.control.present().is_some_and(|control| control.can_serve() && control.listens_for(wanted))
    }

    /// Whether it serves whoever comes to an address, or to a part of it, as one address of a wildcard is.
    pub fn serves_around(&self, address: SocketAddr) -> bool {
        let can_serve = self.control.present().is_some_and(|control| control.can_serve());
        self.process.present().is_some() && can_serve && self.listeners().any(|at| overlap(at, address))
    }

    /// The addresses on which its SOCKS listens.
    pub fn listeners(&self) -> impl Iterator<Item = SocketAddr> {
        self.control.present().into_iter().flat_map(|control| control.socks_listeners.iter().copied())
    }
}

impl Bootstrap {
    /// Whether nothing of it is left to do.
    pub fn is_done(&self) -> bool {
        self.progress == 100
    }
}

impl Control {
    /// Whether it could serve whoever comes: bootstrapped, and able to build circuits.
    pub fn can_serve(&self) -> bool {
        self.bootstrap.is_done() && self.circuit_established
    }

    /// The one exit that it is told to use, where it is one.
    pub fn only_exit(&self) -> Option<Fingerprint> {
        let [only] = self.options.values(EXIT_NODES) else { return None };
        only.parse().ok()
    }

    /// Whether it serves whoever comes to an address.
    pub fn serves_at(&self, address: SocketAddr) -> bool {
        self.can_serve() && self.socks_listeners.contains(&address)
    }

    /// Whether SOCKS listens at the addresses of all its nodes.
    pub fn listens_for(&self, wanted: &desired::Instance) -> bool {
        wanted.nodes.iter().all(|node| self.socks_listeners.contains(&node.socks))
    }
}

impl Visitor {
    /// Reads what sshd says to a session's programs: `SSH_CONNECTION`, or the shorter `SSH_CLIENT`. The first word is
    /// the client's address, the last one the port of the server.
    pub fn of_ssh(variable: &str) -> Option<Self> {
        let words: Vec<&str> = variable.split_ascii_whitespace().collect();
        let address: IpAddr = words.first()?.parse().ok()?;
        let port = words.get(2..)?.last()?.parse().ok()?;
        Some(Self { address: address.to_canonical(), door: Door::Ssh(port) })
    }
}

/// Whether two sockets cannot listen at the same time: one port, and one address or a wildcard.
///
/// A wildcard of IPv6 usually takes the IPv4 addresses as well. Whether it does is not in the kernel's tables.
pub fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let covers = |wild: IpAddr, other: IpAddr| {
        wild.is_unspecified() && (wild.is_ipv6() || other.is_ipv4() || other == IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    };
    left.port() == right.port()
        && (left.ip() == right.ip() || covers(left.ip(), right.ip()) || covers(right.ip(), left.ip()))
}

impl Author {
    /// Says who changed something, and when, in words that go behind a sentence.
    pub fn told(author: Option<&Self>) -> String {
        author.map_or_else(
            || "by whom it was changed is not known".to_owned(),
            |author| format!("changed by {author} at {:.0}", author.at),
        )
    }
}

impl fmt::Display for GuardRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nickname.as_str() {
            "" => write!(f, "{}", self.fingerprint),
            nickname => write!(f, "{nickname} ({})", self.fingerprint),
        }
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or("a program without a name"))?;
        self.pid.map_or(Ok(()), |pid| write!(f, " (pid {pid})"))
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((pid, name)) => write!(f, "{name} (pid {pid}, listening on {})", self.listens_on),
            None => write!(f, "another program (listening on {})", self.listens_on),
        }
    }
}
