//! One tor as a person would start it, on the same network.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use exitpool::cli::demo::stage::Stage;
use exitpool::testnet::Testnet;
use tokio::process::{Child, Command};

use super::crowd::Crowd;

/// The longest that one start may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often its log is read.
const STEP: Duration = Duration::from_millis(5);
/// What tor says once it has built its first circuit.
const DONE: &str = "Bootstrapped 100%";

/// A tor with a directory of its own; it ends with this value.
pub struct BareTor<'a> {
    network: &'a Testnet,
    directory: tempfile::TempDir,
    tables: Tables,
    child: Option<Child>,
}

/// Whether a tor reads the tables of countries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// None, as the nodes' tors.
    None,
    /// Those of the distribution, as any tor that nobody told otherwise.
    Default,
}

impl<'a> BareTor<'a> {
    pub fn new(stage: &'a Stage, tables: Tables) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("torrc"), "").unwrap();
        Self { network: stage.network(), directory, tables, child: None }
    }

    /// Gives it a directory cache.
    pub fn settle(&self, crowd: &Crowd) {
        crowd.settle(&self.directory.path().join("data"));
    }

    /// The process id of the one that runs.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).unwrap()
    }

    /// Kills the one that runs, starts one with what it has left, and gives the time until it can carry a request.
    pub async fn start(&mut self) -> Duration {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
        let _ = fs::remove_file(self.log());
        let begun = Instant::now();
        self.child = Some(self.command().spawn().unwrap());
        while !fs::read_to_string(self.log()).is_ok_and(|log| log.contains(DONE)) {
            let log = || fs::read_to_string(self.log()).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "the bare tor did not start:\n{}", log());
            tokio::time::sleep(STEP).await;
        }
        begun.elapsed()
    }

    fn command(&self) -> Command {
        let mut command = self.network.command("tor");
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        command.arg("--defaults-torrc").arg(self.network.torrc_defaults()).args(["-f", &path("torrc")]);
        command.args(["--DataDirectory", &path("data"), "--Log", &format!("notice file {}", path("log"))]);
        if self.tables == Tables::None {
            command.args(["--GeoIPFile", "/dev/null", "--GeoIPv6File", "/dev/null"]);
        }
        command.args(["--SocksPort", "auto"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}
