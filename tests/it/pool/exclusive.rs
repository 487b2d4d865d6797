//! Exits that nodes have for themselves, on a private Tor network.

use std::collections::BTreeSet;
use std::net::IpAddr;

use exitpool::cli::demo::stage::kill_pid;
use exitpool::daemon::socket::Report;
use exitpool::testnet::Exit;
use rustix::process::Signal;

use super::stage::{Host, document, network_of, nodes, pids, pool, reachable, ready};

const WISHED: u16 = 20;

fn distinct(countries: &str, wish: &str) -> String {
    sized(WISHED, countries, wish)
}

fn sized(size: u16, countries: &str, wish: &str) -> String {
    document(&pool("eu", size, countries, 30_000).replace("{name", &format!("{{exits: {{{wish}}}, name")))
}

/// From where requests through the ready nodes leave.
async fn seen(host: &Host, report: &Report) -> Vec<IpAddr> {
    let mut seen = Vec::new();
    for node in nodes(report).values().filter(|node| node["state"] == "ready") {
        seen.push(host.ask_through(reachable(host, node)).await.unwrap());
    }
    seen
}

fn has_settled(report: &Report, expected: usize, sentence: &str) -> bool {
    let why = |node: &serde_json::Value| node["conditions"][0]["message"].as_str().unwrap_or_default().to_owned();
    let told = nodes(report).values().filter(|node| node["state"] == "failed" && why(node) == sentence).count();
    ready(report) == expected && told == usize::from(WISHED) - expected
}

/// Eight exits exist, in two countries.
#[tokio::test(flavor = "multi_thread")]
async fn more_distinct_exits_than_exist_are_refused_by_number_and_the_rest_is_served() {
    let Some(mut host) =
        Host::start_in(network_of(&[("us", 4), ("de", 4)], "wown"), &distinct("us, de", "distinct: true")).await
    else {
        return;
    };
    let sentence = "eu: 20 distinct exits wished, 8 exist in de, us";
    let report = host.sees("eight nodes with an exit each", |report| has_settled(report, 8, sentence)).await;
    let addresses = seen(&host, &report).await;
    assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 8, "{addresses:?}");

    // An exit that is excluded counts no more, and its node is given another one, where there is one.
    let gone = host.network().exits()[0].fingerprint;
    host.commits(&distinct("us, de", &format!("distinct: true, exclude: [{gone}]"))).await;
    let sentence = "eu: 20 distinct exits wished, 7 exist in de, us";
    let report = host.sees("seven nodes with an exit each", |report| has_settled(report, 7, sentence)).await;
    assert_eq!(seen(&host, &report).await.iter().collect::<BTreeSet<_>>().len(), 7);

    host.commits(&distinct("us, de", "avoid_shared_subnet: 8")).await;
    let sentence = "eu: 20 exits in /8 subnets of their own wished, 1 exist in de, us";
    host.sees("one node", |report| has_settled(report, 1, sentence)).await;
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_exit_for_itself_rotates_to_one_that_is_free() {
    let Some(mut host) = Host::start("wfree", &sized(3, "us, de", "distinct: true")).await else { return };
    let report = host.converged(3).await;
    let before = seen(&host, &report).await;
    let report = rotate(&mut host, &["eu-1"]).await;
    let after = seen(&host, &report).await;
    assert_eq!((after[0], after[2]), (before[0], before[2]), "nobody else moves");
    assert!(!before.contains(&after[1]), "{before:?} {after:?}");

    // Two at once want the one that is free: no two ever have one, and who finds none goes on with its own.
    let report = rotate(&mut host, &["--all"]).await;
    let last = seen(&host, &report).await;
    assert_eq!(last.iter().collect::<BTreeSet<_>>().len(), 3, "{last:?}");
    assert_ne!(last, after);
    host.strike().await;
}

async fn rotate(host: &mut Host, which: &[&str]) -> Report {
    let (code, told, error) = host.verb("rotate", &[which, &["--wait", "90s"]].concat()).await;
    assert_eq!((code, error.as_str()), (0, ""), "{told}");
    host.converged(3).await
}

fn exit_of(report: &Report, node: &str) -> String {
    let nodes = nodes(report);
    nodes.get(node).and_then(|node| node["exit"]["fingerprint"].as_str()).unwrap_or_default().to_owned()
}

fn exit_named(host: &Host, fingerprint: &str) -> Exit {
    host.network().exits().iter().find(|exit| exit.fingerprint.to_string() == fingerprint).unwrap().clone()
}

/// Its node has no other exit to go to by itself: the probe fails, and it is given one that is free.
#[tokio::test(flavor = "multi_thread")]
async fn an_exit_that_fails_is_left_alone_and_its_node_given_another() {
    let probed = "health: {restart_after: 6, probe: {url: 'http://10.3.0.1/', every: 3s, timeout: 3s}}\n";
    let document = sized(2, "us", "distinct: true") + probed;
    let Some(mut host) = Host::start_in(network_of(&[("us", 3)], "wfail"), &document).await else { return };
    let known = |report: &Report| ["eu-0", "eu-1"].iter().all(|node| !exit_of(report, node).is_empty());
    let report = host.sees("two nodes whose probes have shown their exits", known).await;
    let (before, other) = (exit_of(&report, "eu-0"), exit_of(&report, "eu-1"));
    let broken = exit_named(&host, &before);
    host.network_mut().fails(&broken).await;
    let elsewhere =
        |report: &Report| ready(report) == 2 && ![&before, &other, ""].contains(&exit_of(report, "eu-0").as_str());
    let report = host.sees("the node at the exit that was free", elsewhere).await;
    assert_eq!(exit_of(&report, "eu-1"), other, "nobody else moves");
    assert_eq!(nodes(&report)["eu-0"]["restarts"], 0);
    assert_eq!(seen(&host, &report).await.len(), 2);
    host.strike().await;
}

/// Clients hear of it with their next consensus; these lose theirs, so that this is now.
#[tokio::test(flavor = "multi_thread")]
async fn an_exit_that_leaves_the_network_is_no_longer_counted_on() {
    let Some(mut host) = Host::start("wleft", &sized(4, "us, de", "distinct: true")).await else { return };
    let report = host.converged(4).await;
    let gone = host.network().exits()[0].clone();
    host.network_mut().leaves(&gone).await.unwrap();
    let suspended = host.verb("suspend", &["--reason", "an exit leaves", "--for", "5m"]).await;
    assert_eq!(suspended.0, 0, "{suspended:?}");
    for (node, pid) in pids(&report) {
        kill_pid(pid.try_into().unwrap(), Signal::KILL).unwrap();
        host.sh(&format!("rm {}/instances/{node}/cached-*", host.state_dir().display())).await;
    }
    let resumed = host.verb("resume", &[]).await;
    assert_eq!(resumed.0, 0, "{resumed:?}");
    let sentence = "eu: 4 distinct exits wished, 3 exist in de, us";
    let why = |node: &serde_json::Value| node["conditions"][0]["message"] == sentence;
    let settled = |report: &Report| ready(report) == 3 && nodes(report).values().any(why);
    let report = host.sees("three nodes with the exits that are left", settled).await;
    let addresses = seen(&host, &report).await;
    assert!(addresses.len() == 3 && !addresses.contains(&gone.address), "{addresses:?} {gone:?}");
    host.strike().await;
}
