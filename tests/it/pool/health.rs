//! Nodes that go, hang, end over and over, or lose the network: each is seen as what it is, and dealt with as that.

use std::net::SocketAddr;
use std::time::Duration;

use exitpool::cli::demo::stage::{finished, kill_pid};
use exitpool::daemon::socket::Report;
use rustix::process::Signal;
use tokio::process::Child;

use super::stage::{Host, condition, document, nodes, pids, pool, reachable, ready, with_torrc};

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

pub fn restarts(report: &Report) -> u64 {
    nodes(report).values().map(|node| node["restarts"].as_u64().unwrap()).sum()
}

/// What the condition `Ready` of a node says: its status, its reason and its message. A daemon that has just started tells
/// of no node yet.
pub fn readiness(report: &Report, node: &str) -> (String, String, String) {
    let Some(node) = nodes(report).remove(node) else { return Default::default() };
    let conditions = node["conditions"].clone();
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

/// Asks the echo server every few seconds, through every node.
const PROBED: &str = "health: {restart_after: 2, probe: {url: 'http://10.3.0.1/', every: 3s, timeout: 3s}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_gone_is_one_incident_and_no_restart() {
    let Some(mut host) = Host::start("gone", &americans(3, PROBED)).await else { return };
    let before = pids(&host.converged(3).await);
    let drop_all = "nft add table inet cut; nft add chain inet cut out '{ type filter hook output priority 0; }'; \
                    nft add rule inet cut out ip daddr 10.0.0.0/8 drop";
    host.sh(drop_all).await;
    let is_incident = |report: &Report| condition(report, "Healthy").1 == "NetworkDown";
    let report = host.sees("one incident", is_incident).await;
    assert!(condition(&report, "Healthy").2.contains("all 3 tors"), "{:?}", condition(&report, "Healthy"));
    assert_eq!(host.metric("tor_nodes_up").await, 0.0);
    // Long enough for many checks to fail, each of which would be a restart.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let report = host.report().await.unwrap();
    assert!(is_incident(&report), "{:?}", condition(&report, "Healthy"));
    assert_eq!((pids(&report), restarts(&report)), (before.clone(), 0));

    host.sh("nft delete table inet cut").await;
    let report = host.converged(3).await;
    assert_eq!((pids(&report), restarts(&report)), (before, 0));
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_sees_what_a_consumer_would_see() {
    let Some(mut host) = Host::start("probe", &americans(2, PROBED)).await else { return };
    host.converged(2).await;
    let probed = |report: &Report| nodes(report).values().all(|node| node["probe"]["passed"] == true);
    let report = host.sees("two probes", probed).await;
    let addresses: Vec<String> = host
        .network()
        .exits()
        .iter()
        .filter(|exit| exit.country.to_string() == "us")
        .map(|exit| exit.address.to_string())
        .collect();
    for node in nodes(&report).values() {
        let seen = node["probe"]["seen_ip"].as_str().unwrap().to_owned();
        assert!(addresses.contains(&seen), "{seen} of {addresses:?}");
        assert_eq!(node["probe"]["latency_ms"], node["latency_ms"]);
    }
    assert!(host.metric("tor_node_latency_ms{node=\"us-0\"}").await > 0.0);

    // A page that is not there is no success, though everybody sees the same: it is one incident.
    host.commits(&americans(2, &PROBED.replace("10.3.0.1/", "10.3.0.1/elsewhere"))).await;
    let report = host.sees("probes that fail", |report| condition(report, "Healthy").1 == "NetworkDown").await;
    assert!(readiness(&report, "us-0").2.contains("it was answered 404"), "{:?}", readiness(&report, "us-0"));
    assert_eq!(restarts(&report), 0);
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_over_and_over_is_held_down_and_says_so() {
    let Some(mut host) = Host::start("flap", &americans(2, "")).await else { return };
    let mut last = pids(&host.converged(2).await);
    let steady = last["us-1"];
    for round in 0..6 {
        // A daemon that ends over and over counts on where the one before was killed.
        if round % 2 == 1 {
            host.kill_daemon().await;
            host.start_daemon().unwrap();
        }
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
    assert_eq!(nodes(&report)["us-0"]["state"], "failed");
    assert!(readiness(&report, "us-0").2.contains("it was started again 5 times"), "{:?}", readiness(&report, "us-0"));
    assert_eq!(pids(&report)["us-1"], steady);

    // And so it is with the next daemon, which leaves it alone however often it looks.
    host.kill_daemon().await;
    host.start_daemon().unwrap();
    host.sees("that it is held down still", |report| readiness(report, "us-0").1 == "HeldDown").await;
    host.verb("reconcile", &[]).await;
    let report = host.report().await.unwrap();
    assert_eq!((readiness(&report, "us-0").1.as_str(), restarts(&report), ready(&report)), ("HeldDown", 0, 1));
    assert!(readiness(&report, "us-0").2.contains("it was started again 5 times"), "{:?}", readiness(&report, "us-0"));
    let (_, told, _) = host.verb("nodes", &[]).await;
    assert!(told.contains("held down"), "{told}");

    // Whoever has mended what was wrong says so.
    let (code, said, _) = host.verb("reconcile", &["--reset"]).await;
    assert!(code == 0 && said.contains("ordered  node us-0 is not held down any more"), "{code} {said}");
    host.converged(2).await;
    let (_, said, _) = host.verb("reconcile", &["--reset"]).await;
    assert!(said.contains("nothing has failed, and no node is held down"), "{said}");
    let (_, audited, _) = host.verb("audit", &["--kind", "host"]).await;
    assert!(audited.contains("us-0 is not held down any more"), "{audited}");
    // It is no restart then of which there were so many, for the next daemon as well.
    host.kill_daemon().await;
    host.start_daemon().unwrap();
    kill_pid(u32::try_from(pids(&host.converged(2).await)["us-0"]).unwrap(), Signal::KILL).unwrap();
    host.sees("one restart", |report| restarts(report) > 0).await;
    assert_eq!(pids(&host.converged(2).await)["us-1"], steady);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_keeps_nodes_from_serving_goes_no_further() {
    let with = |torrc: &str| document(&with_torrc(&pool("us", 4, "us", 30_000), torrc)) + PROBED;
    let Some(mut host) = Host::start("roll", &with("MaxCircuitDirtiness: 600")).await else { return };
    let before = pids(&host.converged(4).await);
    // tor takes it at run time, and can build no circuit any more: nothing is behind that address.
    host.commits(&with("UseBridges: 1, Bridge: '192.0.2.1:443'")).await;
    let report =
        host.sees("a change that has stopped", |report| condition(report, "Stalled").1 == "RolloutStopped").await;
    assert!(condition(&report, "Stalled").2.contains("3 nodes left as before"), "{:?}", condition(&report, "Stalled"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let report = host.report().await.unwrap();
    assert_eq!(ready(&report), 3, "three quarters serve as before");
    let unchanged = pids(&report).iter().filter(|(name, pid)| before[*name] == **pid).count();
    assert!(unchanged >= 3, "{before:?} {:?}", pids(&report));

    host.commits(&with("MaxCircuitDirtiness: 600")).await;
    host.converged(4).await;
    assert_eq!(condition(&host.report().await.unwrap(), "Stalled").0, "False");
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_tor_is_rolled_over_the_pool() {
    let Some(mut host) = Host::start("upgr", &americans(3, "")).await else { return };
    host.converged(3).await;
    host.stop_daemon().await;
    let installed = std::fs::canonicalize("/usr/bin/tor").or_else(|_| std::fs::canonicalize("/usr/sbin/tor")).unwrap();
    let program = host.state_dir().with_file_name("tor");
    let version = finished(tokio::process::Command::new(&installed).arg("--version"), "tor").await.unwrap();
    let version = version.split_whitespace().nth(2).unwrap().trim_end_matches('.').to_owned();
    let older = format!("{}0", &version[..version.len() - 1]);
    let bytes = std::fs::read(&installed).unwrap();
    std::fs::write(&program, replaced(bytes.clone(), version.as_bytes(), older.as_bytes())).unwrap();
    let runs = |report: &Report, version: &str| {
        let nodes = nodes(report);
        nodes.values().filter(|node| node["instance"]["version"] == version).count()
    };
    make_executable(&program);
    host.start_daemon_with(&["--tor", program.to_str().unwrap()]).unwrap();
    host.sees("an older version", |report| report.converged && runs(report, &older) == 3).await;

    // As a package manager does it: another file under the same name.
    let fresh = program.with_file_name("tor.new");
    std::fs::write(&fresh, bytes).unwrap();
    make_executable(&fresh);
    std::fs::rename(&fresh, &program).unwrap();
    let mut fewest = 3;
    let report = host
        .sees("the other version", |report| {
            fewest = fewest.min(ready(report));
            report.converged && runs(report, &version) == 3
        })
        .await;
    assert!(fewest >= 2, "{fewest} were ready at some time");
    assert_eq!(ready(&report), 3);
    host.strike().await;
}

/// The same bytes with one text in the place of another of the same length.
fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at] == from[0] && bytes[*at..].starts_with(from)).collect();
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

fn make_executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// What a pool asks of the Tor network's directory, beside what its first node asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_downloads_the_directory_once() {
    let Some(mut host) = Host::start("once", &americans(8, "")).await else { return };
    let report = host.converged(8).await;
    let downloads = |node: &String| {
        let log = std::fs::read_to_string(host.instance_file(node, "log")).unwrap();
        let phases = ["(requesting_status)", "(loading_status)", "(requesting_descriptors)", "(loading_descriptors)"];
        log.lines().filter(|line| phases.iter().any(|phase| line.contains(phase))).count()
    };
    let mut counts: Vec<usize> = nodes(&report).keys().map(downloads).collect();
    counts.sort_unstable();
    let first = counts.pop().unwrap();
    assert!(first >= 3, "{counts:?} and {first}");
    assert_eq!(counts, [0; 7], "steps of downloading, beside {first} of the first node");
    host.strike().await;
}
