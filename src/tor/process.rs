//! The tor processes: finding ours in the process table, starting one, waiting for its end, ending it.
//!
//! # Guarantees
//!
//! - A process is ours when it is a tor, runs as our user and was told to read a torrc of ours. Its pid and its start
//!   time name it for ever; every signal goes through a pidfd, so it never reaches a process that got the pid later.
//! - A process that we start is in a session of its own, without our capabilities and our environment, and writes into
//!   files, not pipes: it lives on when we end.

mod table;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;

use super::program::path_variable;
use crate::observe::Process;
pub use table::{Found, find, has_capability_to_bound, start_time};

/// A process that is watched by its pidfd.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its name for ever.
    pub process: Process,
    pidfd: Arc<AsyncFd<OwnedFd>>,
}

/// How a tor is started.
#[derive(Debug)]
pub struct Launch {
    /// The tor program.
    pub program: PathBuf,
    /// The options beneath its torrc.
    pub defaults: PathBuf,
    /// Its torrc.
    pub torrc: PathBuf,
    /// Where its standard output and error go.
    pub output: File,
}

impl Watched {
    /// Opens a process; `None` when it is gone.
    pub fn open(process: Process) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The pid could have been given to another process before the pidfd was open.
        if start_time(process.pid) != Some(process.started) {
            return Ok(None);
        }
        Ok(Some(Self { process, pidfd: Arc::new(register(pidfd)?) }))
    }

    /// Waits until the process is dead.
    pub async fn ended(&self) {
        // A pidfd is readable from then on; an error of the runtime's own is its end as well.
        let _ = self.pidfd.readable().await;
    }

    /// Waits until the process is dead; says whether it was in time.
    pub async fn ends_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.ended()).await.is_ok()
    }

    /// Sends a signal; a process that is dead already is fine.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Hands a pidfd to the runtime.
#[expect(deprecated, reason = "what replaces it is unsafe; an OwnedFd is neither closed nor replaced while it is held")]
fn register(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// Starts a tor that outlives us, and gives its pid. It is reaped when it ends before us.
pub fn start(launch: Launch) -> io::Result<u32> {
    let output = launch.output.try_clone()?;
    let mut command = Command::new("setsid");
    command.arg("setpriv").args(["--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"]);
    if has_capability_to_bound() {
        command.arg("--bounding-set=-all");
    }
    command.arg("--").arg(launch.program).arg("--defaults-torrc").arg(launch.defaults).arg("-f").arg(launch.torrc);
    command.env_clear().envs(path_variable()).current_dir(Path::new("/"));
    command.stdin(Stdio::null()).stdout(Stdio::from(output)).stderr(Stdio::from(launch.output));
    let mut child = command.spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
    tokio::spawn(async move {
        // How it ended is in its log; here it is only taken off the process table.
        let _ = child.wait().await;
    });
    Ok(pid)
}
