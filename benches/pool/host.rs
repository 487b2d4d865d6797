//! A pool host on a private Tor network, and what is done to it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use exitpool::cli::demo::stage::{Stage, kill_pid, unique_directory};
use exitpool::daemon::socket::{self, Report, Verb};
use exitpool::testnet::{Peer, Spec, Testnet};
use rustix::process::Signal;
use serde_json::Value;

use super::crowd::Crowd;

/// What the names of its namespaces begin with.
const PREFIX: &str = "xbench";
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often a node that was killed is looked for.
const STEP: Duration = Duration::from_millis(10);

/// A pool host with the daemon running on it.
pub struct Host {
    pub stage: Stage,
}

impl Host {
    pub async fn start() -> Self {
        Testnet::sweep(PREFIX).await.unwrap();
        let exitpool = PathBuf::from(env!("CARGO_BIN_EXE_exitpool"));
        let spec = Spec::usual(PREFIX, Peer::Namespace { addresses: 1 });
        let directory = unique_directory("exitpool-bench");
        let mut stage = Stage::set_with(exitpool, spec, &directory, &document(0), |_| {}).await.unwrap();
        stage.start_daemon().unwrap();
        Self { stage }
    }

    /// Empties the pool, commits a size, and gives the time from the commit until all nodes are ready.
    pub async fn grow_from_nothing(&mut self, nodes: u16) -> Duration {
        self.resize(0).await;
        self.resize(nodes).await
    }

    /// Commits a size, and gives the time from the commit until the host is as desired.
    pub async fn resize(&mut self, nodes: u16) -> Duration {
        self.follow(nodes, &document(nodes)).await
    }

    /// Lets so many nodes share a tor, and gives the tors' process ids once the host is as desired.
    pub async fn share(&mut self, nodes: u16, together: u16) -> BTreeSet<u32> {
        self.resize(0).await;
        let shared = document(nodes).replace("socks_port", &format!("nodes_per_instance: {together}, socks_port"));
        self.follow(nodes, &shared).await;
        let report = self.stage.report().await.unwrap();
        let pid = |node: &Value| node["instance"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        list(&report).iter().filter_map(pid).collect()
    }

    /// Gives a node's tor that no node of the pool shares a directory with so many relays more; new tors start from its copy.
    pub async fn crowd(&mut self, relays: usize) -> Crowd {
        self.follow(1, &crowded(0, 1)).await;
        let report = self.stage.report().await.unwrap();
        let tor = list(&report)[0]["instance"]["pid"].as_u64().unwrap();
        self.stage.stop_daemon().await;
        kill_pid(u32::try_from(tor).unwrap(), Signal::KILL).unwrap();
        let data = self.stage.state_dir().join("instances").join("anchor-0");
        let crowd = Crowd::of(relays, &data, self.stage.network().directory());
        crowd.settle(&data);
        self.stage.start_daemon().unwrap();
        let done = |report: &Report| report.converged && all_ready(report) && list(report).len() == 1;
        self.stage.wait_for("a tor with a large directory", PATIENCE, done).await.unwrap();
        crowd
    }

    /// Lets so many nodes share a tor, beside that one, and gives their tors' process ids once the host is as desired.
    pub async fn share_crowded(&mut self, nodes: u16, together: u16) -> BTreeSet<u32> {
        self.follow(1, &crowded(0, 1)).await;
        self.follow(nodes + 1, &crowded(nodes, together)).await;
        let report = self.stage.report().await.unwrap();
        let of_the_pool = list(&report).iter().filter(|node| node["pool"] == "eu");
        of_the_pool.filter_map(|node| node["instance"]["pid"].as_u64()?.try_into().ok()).collect()
    }

    async fn follow(&mut self, nodes: u16, document: &str) -> Duration {
        let begun = Instant::now();
        self.stage.commit(document, &format!("{nodes} nodes")).await.unwrap();
        let what = format!("{nodes} ready nodes");
        let done = |report: &Report| report.converged && list(report).len() == usize::from(nodes) && all_ready(report);
        self.stage.wait_for(&what, PATIENCE, done).await.unwrap();
        begun.elapsed()
    }

    /// Lets one more address in by a commit, and gives the time from the commit until the guard is known to have it.
    pub async fn admit(&mut self, nodes: u16, address: &str) -> Duration {
        let before = self.stage.report().await.unwrap().status["revision"].clone();
        let begun = Instant::now();
        let document = document(nodes).replacen("socks: [", &format!("socks: [{address}, "), 1);
        self.stage.commit(&document, &format!("let {address} in")).await.unwrap();
        let done = |report: &Report| report.converged && report.status["revision"] != before;
        self.stage.wait_for("another address on the whitelist", PATIENCE, done).await.unwrap();
        begun.elapsed()
    }

    /// Lets the daemon look at the whole host, so many times.
    pub async fn passes(&self, count: u32) {
        for _ in 0..count {
            let report = socket::ask(&self.stage.runtime_dir(), Verb::Reconcile).await.unwrap();
            assert!(report.converged && report.applied.is_empty(), "the pool was not at rest: {:?}", report.applied);
        }
    }

    /// Kills the tor of a node, and gives the time until it is ready with another one.
    pub async fn kill(&self, victim: usize) -> Duration {
        let pid = |report: &Report| list(report)[victim]["instance"]["pid"].as_u64();
        let killed = pid(&self.stage.report().await.unwrap()).unwrap();
        let begun = Instant::now();
        kill_pid(u32::try_from(killed).unwrap(), Signal::KILL).unwrap();
        loop {
            let report = self.stage.report().await.unwrap();
            if all_ready(&report) && pid(&report).is_some_and(|pid| pid != killed) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "the node did not come back:\n{}", self.stage.log_tail());
            tokio::time::sleep(STEP).await;
        }
    }

    pub async fn strike(self) {
        self.stage.strike().await.unwrap();
    }
}

fn document(nodes: u16) -> String {
    format!(
        "version: 1\nallow_empty: true\n\
         pools: [{{name: eu, size: {nodes}, countries: [de, nl, us], listen: 0.0.0.0, socks_port: 30000}}]\n\
         access: {{socks: ['@CLIENT@'], panel: ['@CLIENT@']}}\nreconcile: {{max_delete: 100%}}\n"
    )
}

/// The same with a pool of one node beside it, and with so many nodes of `eu` in each tor.
fn crowded(nodes: u16, together: u16) -> String {
    let shared = document(nodes).replace("socks_port", &format!("nodes_per_instance: {together}, socks_port"));
    let together_at_least = shared.replace(", nodes_per_instance: 1,", ",");
    together_at_least
        .replace("pools: [", "pools: [{name: anchor, size: 1, countries: [de, nl, us], socks_port: 29000}, ")
}

fn list(report: &Report) -> &[Value] {
    report.nodes["nodes"].as_array().map_or(&[], Vec::as_slice)
}

fn all_ready(report: &Report) -> bool {
    list(report).iter().all(|node| node["state"] == "ready")
}
