//! Starting, stopping and removing instances, each under its lock.

use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;

use super::super::cache;
use super::super::files::{self, file_error};
use super::super::layout::InstancePaths;
use super::super::process::{self, Launch, start_time};
use super::super::{InstanceName, TorError};
use super::{Session, TorDriver};
use crate::observe::Process;

/// The longest that a started tor may take until its control socket answers.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How often a tor that is starting is asked.
const START_STEP: Duration = Duration::from_millis(50);

/// The longest that one such question may take.
const QUESTION_PATIENCE: Duration = Duration::from_secs(2);

/// How long each way to end a tor may take before the next: the control socket, SIGINT, SIGKILL.
const HALT_PATIENCE: Duration = Duration::from_secs(2);
const INTERRUPT_PATIENCE: Duration = Duration::from_secs(3);
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// With which directory cache an instance starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    /// With its own, or where that is of no use, with a copy of another instance's.
    Seeded,
    /// With none.
    Fresh,
}

pub(super) async fn start(driver: &TorDriver, name: &InstanceName, torrc: &str, with: Cache) -> Result<(), TorError> {
    let program = driver.program.find().await?;
    let _lock = files::lock(&driver.layout, name).await?;
    let paths = driver.paths(name);
    let running = driver.processes_of(name).await?;
    if is_started(driver, name, &running, torrc).await {
        return Ok(());
    }
    // Before the old one ends: where tor refuses the new torrc, the node goes on with the old one.
    check(driver, name, &paths, torrc).await?;
    end_all(driver, name, &running).await?;
    files::write_atomically(&paths.torrc(), torrc)?;
    match with {
        Cache::Seeded => seed(driver, name, &paths),
        Cache::Fresh => cache::clear(&paths.state)?,
    }
    // What an earlier tor left would be taken for what this one says.
    files::set_log_aside(&paths)?;
    [paths.control(), paths.cookie()].iter().try_for_each(|path| files::remove_file(path))?;
    let launch = Launch {
        program: program.path.clone().into(),
        defaults: driver.defaults_path().to_owned(),
        torrc: paths.torrc(),
        output: files::output_file(&paths.out())?,
    };
    let pid =
        process::start(launch).map_err(file_error("run setsid setpriv (util-linux) with", program.path.as_ref()))?;
    wait_for_start(driver, name, pid).await
}

/// Whether an earlier start has already done what this one is for.
async fn is_started(driver: &TorDriver, name: &InstanceName, running: &[Process], torrc: &str) -> bool {
    let written = std::fs::read_to_string(driver.paths(name).torrc()).unwrap_or_default();
    let [only] = running else { return false };
    match driver.session(name, only) {
        Ok(Some(session)) if written == torrc => answers(&session).await,
        _ => false,
    }
}

/// Lets tor check a torrc, unless it is the one in place: that one was checked before it was put there.
async fn check(driver: &TorDriver, name: &InstanceName, paths: &InstancePaths, torrc: &str) -> Result<(), TorError> {
    files::prepare(&driver.layout, paths)?;
    if std::fs::read_to_string(paths.torrc()).is_ok_and(|written| written == torrc) {
        return Ok(());
    }
    let candidate = paths.runtime.join("torrc.new");
    files::write_atomically(&candidate, torrc)?;
    let verified = driver.program.verify(name, &candidate, driver.defaults_path()).await;
    files::remove_file(&candidate)?;
    verified
}

/// Gives a new instance the directory cache of one that is up already: it bootstraps at once, and the Tor network serves
/// one download instead of a hundred. Without it tor downloads everything by itself, so no error is one.
fn seed(driver: &TorDriver, name: &InstanceName, paths: &InstancePaths) {
    let up = |name: &InstanceName| driver.sessions().get(name).is_some_and(|session| session.has_bootstrapped());
    match cache::seed(&driver.layout.state_root(), &paths.state, up, Timestamp::now()) {
        Ok(Some(sibling)) => tracing::debug!(instance = %name, from = %sibling, "the directory cache was copied"),
        Ok(None) => {}
        Err(error) => tracing::info!(instance = %name, %error, "the directory cache of a sibling cannot be copied"),
    }
}

