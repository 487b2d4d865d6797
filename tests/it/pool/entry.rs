//! How traffic enters Tor on a private Tor network: by which guard relays, and with names or addresses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;

use exitpool::daemon::socket::Report;
use serde_json::Value;

use super::rotate::asked;
use super::stage::{Host, document, nodes, pool, reachable, ready};

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
