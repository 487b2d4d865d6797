//! The tor driver: real processes behind [`Tor`].
//!
//! # Flow
//!
//! Nothing is remembered that decides anything. What is kept are connections, one per process, the relays of the newest
//! consensus, and what was seen last: of an instance until its control socket or its pidfd has something to say, of the
//! process table until a process of ours has ended or begun. A driver that is told to forget reads everything again.
//!
//! # Guarantees
//!
//! - A process is adopted when its user, program, torrc path and control socket agree; there is no pid of ours to lose.
//! - One instance that hangs costs a look its deadline and makes that instance unknown, and no other.
//! - Whoever starts or stops an instance holds its lock file and looks at the process table under it, so two daemons
//!   never start two tors for one instance.

mod life;
mod line;
mod look;
mod relays;
mod renew;
mod set;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio_util::task::AbortOnDropHandle;

use super::control::{Address, ControlClient};
use super::files::file_error;
use super::geoip::GeoipFiles;
use super::layout::{InstancePaths, Layout};
use super::news::{Ear, News};
use super::options::{OptionChange, RunningOptions};
use super::process::{self, Found, Watched};
use super::program::Program;
use super::{InstanceName, Tor, TorError, TorObservation};
use crate::observe::Process;

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
    ear: Arc<Ear>,
    sessions: Mutex<BTreeMap<InstanceName, Arc<Session>>>,
    relays: tokio::sync::Mutex<relays::Known>,
    table: Table,
}

/// The process table as it was read last.
#[derive(Debug, Default)]
struct Table {
    read: Mutex<Option<Found>>,
    /// Whether a process of ours has begun or ended since.
    is_old: Arc<AtomicBool>,
}

/// What is held of one process while it lives.
#[derive(Debug)]
struct Session {
    watched: Watched,
    control: ControlClient,
    news: News,
    seen: Mutex<Option<look::Seen>>,
    _watcher: AbortOnDropHandle<()>,
}

impl TorDriver {
    /// Makes a driver; nothing is touched before it is asked.
    pub fn new(settings: TorSettings) -> Self {
        Self {
            layout: settings.layout,
            program: Program::new(settings.tor),
            geoip: GeoipFiles { ipv4: settings.geoip, ipv6: settings.geoip6 },
            ear: Arc::default(),
            sessions: Mutex::default(),
            relays: tokio::sync::Mutex::default(),
            table: Table::default(),
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

    /// Finds the processes of all instances, or gives those that were found before where none has begun or ended.
    async fn known_processes(&self) -> Result<Found, TorError> {
        // Before the table is read: what happens meanwhile makes it old again.
        let is_old = self.table.is_old.swap(false, Ordering::SeqCst);
        if let Some(found) = self.table.read().clone().filter(|_| !is_old) {
            return Ok(found);
        }
        let found = self.processes().await;
        *self.table.read() = found.as_ref().ok().cloned();
        found
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
        let news = News::of_one(Arc::clone(&self.ear));
        let (death, told, table) = (watched.clone(), news.clone(), Arc::clone(&self.table.is_old));
        let watcher = tokio::spawn(async move {
            death.ended().await;
            table.store(true, Ordering::SeqCst);
            told.tell();
        });
        let control = ControlClient::start(address, news.clone());
        Session { watched, control, news, seen: Mutex::default(), _watcher: AbortOnDropHandle::new(watcher) }
    }

    /// Makes what was seen of an instance old, because of what we do to it.
    fn doubt(&self, name: &InstanceName) {
        self.table.is_old.store(true, Ordering::SeqCst);
        if let Some(session) = self.sessions().get(name) {
            session.news.doubt();
        }
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

impl Table {
    fn read(&self) -> MutexGuard<'_, Option<Found>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// What was seen last.
    fn seen(&self) -> Option<look::Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it had bootstrapped when it was seen last.
    fn has_bootstrapped(&self) -> bool {
        self.seen().is_some_and(|seen| seen.control.bootstrap.is_done())
    }

    /// Keeps what was seen; `None` where that is not all there is to see.
    fn keep(&self, seen: Option<look::Seen>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

#[async_trait]
impl Tor for TorDriver {
    async fn observe(&self) -> TorObservation {
        look::observe(self).await
    }

    fn forget(&self) {
        self.table.is_old.store(true, Ordering::SeqCst);
        self.sessions().values().for_each(|session| session.news.doubt());
    }

    async fn start(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError> {
        self.doubt(name);
        life::start(self, name, torrc, life::Cache::Seeded).await
    }

    async fn set_options(&self, name: &InstanceName, changes: &[OptionChange]) -> Result<(), TorError> {
        if changes.is_empty() {
            return Ok(());
        }
        set::set_options(self, name, changes).await
    }

    async fn reconnect(&self, name: &InstanceName) -> Result<(), TorError> {
        set::reconnect(self, name).await
    }

    async fn start_afresh(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError> {
        self.doubt(name);
        life::start(self, name, torrc, life::Cache::Fresh).await
    }

    async fn new_circuits(&self, name: &InstanceName) -> Result<(), TorError> {
        renew::new_circuits(self, name).await
    }

    async fn write_torrc(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError> {
        self.doubt(name);
        life::write_torrc(self, name, torrc).await
    }

    async fn stop(&self, name: &InstanceName) -> Result<(), TorError> {
        self.doubt(name);
        life::stop(self, name).await
    }

    async fn destroy(&self, name: &InstanceName) -> Result<(), TorError> {
        self.doubt(name);
        life::destroy(self, name).await
    }

    async fn tend(&self) {
        let names: Vec<InstanceName> = self.sessions().keys().cloned().collect();
        for name in names {
            if let Err(error) = super::files::trim_log(&self.paths(&name)) {
                tracing::warn!(instance = %name, %error, "cannot cut the log");
            }
        }
    }

    async fn changed(&self) {
        self.ear.listen().await;
    }
}