/// Waits until the control socket of a started tor answers; one that never does is ended.
async fn wait_for_start(driver: &TorDriver, name: &InstanceName, pid: u32) -> Result<(), TorError> {
    let died = || TorError::Died { instance: name.clone(), reason: files::last_warnings(&driver.paths(name)) };
    let process = Process { pid, started: start_time(pid).ok_or_else(died)? };
    let session = driver.session(name, &process)?.ok_or_else(died)?;
    let ready = async {
        while !answers(&session).await {
            tokio::time::sleep(START_STEP).await;
        }
    };
    let outcome = tokio::select! {
        () = ready => return Ok(()),
        () = session.watched.ended() => Err(died()),
        () = tokio::time::sleep(START_PATIENCE) => Err(TorError::Deadline {
            instance: name.clone(),
            action: "open its control socket",
            seconds: START_PATIENCE.as_secs(),
        }),
    };
    end_all(driver, name, &[process]).await?;
    outcome
}

/// Whether the control socket answers, and for this process.
async fn answers(session: &Session) -> bool {
    let reply = session.control.ask("GETINFO process/pid".to_owned(), QUESTION_PATIENCE).await;
    let expected = format!("process/pid={}", session.watched.process.pid);
    reply.is_ok_and(|reply| reply.lines.iter().any(|line| line.text == expected))
}

pub(super) async fn write_torrc(driver: &TorDriver, name: &InstanceName, torrc: &str) -> Result<(), TorError> {
    let _lock = files::lock(&driver.layout, name).await?;
    let paths = driver.paths(name);
    check(driver, name, &paths, torrc).await?;
    files::write_atomically(&paths.torrc(), torrc)
}

pub(super) async fn stop(driver: &TorDriver, name: &InstanceName) -> Result<(), TorError> {
    let _lock = files::lock(&driver.layout, name).await?;
    end_all(driver, name, &driver.processes_of(name).await?).await
}

pub(super) async fn destroy(driver: &TorDriver, name: &InstanceName) -> Result<(), TorError> {
    let _lock = files::lock(&driver.layout, name).await?;
    end_all(driver, name, &driver.processes_of(name).await?).await?;
    let paths = driver.paths(name);
    [&paths.runtime, &paths.state].into_iter().try_for_each(|path| files::remove_tree(path))?;
    files::remove_file(&paths.lock)
}

/// Ends processes of an instance and waits until they are dead.
async fn end_all(driver: &TorDriver, name: &InstanceName, processes: &[Process]) -> Result<(), TorError> {
    for process in processes {
        if let Some(session) = driver.session(name, process)? {
            end(name, &session).await?;
        }
    }
    driver.sessions().remove(name);
    Ok(())
}

/// Ends a process: gently at first, in the end by force.
///
/// SIGTERM is not among the ways: under `Sandbox 1` it can be lost.
async fn end(name: &InstanceName, session: &Session) -> Result<(), TorError> {
    let watched = &session.watched;
    let failed = |error: std::io::Error| TorError::Control { instance: name.clone(), reason: error.to_string() };
    // A tor that hangs does not answer; then the signals are left.
    let asked = session.control.ask("SIGNAL HALT".to_owned(), QUESTION_PATIENCE).await;
    if asked.is_ok() && watched.ends_within(HALT_PATIENCE).await {
        return Ok(());
    }
    for (signal, patience) in [(Signal::INT, INTERRUPT_PATIENCE), (Signal::KILL, KILL_PATIENCE)] {
        watched.signal(signal).map_err(failed)?;
        if watched.ends_within(patience).await {
            return Ok(());
        }
    }
    Err(TorError::Deadline { instance: name.clone(), action: "end after SIGKILL", seconds: KILL_PATIENCE.as_secs() })
}
