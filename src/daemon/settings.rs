//! The daemon's own start-up options. They are never read from the repository they protect.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::source::settings::SourceSettings;
pub use crate::status::http::tls::Files;
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
    pub listen: Listen,
    /// How it is served there.
    pub page: PageSettings,
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
        self.listen.panel_port()
    }

    /// Whether others than this host could reach the page, and it is served to them without TLS.
    pub fn page_in_the_clear(&self) -> bool {
        self.panel_port().is_some() && self.page.tls.is_none()
    }
}

/// Where the page listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// At an address.
    Address(SocketAddr),
    /// At a socket in the file system.
    Path(PathBuf),
}

/// How the page is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSettings {
    /// The certificate and its key; `None` means in the clear.
    pub tls: Option<Files>,
    /// The mode of a socket in the file system.
    pub mode: u32,
}

impl Default for PageSettings {
    fn default() -> Self {
        Self { tls: None, mode: 0o660 }
    }
}

impl Listen {
    /// The port, where others than this host could reach it.
    pub fn panel_port(&self) -> Option<u16> {
        match self {
            Self::Address(address) if !address.ip().is_loopback() => Some(address.port()),
            _ => None,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Path(path.into())),
            Some(_) => Err("the path of a socket begins with `/`".to_owned()),
            None => text.parse().map(Self::Address).map_err(|_| {
                "it is no address: write it as in `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/exitpool/page.sock`"
                    .to_owned()
            }),
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Path(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
