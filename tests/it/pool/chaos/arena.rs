//! A pool host with small disks, and with a clock that can be set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use exitpool::audit;
use exitpool::daemon::socket::{self, Report, Verb};

use super::super::stage::{Host, document, nodes, nothing_is_left_over, pids, pool, ready};

/// How many nodes there are: enough for nobody to be restarted so often that it is held down.
const NODES: u16 = 6;
/// The first node's port.
const FIRST_PORT: u16 = 30_000;
/// The size of a disk: some times what the nodes need.
const DISK: &str = "48m";
/// How long the host may take to come back: a tor that stands still is restarted twice, each time after two checks of its
/// bootstrap, before its directory cache is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// What looks up the host's clock for the daemon.
const FAKETIME: &str = "libfaketimeMT.so.1";

pub struct Arena {
    // Dropped first: while a disk is there, nobody can remove the directory that it is in.
    disks: Disks,
    pub host: Host,
    /// How often each node was hit in this round.
    pub hits: BTreeMap<String, u32>,
    faketime: PathBuf,
}

/// Small disks, in this mount namespace; they are gone with this value.
#[derive(Default)]
struct Disks(Vec<PathBuf>);

/// The host as it is when it is as desired.
pub struct Picture {
    pub report: Report,
    guard: String,
    files: BTreeSet<PathBuf>,
    rows: u64,
    log: usize,
}

impl Arena {
    /// Starts a host and waits until it is as desired; `None` where that cannot be.
    pub async fn start() -> Option<Self> {
        let host = Host::set("chaos", &wished(0)).await?;
        let mut disks = Disks::default();
        for directory in [host.state_dir(), host.runtime_dir()] {
            disks.mount(directory);
        }
        let mut arena = Self { disks, host, hits: BTreeMap::new(), faketime: faketime() };
        arena.set_clock(0);
        arena.start_daemon();
        arena.host.converged(NODES.into()).await;
        Some(arena)
    }

    /// Begins a round with a wish of its own: restarts are counted for one wish, over all daemons.
    pub async fn begin_round(&mut self, round: u64) {
        self.hits.clear();
        self.host.commits(&wished(round)).await;
        socket::ask(&self.host.runtime_dir(), Verb::Reconcile).await.unwrap();
        self.host.converged(NODES.into()).await;
    }

    /// Starts the daemon with the clock of the arena. Its tors have the host's: a daemon hands no environment on.
    ///
    /// The clock that nobody can set, from which deadlines are taken, is left as it is.
    pub fn start_daemon(&mut self) {
        let clock = self.clock().display().to_string();
        let environment = [
            ("LD_PRELOAD", self.faketime.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", &clock),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DISABLE_SHM", "1"),
        ];
        self.host.start_daemon_in(&environment).unwrap();
    }

    /// Sets the daemon's clock to so many minutes after the right time.
    pub fn set_clock(&self, minutes: i64) {
        // As a whole, so that nobody reads half of it.
        let new = self.clock().with_extension("new");
        fs::write(&new, format!("{minutes:+}m\n")).unwrap();
        fs::rename(new, self.clock()).unwrap();
    }

    fn clock(&self) -> PathBuf {
        self.host.repository().with_file_name("clock")
    }

    /// The port of a node.
    pub fn port(&self, node: &str) -> u16 {
        let (_, number) = node.rsplit_once('-').unwrap();
        FIRST_PORT + number.parse::<u16>().unwrap()
    }

    /// The host as it is now, which has to be as desired.
    pub async fn picture(&mut self) -> Picture {
        let report = self.host.converged(NODES.into()).await;
        let rows = audit::list(&self.trail(), 1).unwrap().first().map_or(0, |entry| entry.row);
        Picture {
            report,
            guard: self.host.guard().await,
            files: files(&self.host.runtime_dir()),
            rows,
            log: self.log().len(),
        }
    }

    fn trail(&self) -> PathBuf {
        self.host.state_dir().join("audit.sqlite")
    }

