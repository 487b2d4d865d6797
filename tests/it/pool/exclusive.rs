//! Exits that nodes have for themselves, on a private Tor network.

use std::collections::BTreeSet;
use std::net::IpAddr;

use exitpool::daemon::socket::Report;

use super::rotate::asked;
use super::stage::{Host, document, nodes, pool, reachable, ready};

const WISHED: u16 = 6;

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

/// Four exits exist, in two countries and two subnets each.
#[tokio::test(flavor = "multi_thread")]
async fn more_distinct_exits_than_exist_are_refused_by_number_and_the_rest_is_served() {
    let Some(mut host) = Host::start("wown", &distinct("us, de", "distinct: true")).await else { return };
    let sentence = "eu: 6 distinct exits wished, 4 exist in de, us";
    let report = host.sees("four nodes with an exit each", |report| has_settled(report, 4, sentence)).await;
    let addresses = seen(&host, &report).await;
    assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 4, "{addresses:?}");

    // An exit that is excluded counts no more, and its node is given another one, where there is one.
    let gone = host.network().exits()[0].fingerprint;
    host.commits(&distinct("us, de", &format!("distinct: true, exclude: [{gone}]"))).await;
    let sentence = "eu: 6 distinct exits wished, 3 exist in de, us";
    let report = host.sees("three nodes with an exit each", |report| has_settled(report, 3, sentence)).await;
    assert_eq!(seen(&host, &report).await.iter().collect::<BTreeSet<_>>().len(), 3);

    host.commits(&distinct("us, de", "avoid_shared_subnet: 8")).await;
    let sentence = "eu: 6 exits in /8 subnets of their own wished, 1 exist in de, us";
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
    let (code, told, error) = asked(host, "rotate", &[which, &["--wait", "90s"]].concat()).await;
    assert_eq!((code, error.as_str()), (0, ""), "{told}");
    host.converged(3).await
}
