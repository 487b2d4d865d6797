//! What those who use Tor count on: nobody writes down where they go, and every tor is shut in.

use std::collections::BTreeSet;
use std::path::Path;

use exitpool::cli::demo::stage::kill_pid;
use exitpool::daemon::socket::Report;
use rustix::process::Signal;

use super::stage::{Host, document, nodes, pids, pool, reachable, ready, with_torrc};

/// Where the relays of the private network listen.
const OR_PORT: u16 = 9001;

/// A word that stands in destinations and nowhere else.
const CANARY: &str = "canary7f3a9";

#[tokio::test(flavor = "multi_thread")]
async fn where_consumers_go_is_written_nowhere() {
    let Some(mut host) = Host::start("wsafe", &document(&pool("us", 2, "us", 30_000))).await else { return };
    let report = host.converged(2).await;
    for node in nodes(&report).values() {
        let proxy = reachable(&host, node).to_string();
        // A name that no exit can resolve, one that is there, and an address that the client has resolved itself.
        let urls = [format!("http://{CANARY}.invalid/"), format!("http://{}/{CANARY}", host.network().echo())];
        for (how, url) in [("--socks5-hostname", &urls[0]), ("--socks5-hostname", &urls[1]), ("--socks5", &urls[1])] {
            let mut curl = host.network().client_command("curl");
            curl.args(["--silent", "--max-time", "6", "--user-agent", CANARY, how, &proxy, url]);
            let output = curl.output().await.unwrap();
            let expected = !url.contains("invalid");
            assert_eq!(output.status.success(), expected, "{url}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    // While a connection stands as well: the lists of streams are read then.
    let node = reachable(&host, &nodes(&report)["us-0"]).to_string();
    let slow = format!("http://{}/slow?bytes=2000&seconds=6&{CANARY}", host.network().echo());
    let mut curl = host.network().client_command("curl");
    let download = curl.args(["--silent", "--max-time", "30", "--socks5-hostname", &node, &slow]).output();
    let look = async {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        host.verb("reconcile", &[]).await;
    };
    assert!(tokio::join!(download, look).0.unwrap().status.success());

    let in_json = &["-o", "json"][..];
    let verbs = ["status", "nodes", "drift", "plan", "history", "doctor", "events", "alerts", "audit"]
        .map(|verb| (verb, in_json));
    for (verb, arguments) in verbs.into_iter().chain([("snapshot", &[][..])]) {
        let (_, told, complained) = host.verb(verb, arguments).await;
        assert!(!told.contains(CANARY) && !complained.contains(CANARY), "{verb} tells it");
    }
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/nodes", "/api/v1/drift"] {
        assert!(!host.http(path).await.contains(CANARY), "{path} tells it");
    }
    host.stop_daemon().await;
    let mut files = 0;
    for directory in [host.state_dir(), host.runtime_dir(), host.state_dir().with_file_name("daemon.log")] {
        files += search(&directory);
    }
    assert!(files > 20, "only {files} files were searched");
    host.strike().await;
}

/// Looks for the word in every file below a path; says how many there were.
fn search(path: &Path) -> usize {
    if path.is_dir() {
        return std::fs::read_dir(path).unwrap().map(|entry| search(&entry.unwrap().path())).sum();
    }
    // Sockets cannot be read.
    let Ok(bytes) = std::fs::read(path) else { return 0 };
    assert!(!String::from_utf8_lossy(&bytes).contains(CANARY), "{} tells it", path.display());
    1
}

/// A desired state with options of a pool's own.
fn document_with_torrc(size: u16, countries: &str, torrc: &str) -> String {
    document(&with_torrc(&pool("us", size, countries, 30_000), torrc))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tor_in_its_sandbox_does_all_that_it_is_told() {
    let Some(mut host) = Host::start("wsand", &document_with_torrc(2, "us", "")).await else { return };
    let before = pids(&host.converged(2).await);
    // Seccomp's filter is in force.
    for pid in before.values() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
    // Exits, ports and options of a running one.
    host.commits(&document_with_torrc(2, "de", "MaxMemInQueues: 256 MB")).await;
    let report = host.sees("other exits", |report| {
        let of = |node: &serde_json::Value| node["exit"]["country"] == "de";
        report.converged && nodes(report).values().all(of)
    });
    assert_eq!(pids(&report.await), before);
    host.commits(&document_with_torrc(1, "de", "")).await;
    let report = host.converged(1).await;
    host.ask_through(reachable(&host, &nodes(&report)["us-0"])).await.unwrap();
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_can_reach_the_network_through_a_bridge_alone() {
    let Some(mut host) = Host::start("wbrid", &document(&pool("us", 1, "us", 30_000))).await else { return };
    let first = pids(&host.converged(1).await);
    // Any relay serves as a bridge to whoever names it so: here one of its guards.
    let bridge = peers(&host, first["us-0"]).await.pop_last().unwrap();
    let bridges = format!("UseBridges: 1, Bridge: '{bridge}'");
    host.commits(&document_with_torrc(1, "us", &bridges)).await;
    host.converged(1).await;
    // Connections of before stay for a while: another process has none.
    kill_pid(u32::try_from(first["us-0"]).unwrap(), Signal::KILL).unwrap();
    let another = |report: &Report| report.converged && ready(report) == 1 && pids(report) != first;
    let node = nodes(&host.sees("another tor", another).await)["us-0"].clone();
    host.ask_through(reachable(&host, &node)).await.unwrap();
    let pid = node["instance"]["pid"].as_u64().unwrap();
    assert_eq!(peers(&host, pid).await, [bridge.clone()].into());
    // Where the bridge stands is shown to nobody.
    let log = std::fs::read_to_string(host.log()).unwrap();
    for told in [log, host.http("/").await, host.http("/api/v1/nodes").await, host.verb("status", &[]).await.1] {
        assert!(!told.contains(&bridge), "{told}");
    }
    host.strike().await;
}

/// The relays that a tor is connected to.
async fn peers(host: &Host, pid: u64) -> BTreeSet<String> {
    let listed = host.sh("ss -Htnp state established").await;
    let ours = listed.lines().filter(|line| line.contains(&format!("pid={pid},")));
    let peers = ours.filter_map(|line| Some(line.split_ascii_whitespace().nth(3)?.to_owned()));
    peers.filter(|peer| peer.ends_with(&format!(":{OR_PORT}"))).collect()
}