    /// Waits until the host is as it was, with other tors for the nodes that were hit, and nothing else.
    pub async fn comes_back(&mut self, before: &Picture, victims: &BTreeMap<String, u64>) {
        let is_another = |report: &Report| {
            let now = pids(report);
            victims.iter().all(|(node, pid)| now.get(node).is_some_and(|now| now != pid))
        };
        let is_back = |report: &Report| report.converged && ready(report) == usize::from(NODES) && is_another(report);
        let what = format!("other tors for {:?}", victims.keys());
        let report = self.host.wait_for(&what, PATIENCE, is_back).await.unwrap();
        let untouched = |(node, pid): (&String, &u64)| victims.contains_key(node) || pids(&report)[node] == *pid;
        assert!(pids(&before.report).iter().all(untouched), "{:?}", nodes(&report));

        let after = socket::ask(&self.host.runtime_dir(), Verb::Reconcile).await.unwrap();
        assert!(after.converged && after.applied.is_empty(), "another pass has something to do: {after:?}");
        nothing_is_left_over(&self.host, &pids(&after));
        assert_eq!(self.host.guard().await, before.guard);
        assert_eq!(files(&self.host.runtime_dir()), before.files);
    }

    /// The nodes that were hit whose repair is not in the trail. No other node's is.
    pub fn unexplained(&self, before: &Picture, victims: &BTreeMap<String, u64>) -> BTreeSet<String> {
        audit::verify(&self.trail(), &audit::own(&self.trail())).unwrap();
        let mut rows = audit::list(&self.trail(), 1_000).unwrap();
        rows.retain(|entry| entry.row > before.rows);
        let is_repair = |entry: &&audit::Entry| {
            let action = &entry.record.action;
            entry.record.result == "done"
                && (action.contains("will be started: its tor is not running") || action.contains("will be restarted"))
                && ["drift", "health"].contains(&entry.record.cause.as_str())
        };
        let node = |entry: &audit::Entry| entry.record.object.trim_start_matches("node ").to_owned();
        let repaired: BTreeSet<String> = rows.iter().filter(is_repair).map(node).collect();
        assert!(repaired.iter().all(|node| victims.contains_key(node)), "{rows:#?}");
        victims.keys().filter(|node| !repaired.contains(*node)).cloned().collect()
    }

    /// Whether the daemon has said since that it could not write the trail.
    pub fn says_that_rows_are_lost(&self, before: &Picture) -> bool {
        self.log()[before.log..].contains("records of the audit trail are lost")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.host.log()).unwrap()
    }

    pub async fn strike(mut self) {
        self.host.stop_daemon().await;
        drop(self.disks);
        self.host.strike().await;
    }
}

impl Disks {
    fn mount(&mut self, directory: PathBuf) {
        fs::create_dir_all(&directory).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={DISK},mode=700"), "tmpfs"]).arg(&directory);
        assert!(mount.status().unwrap().success(), "cannot mount {}", directory.display());
        self.0.push(directory);
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for disk in &self.0 {
            // Lazily, since there are tors that write there still.
            let _ = Command::new("umount").arg("--lazy").arg(disk).status();
        }
    }
}

/// What is desired in a round: in each somebody else may use the nodes as well.
fn wished(round: u64) -> String {
    let document = document(&pool("us", NODES, "us", FIRST_PORT)) + "health: {restart_after: 2}\n";
    document.replacen("'@CLIENT@'", &format!("'@CLIENT@', '203.0.113.{}'", round % 250), 1)
}

/// Everything beneath a directory, by name, but the logs of tors that are gone.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        }
        if entry.file_name() != "log.1" {
            found.insert(entry.path());
        }
    }
    found
}

/// Where Debian's package `faketime` has its library.
fn faketime() -> PathBuf {
    let places = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path().join("faketime").join(FAKETIME));
    places.into_iter().find(|path| path.is_file()).expect("faketime is installed")
}
