//! A pool host on a private Tor network: the network, a Git repository with a desired state, and the real daemon
//! between them. `exitpool demo` shows it, and the tests of this program play on it.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::daemon::socket::{self, Report, Verb};
use crate::desired::names::hex;
use crate::testnet::{self, Progress, Spec, Testnet};

/// The status page's port on the stage.
pub const PANEL_PORT: u16 = 8080;
/// How often a report is asked for while something is waited for.
const POLL: Duration = Duration::from_millis(100);
/// How long a daemon that was told to stop may take.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// A pool host on a private Tor network.
#[derive(Debug)]
pub struct Stage {
    network: Testnet,
    exitpool: PathBuf,
    daemon: Option<Child>,
}

/// Why the stage could not be set, or the play went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The private network.
    #[error(transparent)]
    Network(#[from] testnet::Error),
    /// A file of the stage.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program could not be run.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ended badly.
    #[error("{program} failed: {stderr}")]
    Failed {
        /// The program.
        program: String,
        /// What it wrote on its standard error.
        stderr: String,
    },
    /// The daemon ended by itself.
    #[error("the daemon ended; the end of its log:\n{log}")]
    Ended {
        /// The last lines of its log.
        log: String,
    },
    /// Something did not happen in time.
    #[error("not seen within {seconds} s: {what}; last seen:\n{seen}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was seen instead.
        seen: String,
    },
}

impl Stage {
    /// Starts a network and puts a repository beside it; `document` is the first commit's desired state, in which
    /// `@CLIENT@` stands for the address that clients come from.
    ///
    /// `directory` is empty or not there yet; it is removed in the end.
    pub async fn set(
        spec: Spec,
        directory: &Path,
        document: &str,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Self, StageError> {
        let exitpool = std::env::current_exe().map_err(|source| run_error("exitpool", source))?;
        Self::set_with(exitpool, spec, directory, document, progress).await
    }

    /// The same, with another program than the one that runs.
    pub async fn set_with(
        exitpool: PathBuf,
        spec: Spec,
        directory: &Path,
        document: &str,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Self, StageError> {
        let network = Testnet::start(spec, directory, &exitpool, progress).await?;
        let stage = Self { network, exitpool, daemon: None };
        for place in [stage.repository(), stage.state_dir()] {
            fs::create_dir_all(&place).map_err(|source| StageError::File { path: place, source })?;
        }
        stage.git(&["init", "--quiet", "--initial-branch=main"]).await?;
        stage.commit(document, "The pool as it begins").await?;
        Ok(stage)
    }

    /// The network.
    pub fn network(&self) -> &Testnet {
        &self.network
    }

    /// The network, to have something happen to it.
    pub fn network_mut(&mut self) -> &mut Testnet {
        &mut self.network
    }

    /// The operator's repository.
    pub fn repository(&self) -> PathBuf {
        self.place("repository")
    }

    /// The daemon's state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.place("state")
    }

    /// The daemon's runtime directory.
    pub fn runtime_dir(&self) -> PathBuf {
        self.place("run")
    }

    /// The daemon's log.
    pub fn log(&self) -> PathBuf {
        self.place("daemon.log")
    }

    /// Where the status page is.
    pub fn panel(&self) -> SocketAddr {
        SocketAddr::new(self.network.server_address(), PANEL_PORT)
    }

    /// The address that clients come from.
    pub fn client(&self) -> IpAddr {
        self.network.client_addresses()[0]
    }

    fn place(&self, name: &str) -> PathBuf {
        self.network.directory().join("host").join(name)
    }

    /// Commits a desired state.
    pub async fn commit(&self, document: &str, message: &str) -> Result<(), StageError> {
        let path = self.repository().join("pool.yaml");
        let text = document.replace("@CLIENT@", &self.client().to_string());
        fs::write(&path, text).map_err(|source| StageError::File { path, source })?;
        self.git(&["add", "--all"]).await?;
        let who = ["-c", "user.name=operator", "-c", "user.email=operator@example.org"];
        let commit = ["commit", "--quiet", "--allow-empty", "--message", message];
        self.git(&[&who[..], &commit[..]].concat()).await
    }

    /// Runs git in the operator's repository.
    pub async fn git(&self, arguments: &[&str]) -> Result<(), StageError> {
        let mut command = Command::new("git");
        // Neither the settings of whoever runs this nor a repository around the directory have a say.
        command.current_dir(self.repository()).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        finished(command.args(arguments), "git").await.map(drop)
    }

    /// Where every verb finds this host, in the environment: not each takes each as an option.
    pub fn host_environment(&self) -> [(&'static str, String); 7] {
        let path = |path: PathBuf| path.display().to_string();
        [
            ("EXITPOOL_SOURCE", path(self.repository())),
            ("EXITPOOL_STATE_DIR", path(self.state_dir())),
            ("EXITPOOL_RUNTIME_DIR", path(self.runtime_dir())),
            ("EXITPOOL_LISTEN", self.panel().to_string()),
            ("EXITPOOL_TORRC_DEFAULTS", path(self.network.torrc_defaults())),
            ("EXITPOOL_GEOIP", path(self.network.geoip())),
            ("EXITPOOL_GEOIP6", path(self.network.geoip6())),
        ]
    }

    /// Makes a command that runs a verb on this host.
    pub fn exitpool(&self, verb: &str) -> Command {
        let mut command = self.network.command(&self.exitpool);
        command.envs(self.host_environment()).arg(verb);
        command
    }

    /// Starts the daemon.
    pub fn start_daemon(&mut self) -> Result<(), StageError> {
        self.start_daemon_with(&[])
    }

    /// Starts the daemon with more options; they count more than the stage's own.
    pub fn start_daemon_with(&mut self, options: &[&str]) -> Result<(), StageError> {
        self.spawn_daemon(options, &[])
    }

    /// Starts the daemon with more in its environment.
    pub fn start_daemon_in(&mut self, environment: &[(&str, &str)]) -> Result<(), StageError> {
        self.spawn_daemon(&[], environment)
    }

    fn spawn_daemon(&mut self, options: &[&str], environment: &[(&str, &str)]) -> Result<(), StageError> {
        let path = self.log();
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(|source| StageError::File { path, source })?;
        let mut command = self.exitpool("run");
        command.envs(environment.iter().copied());
        command.args(["--log-format", "text"]).args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|source| run_error("exitpool run", source))?;
        self.daemon = Some(child);
        Ok(())
    }

    /// The daemon's process id.
    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().and_then(Child::id)
    }

