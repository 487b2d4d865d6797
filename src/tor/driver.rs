//! The tor driver: real processes behind [`Tor`].
//!
//! # Flow
//!
//! Nothing is remembered that decides anything: each look reads the directories, the process table and the control
//! sockets again. What is kept are connections, one per process, and the relays of the newest consensus.
//!
//! # Guarantees
//!
//! - A process is adopted when its user, program, torrc path and control socket agree; there is no pid of ours to lose.
//! - One instance that hangs costs a look its deadline and makes that instance unknown, and no other.
//! - Whoever starts or stops an instance holds its lock file and looks at the process table under it, so two daemons
//!   never start two tors for one instance.

mod life;
mod look;
mod relays;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::control::{Address, ControlClient};
use super::files::file_error;
use super::geoip::GeoipFiles;
use super::layout::{InstancePaths, Layout};
use super::options::{OptionChange, RunningOptions, set_command};
use super::process::{self, Found, Watched};
use super::program::Program;
use super::{InstanceName, Tor, TorError, TorObservation};
use crate::observe::Process;

/// The longest that tor may take to carry out a change of options.
const SET_PATIENCE: Duration = Duration::from_secs(10);

/// What the driver is told at its start.
#[derive(Debug, Clone)]
pub struct TorSettings {
    /// The tor program: a path, or a name that is looked for in `PATH`.
    pub tor: PathBuf,
    /// Where the files of the instances are.
    pub layout: Layout,
    /// tor's GeoIP file for IPv4 addresses.
    pub geoip: PathBuf,
    /// tor's GeoIP file for IPv6 addresses.
    pub geoip6: PathBuf,
}

/// Keeps real tor processes.
#[derive(Debug)]
pub struct TorDriver {
    layout: Layout,
    program: Program,
    geoip: GeoipFiles,
    wake: Arc<Notify>,
    sessions: Mutex<BTreeMap<InstanceName, Arc<Session>>>,
    relays: tokio::sync::Mutex<relays::Known>,
}

/// What is held of one process while it lives.
#[derive(Debug)]
struct Session {
    watched: Watched,
    control: ControlClient,
    _watcher: AbortOnDropHandle<()>,
}

impl TorDriver {
    /// Makes a driver; nothing is touched before it is asked.
    pub fn new(settings: TorSettings) -> Self {
        Self {
            layout: settings.layout,
            program: Program::new(settings.tor),
            geoip: GeoipFiles { ipv4: settings.geoip, ipv6: settings.geoip6 },
            wake: Arc::new(Notify::new()),
            sessions: Mutex::default(),
            relays: tokio::sync::Mutex::default(),
        }
    }

    fn paths(&self, name: &InstanceName) -> InstancePaths {
        self.layout.instance(name)
    }

    /// The options beneath every torrc; without a file of its own, none, and never those of the distribution.
    fn defaults_path(&self) -> &Path {
        self.layout.torrc_defaults.as_deref().unwrap_or(Path::new("/dev/null"))
    }

    fn defaults(&self) -> Result<RunningOptions, TorError> {
        let path = self.defaults_path();
        let text = std::fs::read_to_string(path).map_err(file_error("read", path))?;
        Ok(RunningOptions::parse(&text))
    }

    /// Finds the processes of all instances.
    async fn processes(&self) -> Result<Found, TorError> {
        let (layout, names) = (self.layout.clone(), self.program.names());
        let found = tokio::task::spawn_blocking(move || process::find(&layout, &names)).await;
        found.unwrap_or_else(|ended| Err(std::io::Error::other(ended))).map_err(file_error("read", Path::new("/proc")))
    }

    /// Finds the processes of one instance.
    async fn processes_of(&self, name: &InstanceName) -> Result<Vec<Process>, TorError> {
        Ok(self.processes().await?.remove(name).unwrap_or_default())
    }

    /// Takes the session of a process, or begins one; `None` when the process is gone.
    fn session(&self, name: &InstanceName, process: &Process) -> Result<Option<Arc<Session>>, TorError> {
        let mut sessions = self.sessions();
        if let Some(session) = sessions.get(name).filter(|session| session.watched.process == *process) {
            return Ok(Some(Arc::clone(session)));
        }
        sessions.remove(name);
        let opened = Watched::open(process.clone());
        let Some(watched) = opened.map_err(|error| self.control_error(name, &error))? else { return Ok(None) };
        let session = Arc::new(self.begin(name, watched));
        sessions.insert(name.clone(), Arc::clone(&session));
        Ok(Some(session))
    }

    fn begin(&self, name: &InstanceName, watched: Watched) -> Session {
        let paths = self.paths(name);
        let address = Address { socket: paths.control(), cookie: paths.cookie() };
        let (death, wake) = (watched.clone(), Arc::clone(&self.wake));
        let watcher = tokio::spawn(async move {
            death.ended().await;
            wake.notify_one();
        });
        let control = ControlClient::start(address, Arc::clone(&self.wake));
        Session { watched, control, _watcher: AbortOnDropHandle::new(watcher) }
    }

    /// The session of the one process of an instance.
    async fn running(&self, name: &InstanceName) -> Result<Arc<Session>, TorError> {
        let gone = || self.control_error(name, &"it is not running");
        let processes = self.processes_of(name).await?;
        self.session(name, processes.first().ok_or_else(gone)?)?.ok_or_else(gone)
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<InstanceName, Arc<Session>>> {
        // The map is whole between any two statements, so a panic elsewhere spoils nothing.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control_error(&self, name: &InstanceName, reason: &dyn std::fmt::Display) -> TorError {
        TorError::Control { instance: name.clone(), reason: reason.to_string() }
    }
}

#[async_trait]
impl Tor for TorDriver {
    async fn observe(&self) -> TorObservation {
        look::observe(self).await
    }

    async fn start(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError> {
        life::start(self, name, torrc).await
    }

    async fn set_options(&self, name: &InstanceName, changes: &[OptionChange]) -> Result<(), TorError> {
        if changes.is_empty() {
            return Ok(());
        }
        let command = set_command(changes, &self.defaults()?);
        let session = self.running(name).await?;
        let reply = session.control.ask(command, SET_PATIENCE).await;
        let reply = reply.map_err(|error| self.control_error(name, &error))?;
        if reply.is_ok() {
            return Ok(());
        }
        Err(TorError::Refused { instance: name.clone(), command: "RESETCONF", reply: reply.words() })
    }

    async fn write_torrc(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError> {
        life::write_torrc(self, name, torrc).await
    }

    async fn stop(&self, name: &InstanceName) -> Result<(), TorError> {
        life::stop(self, name).await
    }

    async fn destroy(&self, name: &InstanceName) -> Result<(), TorError> {
        life::destroy(self, name).await
    }

    async fn tend(&self) {
        let names: Vec<InstanceName> = self.sessions().keys().cloned().collect();
        for name in names {
            if let Err(error) = super::files::trim_log(&self.paths(&name).log()) {
                tracing::warn!(instance = %name, %error, "cannot cut the log");
            }
        }
    }

    async fn changed(&self) {
        self.wake.notified().await;
    }
}
