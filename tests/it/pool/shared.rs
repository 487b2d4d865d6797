//! Several nodes in one tor process, and nodes that go from one process to another.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use exitpool::daemon::socket::Report;

use super::stage::{Host, document, nodes, pids, pool, reachable};
use super::watch::Watch;

fn shared_by(nodes: u16) -> String {
    let mut pool = pool("us", 8, "us", 30_000);
    pool.insert_str(pool.find(", countries").unwrap(), &format!(", nodes_per_instance: {nodes}"));
    document(&pool)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_share_a_tor_serve_each_by_itself_and_can_be_shared_out_anew() {
    let Some(mut host) = Host::start("wshare", &shared_by(4)).await else { return };
    let report = host.converged(8).await;
    let processes = |report: &Report| pids(report).into_values().collect::<BTreeSet<u64>>();
    assert_eq!(processes(&report).len(), 2);
    let first = pids(&report);
    assert!(first["us-0"] == first["us-3"] && first["us-4"] == first["us-7"], "{first:?}");
    for (name, node) in nodes(&report) {
        assert!(node["exit"].is_null(), "nobody can tell the exit of {name}: {node}");
        host.ask_through(reachable(&host, &node)).await.unwrap();
    }
    let (code, planned, _) = host.verb("plan", &[]).await;
    assert_eq!(code, 0);
    assert!(planned.contains("shared   pool us: 8 nodes in 2 tor processes"), "{planned}");

    let addresses: Vec<SocketAddr> = nodes(&report).values().map(|node| reachable(&host, node)).collect();
    let watch = Watch::of(&host.network().netns(), addresses);
    // One that stays takes its neighbours' nodes; then every node gets a tor of its own.
    for (together, tors) in [(8, 1), (1, 8), (4, 2)] {
        host.commits(&shared_by(together)).await;
        let report = host.sees("so many tors", |report| report.converged && processes(report).len() == tors).await;
        assert_eq!(pids(&report)["us-0"], first["us-0"], "the tor that keeps its name is not restarted");
    }
    let (fewest, looks) = watch.end();
    assert!(looks > 20 && fewest >= 6, "{fewest} of 8 nodes were open at some moment of {looks} looks");
    host.strike().await;
}
