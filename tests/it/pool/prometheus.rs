//! A real Prometheus scrapes the real daemon, and the rules that we ship fire when its pool breaks.

use std::collections::BTreeSet;
use std::time::Duration;

use exitpool::cli::demo::stage::{finished, kill_pid};
use rustix::process::Signal;

use super::stage::{Host, PATIENCE, document, pids, pool};
use crate::deploy::grafana::{self, Asked};

/// Runs Prometheus beside the daemon, with our rules, and asks it.
struct Prometheus {
    child: tokio::process::Child,
    directory: tempfile::TempDir,
}

impl Prometheus {
    const ADDRESS: &str = "127.0.0.1:9099";

    /// Starts it with the configuration and the rules that we ship, looking each second and waiting for no alert.
    fn start(host: &Host) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let shipped = |file: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus").join(file);
            std::fs::read_to_string(path).unwrap()
        };
        let config =
            shipped("prometheus.yml").replace("15s", "1s").replace("127.0.0.1:8080", &host.panel().to_string());
        let waits = |line: &&str| !line.trim().starts_with("for: ");
        let rules: Vec<String> = shipped("exitpool.rules.yml").lines().filter(waits).map(str::to_owned).collect();
        std::fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        std::fs::write(directory.path().join("exitpool.rules.yml"), rules.join("\n")).unwrap();
        let mut command = host.network().command("prometheus");
        command.arg(format!("--config.file={}", directory.path().join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address={}", Self::ADDRESS));
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = command.stderr(log).stdout(std::process::Stdio::null()).kill_on_drop(true).spawn().unwrap();
        Self { child, directory }
    }

    async fn ask(&self, host: &Host, path: &str) -> serde_json::Value {
        let url = format!("http://{}{path}", Self::ADDRESS);
        let mut curl = host.network().command("curl");
        curl.args([
            "--silent",
            "--fail",
            "--max-time",
            "10",
            "--retry",
            "30",
            "--retry-connrefused",
            "--retry-all-errors",
            "--globoff",
        ]);
        serde_json::from_str(&finished(curl.arg(&url), "curl").await.unwrap()).unwrap()
    }

    /// What an expression says now, one object for each series.
    async fn result(&self, host: &Host, expression: &str) -> Vec<serde_json::Value> {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut answer = self.ask(host, &format!("/api/v1/query?query={escaped}")).await;
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        serde_json::from_value(answer["data"]["result"].take()).unwrap()
    }

    /// Each panel of the dashboard has something to show, with the labels of its legend.
    async fn fills(&self, host: &Host, asked: &[Asked]) {
        for Asked { panel, expression, labels } in asked {
            let result = self.result(host, &expression.in_prometheus()).await;
            assert!(!result.is_empty(), "{panel}: nothing for {expression:?}");
            for label in labels {
                let told = result.iter().all(|series| series["metric"][label].is_string());
                assert!(told, "{panel}: {expression:?} has no {label}: {result:?}");
            }
        }
    }

    /// The names of the alerts that fire.
    async fn firing(&self, host: &Host) -> BTreeSet<String> {
        let answer = self.ask(host, "/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().unwrap();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until exactly these alerts fire.
    async fn fires(&self, host: &Host, names: &[&str]) {
        let expected: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let firing = self.firing(host).await;
            if firing == expected {
                return;
            }
            let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(tokio::time::Instant::now() < end, "{firing:?} fire, and not {expected:?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_alerts_on_a_pool_that_breaks() {
    if !crate::support::is_installed("prometheus") {
        return crate::support::skip("there is no Prometheus (Debian: apt install prometheus)");
    }
    let wish = document(&pool("us", 2, "us", 30_000)) + "reconcile: {self_heal: report, resync_every: 5s}\n";
    let Some(mut host) = Host::start("prom", &wish).await else { return };
    let tors = pids(&host.converged(2).await);
    let mut prometheus = Prometheus::start(&host);

    // It scrapes, and a healthy pool is left in peace.
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = prometheus.ask(&host, "/api/v1/query?query=count_over_time(tor_nodes_up[1m])").await;
        let scrapes = answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<u32>().ok());
        if scrapes.is_some_and(|scrapes| scrapes >= 3) {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "it does not scrape: {answer}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let answer = prometheus.ask(&host, "/api/v1/query?query=tor_nodes_up").await;
    assert_eq!(answer["data"]["result"][0]["value"][1], "2", "{answer}");
    prometheus.fires(&host, &[]).await;

    // Somebody removes the guard, and nobody puts it back.
    host.sh("nft delete table inet exitpool").await;
    let open = ["ExitpoolDrifted", "ExitpoolFirewallOutOfSync", "ExitpoolNotReady"];
    prometheus.fires(&host, &open).await;
    // There are alerts now, and nodes that serve: every panel of the dashboard has something to show.
    prometheus.fills(&host, &grafana::panels()).await;
    let names = prometheus.ask(&host, "/api/v1/label/node/values?match[]=tor_restarts_total").await;
    assert_eq!(names["data"], serde_json::json!(["us-0", "us-1"]), "what the variable `pool` is made of");
    // Both tors die.
    for pid in tors.values() {
        kill_pid(u32::try_from(*pid).unwrap(), Signal::KILL).unwrap();
    }
    prometheus.fires(&host, &[&open[..], &["ExitpoolNodesDown"]].concat()).await;
    // Of a node that is gone nobody knows how long its circuits take.
    assert_eq!(host.metric("tor_node_latency_ms{node=\"us-0\"}").await, 0.0);
    // A commit that nobody understands.
    host.commits("version: 1\npools: none\n").await;
    let refused = ["ExitpoolNodesDown", "ExitpoolRevisionRefused", "ExitpoolStalled"];
    prometheus.fires(&host, &[&open[..], &refused].concat()).await;
    // All is mended.
    host.commits(&wish.replace("self_heal: report, ", "")).await;
    host.converged(2).await;
    prometheus.fires(&host, &[]).await;
    // The daemon itself is gone.
    host.kill_daemon().await;
    prometheus.fires(&host, &["ExitpoolAbsent"]).await;
    host.start_daemon().unwrap();
    host.converged(2).await;
    prometheus.fires(&host, &[]).await;

    prometheus.child.kill().await.unwrap();
    host.strike().await;
}
