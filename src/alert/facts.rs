//! What alerts are judged by: the published status, and what it does not say of the host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::status::Status;

/// What alerts are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The published status.
    pub status: &'a Status,
    /// What it does not say.
    pub host: &'a HostFacts,
}

/// What the status does not say of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// The certificates that are looked after.
    pub certificates: Vec<Certificate>,
    /// How many tokens of each client were refused lately.
    pub refusals: BTreeMap<IpAddr, usize>,
    /// How much of the state directory's disk is used; `None` where that is not known.
    pub state_directory: Option<Disk>,
    /// The version of the installed tor; `None` where that is not known.
    pub tor_installed: Option<String>,
    /// The channels whose latest attempt failed, with what went wrong.
    pub failing_channels: Vec<(String, String)>,
}

/// A certificate that is looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its file.
    pub path: PathBuf,
    /// When the first of those in the file runs out, or why nobody knows.
    pub ends: Result<Timestamp, String>,
}

/// A disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// How much of it is used, in percent, of what its user may use.
    pub used_percent: u8,
    /// How much is free, in MiB.
    pub free_mib: u64,
}
