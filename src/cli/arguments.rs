//! Arguments that several verbs share. Precedence: flag, environment, default.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::daemon::settings::{Listen, PageSettings, Settings};
use crate::desired::Revision;
use crate::source::settings::SourceSettings;
use crate::source::{Source, SourceSpec};

mod git;
mod page;

pub(super) use git::commit;
pub(super) use page::Page;

/// Where the desired state comes from.
#[derive(Debug, Clone, Args)]
pub struct SourceArguments {
    /// The desired-state file, or the Git repository that has it: a path or a URL
    #[arg(long, env = "EXITPOOL_SOURCE", value_name = "PATH|URL")]
    pub source: String,
    /// The branch to follow, where the source is a repository
    #[arg(long, env = "EXITPOOL_BRANCH", default_value = "main")]
    pub branch: String,
    /// The file within the repository
    #[arg(long, env = "EXITPOOL_PATH", default_value = "pool.yaml", value_name = "PATH")]
    pub path: String,
    #[command(flatten)]
    git: git::GitArguments,
}

/// Where this host keeps things.
#[derive(Debug, Clone, Args)]
pub struct Host {
    /// What outlives a restart of the host
    #[arg(long, env = "EXITPOOL_STATE_DIR", default_value = "/var/lib/exitpool", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Sockets and other things that do not
    #[arg(long, env = "EXITPOOL_RUNTIME_DIR", default_value = "/run/exitpool", value_name = "DIR")]
    pub runtime_dir: PathBuf,
    /// Where the status page listens: an address with a port, or `unix:` and a path for a proxy on this host
    #[arg(long, env = "EXITPOOL_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS|unix:PATH")]
    pub listen: Listen,
    /// The tor program
    #[arg(long, env = "EXITPOOL_TOR", default_value = "tor", value_name = "PROGRAM")]
    pub tor: PathBuf,
    /// Handed to every tor as --defaults-torrc: bridges, a private network
    #[arg(long, env = "EXITPOOL_TORRC_DEFAULTS", value_name = "FILE")]
    pub torrc_defaults: Option<PathBuf>,
    /// The countries of IPv4 addresses, in tor's format
    #[arg(long, env = "EXITPOOL_GEOIP", default_value = "/usr/share/tor/geoip", value_name = "FILE")]
    pub geoip: PathBuf,
    /// The countries of IPv6 addresses, in tor's format
    #[arg(long, env = "EXITPOOL_GEOIP6", default_value = "/usr/share/tor/geoip6", value_name = "FILE")]
    pub geoip6: PathBuf,
}

/// Where the daemon is found.
#[derive(Debug, Clone, Args)]
pub struct Daemon {
    /// The daemon's runtime directory
    #[arg(long, env = "EXITPOOL_RUNTIME_DIR", default_value = "/run/exitpool", value_name = "DIR")]
    pub runtime_dir: PathBuf,
}

/// Where the daemon keeps what outlives a restart.
#[derive(Debug, Clone, Args)]
pub struct State {
    /// What outlives a restart of the host
    #[arg(long, env = "EXITPOOL_STATE_DIR", default_value = "/var/lib/exitpool", value_name = "DIR")]
    pub state_dir: PathBuf,
}

/// How data is printed.
#[derive(Debug, Clone, Args)]
pub struct Output {
    /// How data is printed
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub output: Format,
}

/// A format of printed data, or of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs: a documented schema
    Json,
}

/// A revision as an operator names it: in full, or all digits of its commit.
pub fn revision(text: &str) -> Result<String, String> {
    let whole = text.parse::<Revision>().is_ok() || commit(text).is_ok();
    whole.then(|| text.to_owned()).ok_or_else(|| {
        format!("`{text}` is no revision: write it as `exitpool status` does, or the 40 digits of the commit")
    })
}

impl SourceArguments {
    /// Says where the desired state comes from, and on which conditions.
    fn settings(&self, state_dir: PathBuf) -> anyhow::Result<SourceSettings> {
        let spec = SourceSpec::from_options(&self.source, &self.branch, &self.path).context("cannot use --source")?;
        let git = &self.git;
        Ok(SourceSettings { spec, state_dir, transport: git.transport(), trust: git.trust()? })
    }
}

impl Host {
    /// The daemon's settings, with the source as its arguments say.
    pub fn following(&self, source: &SourceArguments) -> anyhow::Result<Settings> {
        Ok(self.settings(source.settings(self.state_dir.clone())?))
    }

    /// The daemon's settings.
    pub fn settings(&self, source: SourceSettings) -> Settings {
        let host = self.clone();
        Settings {
            source,
            state_dir: host.state_dir,
            runtime_dir: host.runtime_dir,
            listen: host.listen,
            page: PageSettings::default(),
            tor: host.tor,
            torrc_defaults: host.torrc_defaults,
            geoip: host.geoip,
            geoip6: host.geoip6,
        }
    }

    /// Opens the source.
    pub fn open(&self, source: &SourceArguments) -> anyhow::Result<Source> {
        Ok(Source::with(source.settings(self.state_dir.clone())?))
    }
}
