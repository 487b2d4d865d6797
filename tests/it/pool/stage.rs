//! A pool host for a test, and what tests read off it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use exitpool::cli::demo::stage::{Stage, finished, unique_directory};
use exitpool::daemon::socket::Report;
use exitpool::testnet::{Peer, Spec, Testnet};
use serde_json::Value;

use crate::support::{skip, understood};

/// The program under test.
pub const EXITPOOL: &str = env!("CARGO_BIN_EXE_exitpool");
/// How long the pool may take to follow: far more than it needs, since a test must not depend on the machine's speed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A network with two American and two German exits.
fn network(prefix: &str) -> Spec {
    network_of(&[("us", 2), ("de", 2)], prefix)
}

/// A network with so many exits in each country.
pub fn network_of(exits: &[(&str, u8)], prefix: &str) -> Spec {
    let exits = exits.iter().map(|(code, count)| (code.parse().unwrap(), *count)).collect();
    Spec { exits, ..Spec::usual(prefix, Peer::Namespace { addresses: 2 }) }
}

/// A stage that names its test and shows the daemon's log when the test fails.
pub struct Host(Option<Stage>);

impl Host {
    /// Sets a stage with clients in a namespace of their own, and starts the daemon; `None` where that cannot be.
    pub async fn start(prefix: &str, document: &str) -> Option<Self> {
        Self::start_in(network(prefix), document).await
    }

    /// The same in another network.
    pub async fn start_in(network: Spec, document: &str) -> Option<Self> {
        let mut host = Self::set_in(network, document).await?;
        host.start_daemon().unwrap();
        Some(host)
    }

    /// The same without the daemon.
    pub async fn set(prefix: &str, document: &str) -> Option<Self> {
        Self::set_in(network(prefix), document).await
    }

    /// The same in another network, without the daemon.
    pub async fn set_in(network: Spec, document: &str) -> Option<Self> {
        if let Err(reason) = Testnet::check() {
            skip(&reason.to_string());
            return None;
        }
        let directory = unique_directory(&format!("exitpool-{}", network.prefix));
        let stage = Stage::set_with(PathBuf::from(EXITPOOL), network, &directory, document, |_| {}).await.unwrap();
        Some(Self(Some(stage)))
    }

    /// Waits until the host is as desired, with so many ready nodes.
    pub async fn converged(&mut self, nodes: usize) -> Report {
        let what = format!("{nodes} ready nodes and nothing left to do");
        self.wait_for(&what, PATIENCE, |report| report.converged && ready(report) == nodes).await.unwrap()
    }

    /// Waits until the daemon publishes something.
    pub async fn sees(&mut self, what: &str, seen: impl FnMut(&Report) -> bool) -> Report {
        self.wait_for(what, PATIENCE, seen).await.unwrap()
    }

    /// Runs a verb on this host; gives its exit code, its standard output and its standard error.
    pub async fn verb(&self, verb: &str, arguments: &[&str]) -> (i32, String, String) {
        let output = understood(verb, self.exitpool(verb).args(arguments).output().await.unwrap());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs a shell script inside the pool's namespace; it must succeed.
    pub async fn sh(&self, script: &str) -> String {
        finished(self.network().command("sh").args(["-euc", script]), script).await.unwrap()
    }

    /// The guard's table, as nft lists it; empty while there is none.
    pub async fn guard(&self) -> String {
        self.sh("nft list table inet exitpool 2>/dev/null || true").await
    }

    /// Reads a page of the status server from where a whitelisted client is.
    pub async fn http(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.panel());
        finished(self.network().client_command("curl").args(["--silent", "--max-time", "10", &url]), "curl")
            .await
            .unwrap()
    }

    /// The value of one series of the metrics.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.http("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    /// Writes the desired state, commits it, and names the file.
    pub async fn commits(&self, document: &str) {
        self.commit(document, "a test's change").await.unwrap();
    }

    /// A file of an instance in the runtime directory.
    pub fn instance_file(&self, node: &str, file: &str) -> PathBuf {
        self.runtime_dir().join("instances").join(node).join(file)
    }

    /// Ends everything, and checks that nothing is left.
    pub async fn strike(mut self) {
        let stage = self.0.take().unwrap();
        let (namespace, directory) = (stage.network().netns(), stage.network().directory().to_owned());
        stage.strike().await.unwrap();
        assert!(!directory.exists(), "{} is left", directory.display());
        assert!(!Path::new("/run/netns").join(&namespace).exists(), "the namespace {namespace} is left");
    }
}

impl Deref for Host {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        self.0.as_ref().unwrap()
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Stage {
        self.0.as_mut().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(stage) = self.0.as_ref().filter(|_| std::thread::panicking()) {
            eprintln!("the end of the daemon's log:\n{}", stage.log_tail());
        }
    }
}

/// The nodes of a report, by name.
pub fn nodes(report: &Report) -> BTreeMap<String, Value> {
    let nodes = report.nodes["nodes"].as_array().unwrap();
    nodes.iter().map(|node| (node["name"].as_str().unwrap().to_owned(), node.clone())).collect()
}

/// How many nodes are ready.
pub fn ready(report: &Report) -> usize {
    nodes(report).values().filter(|node| node["state"] == "ready").count()
}

/// The process ids of all nodes, by name.
pub fn pids(report: &Report) -> BTreeMap<String, u64> {
    let pid = |node: &Value| node["instance"]["pid"].as_u64();
    nodes(report).into_iter().filter_map(|(name, node)| Some((name, pid(&node)?))).collect()
}

/// A condition's status, reason and message.
pub fn condition(report: &Report, kind: &str) -> (String, String, String) {
    let conditions = report.status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    let found = found.unwrap_or_else(|| panic!("no condition {kind} in {conditions:#?}"));
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// Where a node is reached from outside.
pub fn reachable(host: &Host, node: &Value) -> SocketAddr {
    let socks: SocketAddr = node["socks"].as_str().unwrap().parse().unwrap();
    SocketAddr::new(host.panel().ip(), socks.port())
}

/// A desired state with these pools, which clients' first address may use.
pub fn document(pools: &str) -> String {
    format!("version: 1\npools:\n{pools}access:\n  socks: ['@CLIENT@']\n  panel: ['@CLIENT@']\n")
}

/// A pool of the document.
pub fn pool(name: &str, size: u16, countries: &str, port: u16) -> String {
    format!("  - {{name: {name}, size: {size}, countries: [{countries}], listen: 0.0.0.0, socks_port: {port}}}\n")
}

/// The same pool with options of tor's own.
pub fn with_torrc(pool: &str, options: &str) -> String {
    pool.replace('}', &format!(", torrc: {{{options}}}}}"))
}

/// Checks that this host has the directories and processes of these nodes, each with a tor of its own, and no others.
pub fn nothing_is_left_over(host: &Host, pids: &BTreeMap<String, u64>) {
    let wanted: BTreeSet<String> = pids.keys().cloned().collect();
    let listed = |directory: PathBuf| -> BTreeSet<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(listed(host.runtime_dir().join("instances")), wanted);
    assert_eq!(listed(host.state_dir().join("instances")), wanted);
    let mark = host.runtime_dir().join("instances").display().to_string();
    let ours = |pid: &u64| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&mark)
    };
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let running: BTreeSet<u64> = all.filter(ours).collect();
    assert_eq!(running, pids.values().copied().collect(), "one tor for each node, and no other");
}
