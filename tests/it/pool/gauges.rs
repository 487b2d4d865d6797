//! What metrics watch is broken, and they say so: on real nodes, behind a real guard.

use std::time::Duration;

use exitpool::cli::demo::stage::kill_pid;
use exitpool::daemon::socket::Report;
use rustix::process::Signal;

use super::stage::{Host, PATIENCE, condition, document, nodes, pids, pool};
use crate::export::sign_in::passwd;

/// A series and the value that it has to come to.
async fn comes_to(host: &Host, series: &str, is_right: impl Fn(f64) -> bool) -> f64 {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let value = host.metric(series).await;
        if is_right(value) {
            return value;
        }
        assert!(tokio::time::Instant::now() < end, "{series} stays {value}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn rises(host: &Host, series: &str, from: f64) {
    comes_to(host, series, |value| value > from).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_nodes_and_of_the_guard_follow_what_breaks() {
    let pools = |us| document(&(pool("us", us, "us", 30_000) + &pool("va", 1, "va", 30_100)));
    let Some(mut host) = Host::start("gauges", &document(&pool("us", 2, "us", 30_000))).await else { return };
    let before = pids(&host.converged(2).await);
    assert_eq!(host.metric("tor_nodes_total").await, 2.0);
    assert_eq!(host.metric("tor_nodes_up").await, 2.0);
    comes_to(&host, "tor_node_latency_ms{node=\"us-0\"}", |value| value > 0.0).await;
    assert_eq!(host.metric("tor_restarts_total{node=\"us-0\"}").await, 0.0);
    let drifted = "exitpool_drift_detected_total{kind=\"instance\"}";
    let (drift, passes) = (host.metric(drifted).await, host.metric("exitpool_reconcile_duration_seconds_count").await);

    // A tor dies: it is drift, one restart, and passes.
    kill_pid(u32::try_from(before["us-0"]).unwrap(), Signal::KILL).unwrap();
    comes_to(&host, "tor_restarts_total{node=\"us-0\"}", |value| value == 1.0).await;
    assert_eq!(host.metric("tor_restarts_total{node=\"us-1\"}").await, 0.0);
    rises(&host, drifted, drift).await;
    rises(&host, "exitpool_reconcile_duration_seconds_count", passes).await;
    host.converged(2).await;

    // The guard goes: it is drift of another sort, and one more change of the firewall.
    let applied = "exitpool_firewall_apply_total{driver=\"nftables\",result=\"success\"}";
    let (drifted, series) = (host.metric("exitpool_drift_detected_total{kind=\"guard\"}").await, applied);
    let before = host.metric(series).await;
    host.sh("nft delete table inet exitpool").await;
    rises(&host, "exitpool_drift_detected_total{kind=\"guard\"}", drifted).await;
    rises(&host, series, before).await;

    // One node more, and one that no exit fits: it is wanted, and it is not up.
    host.commits(&pools(3)).await;
    let blocked =
        |report: &Report| condition(report, "Stalled").1 == "NoExits" && nodes(report)["us-2"]["state"] == "ready";
    host.sees("three nodes, and one that cannot be", blocked).await;
    assert_eq!(host.metric("tor_nodes_total").await, 4.0);
    comes_to(&host, "tor_nodes_up", |value| value == 3.0).await;
    assert_eq!(host.metric("exitpool_condition{status=\"True\",type=\"Stalled\"}").await, 1.0);
    // And the series of a node go with it.
    let unbounded = document(&pool("us", 2, "us", 30_000)) + "reconcile: {max_delete: 100%}\n";
    host.commits(&unbounded).await;
    host.converged(2).await;
    assert!(!host.http("/metrics").await.contains("node=\"us-2\""));
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_the_daemon_follow_what_it_is_given() {
    let Some(mut host) = Host::start("proc", &document(&pool("us", 1, "us", 30_000))).await else { return };
    host.converged(1).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(host.metric(&format!("exitpool_build_info{{version=\"{version}\"}}")).await, 1.0);

    // Requests, one of them for what is not there.
    let missing = "api_requests_total{endpoint=\"other\",method=\"GET\",status=\"404\"}";
    let answered = host.metric("api_request_duration_seconds_count").await;
    assert_eq!(host.metric(missing).await, 0.0);
    host.http("/nothing").await;
    assert_eq!(host.metric(missing).await, 1.0);
    rises(&host, "api_request_duration_seconds_count", answered + 2.0).await;

    // Connections that stay open are descriptors, and a smaller limit shows.
    let pid = host.daemon_pid().unwrap();
    let open = host.metric("process_open_fds").await;
    // The server closes those on which nothing is asked: there are new ones all the time.
    let hold = format!(
        "while :; do for n in 1 2 3 4 5 6 7 8; do exec {{fd}}<>/dev/tcp/{}/{}; done; sleep 2; done",
        host.panel().ip(),
        host.panel().port()
    );
    let mut holder = host.network().client_command("bash").args(["-c", &hold]).kill_on_drop(true).spawn().unwrap();
    comes_to(&host, "process_open_fds", |value| value >= open + 6.0).await;
    holder.kill().await.unwrap();
    host.sh(&format!("prlimit --pid {pid} --nofile=777:777")).await;
    assert_eq!(host.metric("process_max_fds").await, 777.0);

    // What the kernel says of the same process elsewhere.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for (series, field) in [("process_resident_memory_bytes", "VmRSS:"), ("process_virtual_memory_bytes", "VmSize:")] {
        let kib = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")).unwrap();
        let ratio = host.metric(series).await / (kib.parse::<f64>().unwrap() * 1024.0);
        assert!((0.5..2.0).contains(&ratio), "{series} is {ratio} times what {field} says");
    }
    // Work takes time, and a daemon that is started anew says when.
    let (cpu, started) =
        (host.metric("process_cpu_seconds_total").await, host.metric("process_start_time_seconds").await);
    for _ in 0..20 {
        host.http("/").await;
    }
    assert!(host.metric("process_cpu_seconds_total").await > cpu);
    host.kill_daemon().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    host.start_daemon().unwrap();
    host.converged(1).await;
    assert!(host.metric("process_start_time_seconds").await > started + 0.5);

    // This page is served in the clear to others than this host: it says so once it asks for passwords.
    let warns = |report: &Report| report.status["warnings"].to_string().contains("PasswordsInTheClear");
    assert!(!warns(&host.report().await.unwrap()));
    let hash = passwd("tulips-7-under-snow", &[]).done();
    let sign_in = format!("  sign_in: {{users: [{{name: ada, password: '{hash}'}}]}}\n");
    host.commits(&(document(&pool("us", 1, "us", 30_000)) + &sign_in)).await;
    host.sees("a warning", warns).await;
    host.strike().await;
}
