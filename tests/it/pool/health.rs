//! Nodes that go, hang, end over and over, or lose the network: each is seen as what it is, and dealt with as that.

use std::net::SocketAddr;
use std::time::Duration;

use exitpool::cli::demo::stage::kill_pid;
use exitpool::daemon::socket::Report;
use rustix::process::Signal;
use tokio::process::Child;

use super::stage::{Host, condition, document, nodes, pids, pool, reachable, ready};

/// A pool of American exits, with more settings behind it.
fn americans(size: u16, more: &str) -> String {
    document(&pool("us", size, "us", 30_000)) + more
}

/// Begins a download through a node, from where clients are.
fn download(host: &Host, node: SocketAddr, bytes: u64, seconds: u64) -> Child {
    let url = format!("http://{}/slow?bytes={bytes}&seconds={seconds}", host.network().echo());
    let mut curl = host.network().client_command("curl");
    curl.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{size_download}"]);
    curl.args(["--socks5-hostname", &node.to_string(), &url]).stdout(std::process::Stdio::piped());
    curl.spawn().unwrap()
}

/// How many bytes a download has got in the end.
async fn downloaded(download: Child) -> u64 {
    let output = download.wait_with_output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn restarts(report: &Report) -> u64 {
    nodes(report).values().map(|node| node["restarts"].as_u64().unwrap()).sum()
}

/// What the condition `Ready` of a node says: its status, its reason and its message.
fn readiness(report: &Report, node: &str) -> (String, String, String) {
    let conditions = nodes(report)[node]["conditions"].clone();
    let ready = conditions.as_array().unwrap().iter().find(|condition| condition["type"] == "Ready").unwrap().clone();
    let text = |field: &str| ready[field].as_str().unwrap().to_owned();
    (text("status"), text("reason"), text("message"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_lets_its_connections_end() {
    let sized = |size, drain: &str| americans(size, &format!("reconcile: {{drain_for: {drain}, max_delete: 100%}}\n"));
    let Some(mut host) = Host::start("drain", &sized(3, "1m")).await else { return };
    let report = host.converged(3).await;
    let (one, two) = (reachable(&host, &nodes(&report)["us-1"]), reachable(&host, &nodes(&report)["us-2"]));
    let (short, long) = (download(&host, two, 500_000, 10), download(&host, one, 8_000_000, 80));
    tokio::time::sleep(Duration::from_secs(3)).await;

    host.commits(&sized(2, "1m")).await;
    let draining = |report: &Report| report.left.iter().any(|left| left.contains("draining: 1 connection is left"));
    host.sees("a node that is drained", draining).await;
    assert!(host.ask_through(two).await.is_err(), "it takes no new connection");
    assert_eq!(downloaded(short).await, 500_000, "the one that it has goes on");
    host.converged(2).await;
    assert!(!host.instance_file("us-2", "torrc").exists());

    // The time is over before the download is.
    host.commits(&sized(1, "2s")).await;
    host.converged(1).await;
    let got = downloaded(long).await;
    assert!(got > 0 && got < 8_000_000, "{got} bytes");
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tor_that_hangs_is_told_from_one_that_is_unknown_and_is_restarted() {
    let Some(mut host) = Host::start("hang", &americans(2, "health: {restart_after: 2}\n")).await else { return };
    let before = pids(&host.converged(2).await);
    let pid = u32::try_from(before["us-0"]).unwrap();
    kill_pid(pid, Signal::STOP).unwrap();
    let report = host.sees("a silent tor", |report| readiness(report, "us-0").2.contains("gives no answer")).await;
    assert_eq!((readiness(&report, "us-0").0.as_str(), ready(&report)), ("Unknown", 1));
    let report = host.converged(2).await;
    let after = pids(&report);
    assert!(after["us-0"] != before["us-0"] && after["us-1"] == before["us-1"], "{after:?}");
    assert_eq!(restarts(&report), 1);
    assert!(!std::path::Path::new(&format!("/proc/{pid}/stat")).exists(), "the old one is gone");

    // A control socket that others have taken the place of is unknown for another reason, and stays alone.
    let (socket, aside) = (host.instance_file("us-1", "control"), host.instance_file("us-1", "control.aside"));
    std::fs::rename(&socket, &aside).unwrap();
    host.verb("reconcile", &[]).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(pids(&host.report().await.unwrap())["us-1"], before["us-1"]);
    std::fs::rename(&aside, &socket).unwrap();
    host.verb("reconcile", &[]).await;
    assert_eq!(pids(&host.converged(2).await), after);
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_gone_is_one_incident_and_no_restart() {
    let Some(mut host) = Host::start("gone", &americans(3, "health: {restart_after: 1}\n")).await else { return };
    let before = pids(&host.converged(3).await);
    host.sh("nft add table inet cut; nft add chain inet cut out '{ type filter hook output priority 0; }'; \
             nft add rule inet cut out ip daddr 10.0.0.0/8 drop")
        .await;
    // What stands is cut by the lack of answers in its own time: circuits are closed by hand, so that new ones are tried.
    for node in before.keys() {
        let stray = host.instance_file(node, "control");
        assert!(stray.exists());
    }
    let is_incident = |report: &Report| condition(report, "Healthy").1 == "NetworkDown";
    let report = host.sees("one incident", is_incident).await;
    assert!(condition(&report, "Healthy").2.contains("all 3 tors"), "{:?}", condition(&report, "Healthy"));
    tokio::time::sleep(Duration::from_secs(40)).await;
    let report = host.report().await.unwrap();
    assert!(is_incident(&report) && pids(&report) == before && restarts(&report) == 0, "{report:#?}");

    host.sh("nft delete table inet cut").await;
    let report = host.converged(3).await;
    assert_eq!((pids(&report), restarts(&report)), (before, 0));
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_over_and_over_is_held_down_and_says_so() {
    let Some(mut host) = Host::start("flap", &americans(2, "")).await else { return };
    let mut last = pids(&host.converged(2).await);
    let steady = last["us-1"];
    for _ in 0..6 {
        kill_pid(u32::try_from(last["us-0"]).unwrap(), Signal::KILL).unwrap();
        let is_down_or_new = |report: &Report| {
            readiness(report, "us-0").1 == "HeldDown"
                || pids(report).get("us-0").is_some_and(|pid| *pid != last["us-0"])
        };
        let report = host.sees("a restart, or a node that is held down", is_down_or_new).await;
        if readiness(&report, "us-0").1 == "HeldDown" {
            break;
        }
        last = pids(&report);
    }
    let report = host.sees("a node that is held down", |report| readiness(report, "us-0").1 == "HeldDown").await;
    assert_eq!((nodes(&report)["us-0"]["state"].as_str().unwrap(), restarts(&report)), ("failed", 5));
    assert_eq!(pids(&report)["us-1"], steady);
    let (_, told, _) = host.verb("nodes", &[]).await;
    assert!(told.contains("held down until"), "{told}");

    // Another wish is another case.
    host.commits(&document(&pool("us", 2, "us", 30_100))).await;
    host.converged(2).await;
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_directory_cache_is_a_bootstrap_like_any_other() {
    let Some(mut host) = Host::start("damage", &americans(1, "")).await else { return };
    host.converged(1).await;
    let cache = |node: &str, file: &str| host.state_dir().join("instances").join(node).join(file);
    // A consensus that looks whole and says nothing true, and descriptors that are none.
    let consensus = std::fs::read_to_string(cache("us-0", "cached-microdesc-consensus")).unwrap();
    std::fs::write(cache("us-0", "cached-microdesc-consensus"), consensus.replace("\nr ", "\nr x")).unwrap();
    std::fs::write(cache("us-0", "cached-microdescs.new"), "onion-key\nnothing\n").unwrap();
    std::fs::write(cache("us-0", "cached-microdescs"), "\0\0\0").unwrap();
    host.commits(&americans(3, "")).await;
    let report = host.converged(3).await;
    for node in nodes(&report).values() {
        host.ask_through(reachable(&host, node)).await.unwrap();
    }
    // And one whose own cache is damaged while it is down.
    host.stop_daemon().await;
    let pid = pids(&report)["us-1"];
    kill_pid(u32::try_from(pid).unwrap(), Signal::KILL).unwrap();
    std::fs::write(host.state_dir().join("instances/us-1/cached-microdesc-consensus"), "garbage").unwrap();
    host.start_daemon().unwrap();
    host.sees("another process", |report| pids(report).get("us-1").is_some_and(|now| *now != pid)).await;
    host.converged(3).await;
    host.strike().await;
}
