//! The real daemon in a network namespace of its own. Its tors stay without a network; no Tor network is needed.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use exitpool::daemon::socket::{self, Report, Verb};
use rustix::process::{Pid, Signal, kill_process};

use super::servers::listen;
use crate::git_kit::{Kit, git, run};
use crate::netns::Netns;
use crate::support::{end_tors_in, understood};

const EXITPOOL: &str = env!("CARGO_BIN_EXE_exitpool");
/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A host whose daemon follows a repository, with the operator's clone of it and the operator's keys.
pub struct Host {
    pub kit: Kit,
    pub netns: Netns,
    daemon: Option<Child>,
    /// The arguments of the daemon, beside those that every verb needs.
    pub arguments: Vec<String>,
    /// What is added to the environment.
    pub environment: Vec<(&'static str, String)>,
    /// A script that is run before the daemon, in a mount namespace of its own.
    pub mounts: Option<String>,
}

impl Host {
    /// Makes a host, with one commit signed by ada that asks for a node; `None` where that cannot be.
    pub fn new() -> Option<Self> {
        let netns = Netns::new()?;
        let kit = published();
        fs::write(kit.at("torrc"), "DisableNetwork 1\n").unwrap();
        Some(Self { kit, netns, daemon: None, arguments: Vec::new(), environment: Vec::new(), mounts: None })
    }

    /// Listens inside the host's namespace.
    pub fn listen(&self) -> TcpListener {
        self.netns.run(listen)
    }

    /// Starts the daemon, following a source and believing ada alone.
    pub fn start(&mut self, source: &str) {
        let signers = self.kit.at("allowed_signers").display().to_string();
        let first = self.kit.git(&["rev-list", "--max-parents=0", "main"]);
        self.start_believing(source, &["--allowed-signers", &signers, "--first-commit", &first]);
    }

    /// Starts the daemon with other arguments about whom it believes.
    pub fn start_believing(&mut self, source: &str, arguments: &[&str]) {
        let log = fs::File::options().create(true).append(true).open(self.kit.at("log")).unwrap();
        let mut command = self.command("run");
        command.args(["--source", source, "--log-format", "text"]).args(arguments).args(&self.arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.daemon = Some(child);
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.netns.pid()));
        if let Some(mounts) = self.mounts.as_ref().filter(|_| verb == "run") {
            command.args(["unshare", "--mount", "sh", "-ec", &format!("{mounts}\nexec \"$@\""), "sh"]);
        }
        command.args([EXITPOOL, verb, "--runtime-dir"]).arg(self.runtime_dir());
        if verb != "reconcile" {
            command.arg("--state-dir").arg(self.state_dir()).arg("--torrc-defaults").arg(self.kit.at("torrc"));
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").envs(self.environment.iter().cloned());
        command
    }

    /// The daemon's state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.kit.at("state")
    }

    /// The daemon's runtime directory.
    pub fn runtime_dir(&self) -> PathBuf {
        self.kit.at("run")
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    /// Runs a verb on this host.
    pub fn verb(&self, verb: &str, arguments: &[&str]) -> Output {
        understood(verb, self.command(verb).args(arguments).output().unwrap())
    }

    /// Stops the daemon as an operator does.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = Pid::from_raw(daemon.id().try_into().unwrap()).unwrap();
            let _ = kill_process(pid, Signal::TERM);
            let _ = daemon.wait();
        }
    }

    /// Waits until the daemon publishes something.
    pub async fn sees(&mut self, what: &str, mut seen: impl FnMut(&Report) -> bool) -> Report {
        let end = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < end {
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {}", self.log());
            if let Ok(report) = socket::ask(&self.runtime_dir(), Verb::Status).await {
                if seen(&report) {
                    return report;
                }
                last = Some(report.status);
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("not seen: {what}; last: {last:#?}\n{}", self.log());
    }

    /// Waits until a revision is in force and its nodes have processes.
    pub async fn in_force(&mut self, commit: &str, nodes: usize) -> Report {
        let revision = format!("main@sha1:{commit}");
        self.sees(&format!("{commit} with {nodes} nodes"), |report| {
            report.status["revision"] == *revision && pids(report).len() == nodes
        })
        .await
    }

    /// Waits for a condition to be `True` or `False` with these words in its message.
    pub async fn condition(&mut self, kind: &str, status: &str, words: &str) -> Report {
        let what = format!("{kind}={status} with `{words}`");
        self.sees(&what, |report| {
            let (is, message) = condition(report, kind);
            is == status && message.contains(words)
        })
        .await
    }

    /// The value of one series of the metrics.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.netns.sh("curl --silent --show-error --max-time 10 http://127.0.0.1:8080/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    /// Commits a desired state of so many nodes, signed or not, and pushes it from the clone.
    pub fn push(&self, nodes: u16, signer: Option<&str>) -> String {
        let commit = self.kit.commit(&document(nodes), signer);
        self.push_head();
        commit
    }

    /// Pushes what the clone has, whatever was there before.
    pub fn push_head(&self) {
        let served = self.kit.at("served/pool.git").display().to_string();
        self.kit.git(&["push", "--quiet", "--force", &served, "main"]);
    }

    /// The daemon's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.kit.at("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        end_tors_in(&self.kit.at(""));
    }
}

/// A kit whose repository is served from `served/pool.git`, with one commit of ada's that asks for one node.
pub fn published() -> Kit {
    let kit = Kit::new();
    kit.commit(&document(1), Some("ada"));
    let served = kit.at("served/pool.git").display().to_string();
    run(git().args(["clone", "--quiet", "--bare", &kit.repo(), &served]), b"");
    for (key, value) in [("http.receivepack", "true"), ("receive.denyNonFastForwards", "false")] {
        run(git().args(["-C", &served, "config", key, value]), b"");
    }
    kit
}

/// A desired state of so many nodes on loopback.
pub fn document(nodes: u16) -> String {
    format!(
        "version: 1\nfirewall: {{driver: none}}\n\
         pools:\n  - {{name: us, size: {nodes}, countries: [us], listen: 127.0.0.1, socks_port: 30000}}\n"
    )
}

/// A condition's status and message.
pub fn condition(report: &Report, kind: &str) -> (String, String) {
    let conditions = report.status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    let text = |field: &str| found.map(|found| found[field].as_str().unwrap().to_owned()).unwrap_or_default();
    (text("status"), text("message"))
}

/// The process ids of all nodes.
pub fn pids(report: &Report) -> Vec<u64> {
    let nodes = report.nodes["nodes"].as_array().unwrap();
    nodes.iter().filter_map(|node| node["instance"]["pid"].as_u64()).collect()
}
