//! The daemon's own start-up options. They are never read from the repository they protect.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::source::settings::SourceSettings;
use crate::tor::layout::Layout;

/// The daemon's own start-up options.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the desired state comes from, and on which conditions.
    pub source: SourceSettings,
    /// What outlives a restart of the host.
    pub state_dir: PathBuf,
    /// What does not: sockets, torrcs, the lock.
    pub runtime_dir: PathBuf,
    /// Where the status page listens.
    pub listen: SocketAddr,
    /// The tor program.
    pub tor: PathBuf,
    /// Handed to every tor as `--defaults-torrc`.
    pub torrc_defaults: Option<PathBuf>,
    /// The countries of IPv4 addresses, in tor's format.
    pub geoip: PathBuf,
    /// The countries of IPv6 addresses, in tor's format.
    pub geoip6: PathBuf,
}

impl Settings {
    /// Where instances live.
    pub fn layout(&self) -> Layout {
        Layout {
            runtime_dir: self.runtime_dir.clone(),
            state_dir: self.state_dir.clone(),
            torrc_defaults: self.torrc_defaults.clone(),
        }
    }

    /// The status page's port, where others than this host could reach it.
    pub fn panel_port(&self) -> Option<u16> {
        (!self.listen.ip().is_loopback()).then(|| self.listen.port())
    }
}
