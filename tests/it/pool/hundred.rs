//! A hundred nodes on one host: up, rotated, rolled, moved to another country, and down.

use std::net::SocketAddr;

use exitpool::daemon::socket::Report;

use super::stage::{Host, document, nodes, nothing_is_left_over, pids, pool, reachable, ready, with_torrc};
use super::watch::Watch;

const NODES: u16 = 100;

/// A hundred nodes in a country, with options of their own.
fn hundred(countries: &str, torrc: &str) -> String {
    document(&with_torrc(&pool("many", NODES, countries, 30_000), torrc))
        + "reconcile: {max_delete: 100%, max_unavailable: 25%}\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_nodes_come_rotate_change_and_go_while_most_of_them_serve() {
    let Some(mut host) = Host::start("whund", &hundred("us", "")).await else { return };
    let first = host.converged(NODES.into()).await;
    nothing_is_left_over(&host, &pids(&first));
    let doors: Vec<SocketAddr> = nodes(&first).values().map(|node| reachable(&host, node)).collect();
    let watch = Watch::of(&host.network().netns(), doors);

    let (code, told, error) = host.verb("rotate", &["--all"]).await;
    assert_eq!((code, error.as_str()), (0, ""), "{told}");
    host.sees("a hundred rotations", |report| nodes(report).values().all(|node| node["rotations"] == 1)).await;

    // What tor takes only at a start goes over the pool a few nodes at a time.
    host.commits(&hundred("us", "HardwareAccel: 1")).await;
    let others = |report: &Report| pids(report).iter().all(|(name, pid)| pids(&first)[name] != *pid);
    let rolled = |report: &Report| report.converged && ready(report) == usize::from(NODES) && others(report);
    let report = host.sees("a hundred other tors", rolled).await;
    let second = pids(&report);

    // Another country is set at run time.
    host.commits(&hundred("de", "HardwareAccel: 1")).await;
    let moved = |node: &serde_json::Value| node["exit"]["country"] == "de";
    let report = host.sees("a hundred exits elsewhere", |it| it.converged && nodes(it).values().all(moved)).await;
    assert_eq!(pids(&report), second);
    let (fewest, looks) = watch.end();
    assert!(looks > 20 && fewest >= 75, "{fewest} of {NODES} were open at some moment of {looks} looks");

    let (code, told, error) = host.verb("down", &["--state-dir", &host.state_dir().display().to_string()]).await;
    assert_eq!(code, 0, "{told}{error}");
    nothing_is_left_over(&host, &Default::default());
    host.strike().await;
}
