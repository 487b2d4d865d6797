//! Rotation on a private Tor network: by order and by schedule, while downloads run.

use std::collections::BTreeMap;
use std::time::Duration;

use exitpool::audit;
use exitpool::cli::demo::stage::kill_pid;
use exitpool::daemon::socket::Report;
use rustix::process::Signal;
use serde_json::Value;

use super::stage::{Host, document, nodes, pids, pool, reachable};

fn rotating(size: u16) -> String {
    document(&pool("us", size, "us", 30_000)) + "reconcile: {resync_every: 1h, max_delete: 100%}\n"
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_rotates_a_node_while_a_download_runs_on() {
    let Some(mut host) = Host::start("wturn", &rotating(4)).await else { return };
    let report = host.converged(4).await;
    let node = reachable(&host, &nodes(&report)["us-0"]);
    const BYTES: u64 = 1_000_000;
    let url = format!("http://{}/slow?bytes={BYTES}&seconds=20", host.network().echo());
    let mut curl = host.network().client_command("curl");
    curl.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{size_download}"]);
    let download = curl.args(["--socks5-hostname", &node.to_string(), &url]).output();
    let rotating = async {
        let carries = |report: &Report| nodes(report)["us-0"]["exit"].is_object();
        host.sees("an exit", carries).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = host.ask_through(node).await.unwrap();
        let (code, told, error) = host.verb("rotate", &["us-0", "--wait", "60s"]).await;
        assert_eq!((code, error.as_str()), (0, ""), "{told}");
        assert!(told.contains("ordered  us-0: its rotation begins\n"), "{told}");
        assert!(told.contains(&format!("rotated  us-0: {before} in us → ")), "{told}");
        let after = host.ask_through(node).await.unwrap();
        assert_ne!(before, after);

        // Its own limit is tor's, and it is kept and told; what waits is done.
        let (code, told, error) = host.verb("rotate", &["us-0", "--wait", "60s", "-o", "json"]).await;
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
    what_was_ordered_outlives_the_daemon(&mut host).await;
    what_cannot_rotate_is_named(&host).await;
    host.strike().await;
}

/// The exit that is left alone is neither drift nor a change, also for who looks without the daemon.
async fn what_has_rotated_is_as_desired(host: &mut Host) {
    host.converged(4).await;
    let (code, told, _) = host.verb("diff", &[]).await;
    assert_eq!((code, told.trim()), (0, ""));
    let last = nodes(&host.converged(4).await)["us-0"]["last_rotation"].clone();
    host.kill_daemon().await;
    host.start_daemon().unwrap();
    let report = host.converged(4).await;
    assert_eq!(text(&nodes(&report)["us-0"]["last_rotation"]["at"]), text(&last["at"]), "a restart knows of it");
    assert!(report.applied.is_empty(), "{:?}", report.applied);
}

/// Of four that were told to rotate, one has done so, one was about to, and two could not begin yet when the daemon is
/// killed; one of these is gone when the next one comes.
async fn what_was_ordered_outlives_the_daemon(host: &mut Host) {
    let report = host.sees("the exits of all", |report| nodes(report).values().all(|it| it["exit"].is_object())).await;
    let (pids, before) = (pids(&report), last_rotations(&report));
    let signal = |nodes: &[&str], signal| {
        nodes.iter().for_each(|node| kill_pid(u32::try_from(pids[*node]).unwrap(), signal).unwrap());
    };
    signal(&["us-2", "us-3"], Signal::STOP);
    host.verb("reconcile", &[]).await;
    let is_silent = |report: &Report, node: &str| nodes(report)[node]["state"] != "ready";
    host.sees("two silent tors", |report| is_silent(report, "us-2") && is_silent(report, "us-3")).await;
    // Of this one nobody knows yet that it is silent.
    signal(&["us-1"], Signal::STOP);
    let (code, told, error) = host.verb("rotate", &["us"]).await;
    assert_eq!((code, error.as_str()), (0, ""), "{told}");
    let report = host.sees("the rotation of one", |report| last_rotations(report)["us-0"] != before["us-0"]).await;
    let done = last_rotations(&report)["us-0"].clone();
    host.kill_daemon().await;
    let owed: Value = serde_json::from_slice(&std::fs::read(host.state_dir().join("rotations.json")).unwrap()).unwrap();
    let owed = |node: &str| &owed["instances"][node]["owed"];
    assert!(owed("us-0").is_null() && owed("us-1")["under_way"].is_object(), "{}", owed("us-1"));
    assert_eq!((owed("us-2"), owed("us-3")), (&"ordered".into(), &"ordered".into()));

    host.commits(&rotating(3)).await;
    signal(&["us-1", "us-2", "us-3"], Signal::CONT);
    host.start_daemon().unwrap();
    let have_rotated = |report: &Report| {
        let now = last_rotations(report);
        report.converged && ["us-1", "us-2"].iter().all(|node| now.get(*node).is_some_and(|now| *now != before[*node]))
    };
    let now = last_rotations(&host.sees("the rotations of the others", have_rotated).await);
    for node in ["us-0", "us-1", "us-2"] {
        assert_ne!(text(&now[node]["from"]["ip"]), text(&now[node]["to"]["ip"]), "{node}");
    }
    assert_eq!(text(&now["us-0"]["at"]), text(&done["at"]), "what has ended is not done again");
    for (node, times) in [("us-0", 0.0), ("us-1", 1.0), ("us-2", 1.0)] {
        let counted = host.metric(&format!("tor_newnym_total{{node=\"{node}\"}}")).await;
        assert!((counted - times).abs() < f64::EPSILON, "{node}: {counted}");
    }
    let rows = audit::list(&host.state_dir().join("audit.sqlite"), 1_000).unwrap();
    let told = |node: &str, what: &str| {
        let is_this =
            |row: &&audit::Entry| row.record.object == format!("node {node}") && row.record.action.ends_with(what);
        rows.iter().filter(is_this).count()
    };
    let goes_on = ["us-0", "us-1", "us-2", "us-3"].map(|node| told(node, "goes on"));
    assert_eq!((goes_on, told("us-3", "is dropped")), ([0, 1, 1, 0], 1));
}

/// The last rotation of each node.
fn last_rotations(report: &Report) -> BTreeMap<String, Value> {
    nodes(report).into_iter().map(|(name, node)| (name, node["last_rotation"].clone())).collect()
}

async fn what_cannot_rotate_is_named(host: &Host) {
    let (code, _, told) = host.verb("rotate", &["us-3"]).await;
    assert_eq!((code, told.trim()), (1, "error: there is no node and no pool `us-3`; the pools are: us (3 nodes)"));
    host.verb("suspend", &["us", "--reason", "a test", "--for", "1h"]).await;
    let (code, _, told) = host.verb("rotate", &["us-0"]).await;
    assert_eq!((code, told.trim()), (1, "error: node us-0 is suspended: `exitpool resume` ends that"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_rotate_by_schedule() {
    let every = pool("us", 2, "us", 30_000).replace("{name", "{rotate_every: 10s, name");
    let Some(mut host) = Host::start("wtime", &document(&every)).await else { return };
    let both =
        |report: &Report| report.converged && nodes(report).values().all(|node| node["rotations"].as_u64() >= Some(2));
    let report = host.sees("two rotations of both nodes", both).await;
    for (name, last) in last_rotations(&report) {
        assert_ne!(text(&last["from"]["ip"]), text(&last["to"]["ip"]), "{name}");
    }
    assert!(host.metric("tor_newnym_total{node=\"us-1\"}").await >= 2.0);
    host.strike().await;
}
