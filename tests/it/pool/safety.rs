//! What those who use Tor count on: nobody writes down where they go, and every tor is shut in.

use std::path::Path;

use super::stage::{Host, document, nodes, pids, pool, reachable};

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
            curl.args(["--silent", "--max-time", "20", "--user-agent", CANARY, how, &proxy, url]);
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

    for verb in ["status", "nodes", "drift", "plan", "snapshot", "history", "doctor"] {
        let (_, told, complained) = host.verb(verb, &["-o", "json"]).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_tor_in_its_sandbox_does_all_that_it_is_told() {
    let sized = |size, countries, more: &str| {
        let pool = pool("us", size, countries, 30_000);
        document(&pool.replace('}', &format!(", torrc: {{Sandbox: 1{more}}}}}")))
    };
    let Some(mut host) = Host::start("wsand", &sized(2, "us", "")).await else { return };
    let before = pids(&host.converged(2).await);
    // Seccomp's filter is in force.
    for pid in before.values() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
    // Exits, ports and options of a running one.
    host.commits(&sized(2, "de", ", MaxMemInQueues: 256 MB")).await;
    let report = host.sees("other exits", |report| {
        let of = |node: &serde_json::Value| node["exit"]["country"] == "de";
        report.converged && nodes(report).values().all(of)
    });
    assert_eq!(pids(&report.await), before);
    host.commits(&sized(1, "de", "")).await;
    let report = host.converged(1).await;
    host.ask_through(reachable(&host, &nodes(&report)["us-0"])).await.unwrap();
    host.strike().await;
}
