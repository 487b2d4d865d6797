//! How traffic enters Tor on a private Tor network: by which guard relays, and with names or addresses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use exitpool::daemon::socket::Report;
use exitpool::testnet::Spec;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::stage::{Host, PATIENCE, document, network_of, nodes, pool, reachable, ready, with_torrc};

/// The warnings of a reason.
fn warnings(report: &Report, reason: &str) -> Vec<Value> {
    let all = report.status["warnings"].as_array().unwrap();
    all.iter().filter(|warning| warning["reason"] == reason).cloned().collect()
}

/// The guard relays of the network, by fingerprint.
fn guard_relays(host: &Host) -> BTreeSet<String> {
    let directory = host.network().directory();
    let read = |number: u8| std::fs::read_to_string(directory.join(format!("guard{number}/fingerprint"))).ok();
    let found = (0..16).filter_map(read);
    found.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
}

/// Asks the echo server by a name that no exit can resolve, or by its address, as curl's option says; gives no answer away.
async fn request(host: &Host, option: &str, node: SocketAddr, url: &str) {
    let mut curl = host.network().client_command("curl");
    curl.args(["--silent", "--output", "/dev/null", "--max-time", "20", option, &node.to_string(), url]);
    curl.stdout(Stdio::null()).stderr(Stdio::null()).status().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_resolve_names_themselves_are_warned_of_and_can_be_refused() {
    let Some(mut host) = Host::start("wsafe", &document(&pool("us", 2, "us", 30_000))).await else { return };
    let report = host.converged(2).await;
    let node = reachable(&host, &nodes(&report)["us-0"]);
    let count = |report: &Report, name: &str| nodes(report)[name]["instance"]["unsafe_socks"].as_u64().unwrap();

    // A name that goes along is not warned of, whatever becomes of it.
    request(&host, "--socks5-hostname", node, "http://name.that.is.nowhere.example/").await;
    let (code, _, error) = host.verb("reconcile", &[]).await;
    assert_eq!(code, 0, "{error}");
    let report = host.converged(2).await;
    assert_eq!((count(&report, "us-0"), warnings(&report, "UnsafeSocks")), (0, vec![]));

    // `localhost` is looked up by curl itself.
    request(&host, "--socks5", node, "http://localhost:9/").await;
    let report = host.sees("a count", |report| count(report, "us-0") == 1).await;
    let [warning] = warnings(&report, "UnsafeSocks").try_into().unwrap();
    assert_eq!(warning["nodes"], serde_json::json!(["us-0"]));
    assert_eq!((count(&report, "us-1"), ready(&report)), (0, 2), "the node serves all the same");
    assert_eq!(host.metric("exitpool_unsafe_socks_total").await, 1.0);
    assert_eq!(host.metric("exitpool_warnings{reason=\"UnsafeSocks\"}").await, 1.0);
    let (code, told, _) = host.verb("status", &[]).await;
    assert!(code == 0 && told.contains("warning: clients of us-0 connect to addresses and not to names"), "{told}");

    // It can be refused, at run time.
    let before = host.ask_through(node).await.is_ok();
    host.commits(&document(&with_torrc(&pool("us", 2, "us", 30_000), "SafeSocks: 1"))).await;
    let first = report.status["revision"].clone();
    host.sees("SafeSocks", |report| report.converged && report.status["revision"] != first).await;
    let echo = format!("http://{}/", host.network().echo());
    let refused =
        host.network().client_command("curl").args(["--silent", "--socks5", &node.to_string(), &echo]).status().await;
    // 97 is curl's word for a proxy that refuses.
    assert_eq!((before, refused.unwrap().code()), (true, Some(97)));
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_relays_of_each_node_are_known_and_a_crowd_at_one_is_warned_of() {
    // Ten tors behind each of four guard relays at least: one of these has a crowd, whatever they draw.
    let Some(mut host) = Host::start("wgrd", &document(&pool("us", 37, "us", 30_000))).await else { return };
    let known = guard_relays(&host);
    assert_eq!(known.len(), 4);
    let of = |node: &Value| -> BTreeSet<String> {
        node["instance"]["guard_relays"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let all_known = |report: &Report| {
        ready(report) == 37 && nodes(report).values().all(|node| !of(node).is_empty() && of(node).is_subset(&known))
    };
    let report = host.sees("the guard relays of all nodes", all_known).await;
    let crowded = warnings(&report, "CrowdedGuardRelay");
    assert!(!crowded.is_empty(), "{}", report.status["warnings"]);
    let message = crowded[0]["message"].as_str().unwrap();
    assert!(
        message.contains("enter Tor by one guard relay, guard") && message.contains("nodes_per_instance"),
        "{message}"
    );
    let most = known.iter().map(|relay| nodes(&report).values().filter(|node| of(node).contains(relay)).count()).max();
    assert!(most >= Some(10));
    assert!(host.metric("exitpool_guard_relay_nodes_max").await >= 10.0);

    // A daemon that begins anew finds them again.
    host.kill_daemon().await;
    host.start_daemon().unwrap();
    host.sees("the guard relays of all nodes", all_known).await;
    host.strike().await;
}

/// How many circuits a guard relay has refused, as it says in its log when it is asked to.
async fn refused_circuits(host: &Host, relay: &str) -> u64 {
    let directory = host.network().directory();
    let told = || -> Vec<String> {
        let log = std::fs::read_to_string(directory.join(format!("{relay}.log"))).unwrap();
        let lines = log.lines().filter(|line| line.contains("DoS mitigation since startup"));
        lines.map(ToOwned::to_owned).collect()
    };
    let before = told().len();
    let mut stream = UnixStream::connect(directory.join(relay).join("control")).await.unwrap();
    stream.write_all(b"AUTHENTICATE\r\nSIGNAL HEARTBEAT\r\nQUIT\r\n").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said.matches("250 OK").count(), 2, "{said}");
    // It answers first, and writes then.
    let written = async {
        while told().len() <= before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("the guard relay writes down what it has refused");
    let line = told().pop().unwrap();
    let before = line.split(" circuits rejected").next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The nodes that wait for their turn at a guard relay, as the daemon says, and in which state they are.
fn paced(report: &Report) -> Vec<(String, String)> {
    let waits = |node: &Value| {
        let ready = node["conditions"].as_array().unwrap().iter().find(|it| it["type"] == "Ready").unwrap();
        let told = ready["message"].as_str().unwrap().contains("turn at guard relay");
        ready["reason"] == "GuardRelayLimitReached" && told
    };
    let waiting = nodes(report).into_iter().filter(|(_, node)| waits(node));
    waiting.map(|(name, node)| (name, node["state"].as_str().unwrap().to_owned())).collect()
}

/// A guard relay that refuses one client's circuits goes on to do so for an hour.
///
/// Within 15 s it takes 30 of them, so that three of five tors may begin theirs, from their first start on. Where nothing
/// was paced, at 60 within 30 s, the fourth rotation of seven tors within 35 s had hundreds of circuits refused (docs/health.md).
#[tokio::test(flavor = "multi_thread")]
async fn no_guard_relay_is_asked_for_more_circuits_than_it_gives_to_one_client() {
    let limits = ["Enabled=1", "MinConnections=2", "Burst=30", "Rate=2"].map(|it| format!("DoSCircuitCreation{it}"));
    let network = Spec { consensus_params: limits.into(), ..network_of(&[("us", 3)], "wpace") };
    let plain = pool("us", 5, "us", 30_000);
    let Some(mut host) = Host::set_in(network, &document(&plain)).await else { return };
    let relay = std::fs::read_to_string(host.network().directory().join("guard1/fingerprint")).unwrap();
    let entry = format!("EntryNodes: ${}", relay.split_whitespace().nth(1).unwrap());
    host.commits(&document(&with_torrc(&plain, &entry))).await;
    host.start_daemon().unwrap();
    let report = host.sees("a tor that waits for its first start", |report| !paced(report).is_empty()).await;
    assert!(paced(&report).iter().all(|(_, state)| state == "pending"), "{:?}", paced(&report));
    assert!(host.metric("exitpool_circuits_waiting").await >= 1.0);
    host.converged(5).await;
    assert_eq!(refused_circuits(&host, "guard1").await, 0, "after the start");

    // These are too many at any time.
    let (code, told, error) = host.verb("rotate", &["us-0", "us-1", "us-2", "us-3"]).await;
    assert!(
        code == 0 && told.contains("its rotation is waiting for its turn at guard relay guard1 ("),
        "{told}{error}"
    );
    let report = host.sees("a rotation that waits", |report| !paced(report).is_empty()).await;
    assert!(paced(&report).iter().all(|(_, state)| state == "ready"), "{:?}", paced(&report));
    let conditions = report.status["conditions"].to_string();
    assert!(!conditions.contains("turn at guard relay"), "the host is as desired meanwhile: {conditions}");
    let (_, told, _) = host.verb("nodes", &["--wide"]).await;
    assert!(told.matches("guard1 (").count() >= 5, "{told}");
    let all = |report: &Report| nodes(report).values().filter(|node| node["rotations"] == 1).count() == 4;
    let report = host.sees("four rotations", all).await;
    assert_eq!((paced(&report), refused_circuits(&host, "guard1").await), (vec![], 0), "after the rotations");
    assert_eq!(host.metric("exitpool_circuits_waiting").await, 0.0);
    host.strike().await;
}