    /// Kills the daemon as a crash would.
    pub async fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // The only error is that it has ended already.
            let _ = daemon.kill().await;
        }
    }

    /// Stops the daemon as an operator would; the pool runs on.
    pub async fn stop_daemon(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        if let Some(pid) = daemon.id() {
            let _ = kill_pid(pid, Signal::TERM);
        }
        if timeout(STOP_DEADLINE, daemon.wait()).await.is_err() {
            let _ = daemon.kill().await;
        }
    }

    /// What the daemon published last.
    pub async fn report(&self) -> Option<Report> {
        socket::ask(&self.runtime_dir(), Verb::Status).await.ok()
    }

    /// Waits until the daemon publishes what is waited for.
    pub async fn wait_for(
        &mut self,
        what: &str,
        within: Duration,
        mut seen: impl FnMut(&Report) -> bool,
    ) -> Result<Report, StageError> {
        let deadline = Instant::now() + within;
        let mut last = None;
        while Instant::now() < deadline {
            self.check_daemon()?;
            if let Some(report) = self.report().await {
                if seen(&report) {
                    return Ok(report);
                }
                last = Some(report);
            }
            sleep(POLL).await;
        }
        let seen = last.map_or("nothing".to_owned(), |report| describe(&report));
        Err(StageError::Deadline { what: what.to_owned(), seconds: within.as_secs(), seen })
    }

    fn check_daemon(&mut self) -> Result<(), StageError> {
        let ended = self.daemon.as_mut().is_some_and(|daemon| !matches!(daemon.try_wait(), Ok(None)));
        if ended { Err(StageError::Ended { log: self.log_tail() }) } else { Ok(()) }
    }

    /// The last lines of the daemon's log.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 30;
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Asks the echo server through a node, from where clients are; gives the address that it saw.
    pub async fn ask_through(&self, node: SocketAddr) -> Result<IpAddr, StageError> {
        let mut command = self.network.client_command("curl");
        let proxy = node.to_string();
        let url = format!("http://{}/", self.network.echo());
        command.args(["--silent", "--show-error", "--max-time", "60", "--socks5-hostname", &proxy, &url]);
        let answer = finished(&mut command, "curl").await?;
        let document: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        let address = document["ip"].as_str().and_then(|text| text.parse().ok());
        address.ok_or_else(|| StageError::Failed { program: "curl".to_owned(), stderr: answer })
    }

    /// Ends everything and removes everything.
    pub async fn strike(mut self) -> Result<(), StageError> {
        self.stop_daemon().await;
        Ok(self.network.stop().await?)
    }
}

/// Runs a command to its end, and gives what it wrote on its standard output.
pub async fn finished(command: &mut Command, program: &str) -> Result<String, StageError> {
    let output = command.stdin(Stdio::null()).output().await.map_err(|source| run_error(program, source))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(StageError::Failed { program: program.to_owned(), stderr });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Sends a signal to a process that the caller started.
pub fn kill_pid(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, signal)?)
}

fn run_error(program: &str, source: io::Error) -> StageError {
    StageError::Run { program: program.to_owned(), source }
}

/// Tells a report to somebody who looks for what went wrong.
fn describe(report: &Report) -> String {
    let nodes = report.nodes["nodes"].as_array().cloned().unwrap_or_default();
    let nodes = nodes.iter().map(|node| format!("  {} {}", node["name"], node["state"]));
    let left = report.left.iter().chain(&report.failures).map(|sentence| format!("  {sentence}"));
    nodes.chain(left).collect::<Vec<_>>().join("\n")
}

/// A name that no other run on this host has, for a directory.
pub fn unique_directory(prefix: &str) -> PathBuf {
    let noise = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let suffix = hex(&noise.subsec_nanos().to_be_bytes());
    std::env::temp_dir().join(format!("{prefix}-{}-{suffix}", std::process::id()))
}
