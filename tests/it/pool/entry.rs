//! How traffic enters Tor on a private Tor network: by which guard relays, and with names or addresses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use exitpool::daemon::socket::Report;
use exitpool::testnet::Spec;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::rotate::asked;
use super::stage::{Host, document, network_of, nodes, pool, reachable, ready};

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
    let (code, _, error) = asked(&host, "reconcile", &[]).await;
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
    let (code, told, _) = asked(&host, "status", &[]).await;
    assert!(code == 0 && told.contains("warning: clients of us-0 connect to addresses and not to names"), "{told}");

    // It can be refused, at run time.
    let before = host.ask_through(node).await.is_ok();
    host.commits(&document(&pool("us", 2, "us", 30_000).replace('}', ", torrc: {SafeSocks: 1}}"))).await;
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
    let mut stream = UnixStream::connect(directory.join(relay).join("control")).await.unwrap();
    stream.write_all(b"AUTHENTICATE\r\nSIGNAL HEARTBEAT\r\nQUIT\r\n").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said.matches("250 OK").count(), 2, "{said}");
    let log = std::fs::read_to_string(directory.join(format!("{relay}.log"))).unwrap();
    let line =
        log.lines().rfind(|line| line.contains("DoS mitigation since startup")).unwrap_or_else(|| panic!("{log}"));
    let before = line.split(" circuits rejected").next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

/// A guard relay that refuses one client's circuits goes on to do so for an hour.
#[tokio::test(flavor = "multi_thread")]
async fn no_guard_relay_is_asked_for_more_circuits_than_it_gives_to_one_client() {
    let limits = ["Enabled=1", "MinConnections=2", "Burst=60", "Rate=2"].map(|it| format!("DoSCircuitCreation{it}"));
    let network = Spec { consensus_params: limits.into(), ..network_of(&[("us", 3)], "wpace") };
    let one = pool("us", 1, "us", 30_000);
    let Some(mut host) = Host::start_in(network, &document(&one)).await else { return };
    host.converged(1).await;
    let relay = std::fs::read_to_string(host.network().directory().join("guard1/fingerprint")).unwrap();
    let entry = format!(", torrc: {{EntryNodes: ${}}}}}", relay.split_whitespace().nth(1).unwrap());
    host.commits(&document(&(one + &pool("eu", 7, "us", 30_010).replace('}', &entry)))).await;
    let all_enter_there = |report: &Report| {
        let enters = |node: &Value| node["instance"]["guard_relays"].as_array().is_some_and(|it| !it.is_empty());
        ready(report) == 8 && report.converged && nodes(report).values().all(enters)
    };
    host.sees("eight nodes whose guard relays are known", all_enter_there).await;

    // Seven tors have just begun six circuits each and more, and sixty at once are too many: they wait for their turns.
    let begun = Instant::now();
    let (code, told, error) = asked(&host, "rotate", &["eu", "--wait", "150s"]).await;
    assert_eq!((refused_circuits(&host, "guard1").await, code, error.as_str()), (0, 0, ""), "{told}");
    assert!(begun.elapsed() > Duration::from_secs(20), "nobody has waited");
    host.strike().await;
}
