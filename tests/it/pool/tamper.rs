//! The world moves by itself: each tampering is seen as drift with the right words, and repaired or reported.

use exitpool::daemon::socket::Report;

use super::stage::{Host, condition, document, nodes, pids, pool};
use crate::support::inside;

/// What the status tells of drift, also of what was repaired a while ago.
async fn drift(host: &Host) -> String {
    host.http("/api/v1/drift").await
}

/// Waits until a repair with these words has been carried out, and the host is as desired again.
async fn repaired(host: &mut Host, words: &[&str], nodes: usize) {
    let mut told = String::new();
    for _ in 0..600 {
        told = drift(host).await;
        if words.iter().all(|word| told.contains(word)) {
            host.converged(nodes).await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("no drift with {words:?} in {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tampering_is_named_and_undone() {
    let Some(mut host) = Host::start("tamp", &document(&pool("us", 2, "us", 30_000))).await else { return };
    let before = pids(&host.converged(2).await);
    let guard = host.guard().await;

    host.sh("nft flush ruleset").await;
    repaired(&mut host, &["firewall guard", "will be created"], 2).await;
    assert_eq!(host.guard().await, guard);

    host.sh("nft insert rule inet exitpool guard tcp dport 30000 accept").await;
    repaired(&mut host, &["firewall guard", "tcp dport 30000 accept"], 2).await;
    assert_eq!(host.guard().await, guard);

    host.sh("nft add element inet exitpool socks4 '{ 203.0.113.66 }'").await;
    repaired(&mut host, &["firewall guard", "203.0.113.66"], 2).await;
    assert_eq!(host.guard().await, guard);

    let torrc = host.instance_file("us-0", "torrc");
    let written = std::fs::read_to_string(&torrc).unwrap();
    std::fs::write(&torrc, "SocksPort 9050\n").unwrap();
    host.verb("reconcile", &[]).await;
    repaired(&mut host, &["us-0", "its torrc was edited"], 2).await;
    assert_eq!(std::fs::read_to_string(&torrc).unwrap(), written);

    set_behind_our_back(&host, "us-1", "MaxCircuitDirtiness=1234").await;
    repaired(&mut host, &["us-1", "MaxCircuitDirtiness: 1234"], 2).await;

    set_behind_our_back(&host, "us-1", "ExitNodes={de} SocksPort=9050").await;
    repaired(&mut host, &["us-1", "ExitNodes", "SocksPort"], 2).await;
    assert_eq!(pids(&host.converged(2).await), before, "none of it needs another process");
    host.strike().await;
}

/// Speaks to a control socket as somebody else on the host would who can read the cookie.
async fn set_behind_our_back(host: &Host, node: &str, setting: &str) {
    let cookie = std::fs::read(host.instance_file(node, "cookie")).unwrap();
    let hex: String = cookie.iter().map(|byte| format!("{byte:02x}")).collect();
    let said = format!("AUTHENTICATE {hex}\r\nSETCONF {setting}\r\nQUIT\r\n");
    let socket = host.instance_file(node, "control");
    let answer = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(answer.await.unwrap().matches("250 OK").count(), 2, "authenticated and set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_keeps_one_port_and_nothing_else() {
    let Some(mut host) = Host::start("strang", &document(&pool("us", 2, "us", 30_000))).await else { return };
    host.converged(2).await;
    let namespace = host.network().netns();
    let stranger = inside(&namespace, || std::net::TcpListener::bind("0.0.0.0:30002").unwrap());
    host.commits(&document(&pool("us", 4, "us", 30_000))).await;
    let taken = |report: &Report| {
        let all = nodes(report);
        all.get("us-2").is_some_and(|node| node["state"] == "failed")
            && all.get("us-3").is_some_and(|node| node["state"] == "ready")
    };
    let report = host.sees("us-2 failed and the others ready", taken).await;
    let told = report.left.join("\n");
    assert!(told.contains("0.0.0.0:30002 is taken by"), "{told}");
    assert_eq!(condition(&report, "Ready").0, "False");
    drop(stranger);
    host.converged(4).await;
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_country_without_exits_fails_alone() {
    let pools = pool("us", 1, "us", 30_000) + &pool("va", 1, "va", 30_010);
    let Some(mut host) = Host::start("noexit", &document(&pools)).await else { return };
    let settled = |report: &Report| {
        nodes(report).get("us-0").is_some_and(|node| node["state"] == "ready") && !report.left.is_empty()
    };
    let report = host.sees("us ready, va not", settled).await;
    assert!(report.left.iter().any(|left| left.contains("va")), "{:?}", report.left);
    assert_ne!(nodes(&report)["va-0"]["state"], "ready");
    let listeners = host.sh("ss -Hltn | awk '{print $4}'").await;
    assert!(listeners.contains(":30000") && !listeners.contains(":30010"), "its port stays closed: {listeners}");
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_can_be_reported_and_left_alone() {
    let reporting = document(&pool("us", 1, "us", 30_000)) + "reconcile: {self_heal: report, resync_every: 5s}\n";
    let Some(mut host) = Host::start("report", &reporting).await else { return };
    host.converged(1).await;
    host.sh("nft flush ruleset").await;
    let report = host.sees("drift", |report| condition(report, "Drifted").0 == "True").await;
    assert!(report.left.iter().any(|left| left.contains("firewall guard will be created")), "{:?}", report.left);
    let (code, told, _) = host.verb("drift", &[]).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("+ firewall guard will be created"), "{told}");
    assert_eq!(host.metric("exitpool_drifted_resources{kind=\"guard\"}").await, 1.0);
    assert_eq!(host.guard().await, "", "nothing was changed");

    // A commit is carried out all the same.
    host.commits(&(document(&pool("us", 2, "us", 30_000)) + "reconcile: {self_heal: on}\n")).await;
    host.converged(2).await;
    let (code, _, _) = host.verb("drift", &[]).await;
    assert_eq!(code, 0);
    host.strike().await;
}
