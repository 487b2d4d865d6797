//! Rotation on a private Tor network: by order and by schedule, while downloads run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::stage::{EXITPOOL, Host, document, nodes, pool, reachable};

fn rotating() -> String {
    document(&pool("us", 2, "us", 30_000)) + "reconcile: {resync_every: 1h}\n"
}

/// Asks the daemon.
pub async fn asked(host: &Host, verb: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = host.network().command(EXITPOOL);
    let output = command.arg(verb).args(arguments).arg("--runtime-dir").arg(host.runtime_dir()).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_rotates_a_node_while_a_download_runs_on() {
    let Some(mut host) = Host::start("wturn", &rotating()).await else { return };
    let report = host.converged(2).await;
    let node = reachable(&host, &nodes(&report)["us-0"]);
    const BYTES: u64 = 1_000_000;
    let url = format!("http://{}/slow?bytes={BYTES}&seconds=20", host.network().echo());
    let mut curl = host.network().client_command("curl");
    curl.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{size_download}"]);
    let download = curl.args(["--socks5-hostname", &node.to_string(), &url]).output();
    let rotating = async {
        let carries = |report: &exitpool::daemon::socket::Report| nodes(report)["us-0"]["exit"].is_object();
        host.sees("an exit", carries).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = host.ask_through(node).await.unwrap();
        let (code, told, error) = asked(&host, "rotate", &["us-0", "--wait", "60s"]).await;
        assert_eq!((code, error.as_str()), (0, ""), "{told}");
        assert!(told.contains("ordered  us-0: its rotation begins\n"), "{told}");
        assert!(told.contains(&format!("rotated  us-0: {before} in us → ")), "{told}");
        let after = host.ask_through(node).await.unwrap();
        assert_ne!(before, after);

        // Its own limit is tor's, and it is kept and told; what waits is done.
        let (code, told, error) = asked(&host, "rotate", &["us-0", "--wait", "60s", "-o", "json"]).await;
        assert_eq!((code, error.as_str()), (0, ""), "{told}");
        let told: Value = serde_json::from_str(&told).unwrap();
        let said = text(&told["said"][0]);
        assert!(said.contains("us-0: its rotation begins in ") && said.contains("(NEWNYM)"), "{said}");
        assert_eq!(host.ask_through(node).await.unwrap(), before, "of two exits, the other one");
        assert_eq!(host.metric("tor_newnym_total{node=\"us-0\"}").await, 2.0);
        assert_eq!(host.metric("tor_newnym_total{node=\"us-1\"}").await, 0.0);
    };
    let (downloaded, ()) = tokio::join!(download, rotating);
    let downloaded = downloaded.unwrap();
    assert!(downloaded.status.success(), "{}", String::from_utf8_lossy(&downloaded.stderr));
    assert_eq!(String::from_utf8(downloaded.stdout).unwrap(), BYTES.to_string());
    what_has_rotated_is_as_desired(&mut host).await;
    what_cannot_rotate_is_named(&host).await;
    host.strike().await;
}

/// The exit that is left alone is neither drift nor a change, also for who looks without the daemon.
async fn what_has_rotated_is_as_desired(host: &mut Host) {
    host.converged(2).await;
    let (code, told, _) = host.verb("diff", &[]).await;
    assert_eq!((code, told.trim()), (0, ""));
    let last = nodes(&host.converged(2).await)["us-0"]["last_rotation"].clone();
    host.kill_daemon().await;
    host.start_daemon().unwrap();
    let report = host.converged(2).await;
    assert_eq!(text(&nodes(&report)["us-0"]["last_rotation"]["at"]), text(&last["at"]), "a restart knows of it");
    assert!(report.applied.is_empty(), "{:?}", report.applied);
}

async fn what_cannot_rotate_is_named(host: &Host) {
    let (code, _, told) = asked(host, "rotate", &["us-2"]).await;
    assert_eq!((code, told.trim()), (1, "error: there is no node and no pool `us-2`; the pools are: us (2 nodes)"));
    asked(host, "suspend", &["us", "--reason", "a test", "--for", "1h"]).await;
    let (code, _, told) = asked(host, "rotate", &["us-0"]).await;
    assert_eq!((code, told.trim()), (1, "error: node us-0 is suspended: `exitpool resume` ends that"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_rotate_by_schedule() {
    let every = pool("us", 2, "us", 30_000).replace("{name", "{rotate_every: 10s, name");
    let Some(mut host) = Host::start("wtime", &document(&every)).await else { return };
    let times = |report: &exitpool::daemon::socket::Report| -> BTreeMap<String, Value> {
        nodes(report).into_iter().map(|(name, node)| (name, node["last_rotation"].clone())).collect()
    };
    let both = |report: &exitpool::daemon::socket::Report| {
        report.converged && nodes(report).values().all(|node| node["rotations"].as_u64() >= Some(2))
    };
    let report = host.sees("two rotations of both nodes", both).await;
    for (name, last) in times(&report) {
        assert_ne!(text(&last["from"]["ip"]), text(&last["to"]["ip"]), "{name}");
    }
    assert!(host.metric("tor_newnym_total{node=\"us-1\"}").await >= 2.0);
    host.strike().await;
}
