//! Repairs of nodes that do not serve, each by the step that helps and by none that cuts more.

use std::collections::BTreeSet;

use exitpool::audit;
use exitpool::daemon::socket::Report;

use super::health::{readiness, restarts};
use super::stage::{Host, condition, document, network_of, nodes, pids, pool, reachable, ready, with_torrc};

/// What was done to a node about its health, or rotated it, in the order in which it was done.
fn repairs(host: &Host, node: &str) -> Vec<String> {
    let rows = audit::list(&host.state_dir().join("audit.sqlite"), 1_000).unwrap();
    let is_repair = |entry: &audit::Entry| ["health", "rotation"].contains(&entry.record.cause.as_str());
    let mut rows: Vec<_> = rows.into_iter().filter(is_repair).collect();
    rows.sort_by_key(|entry| entry.row);
    let of_node = rows.into_iter().filter(|entry| entry.record.object == format!("node {node}"));
    of_node.map(|entry| entry.record.action).collect()
}

/// Where a word stands first among sentences.
#[track_caller]
fn place(sentences: &[String], words: &str) -> usize {
    let found = sentences.iter().position(|sentence| sentence.contains(words));
    found.unwrap_or_else(|| panic!("no `{words}` in {sentences:#?}"))
}

/// The ports from which a tor is connected to relays.
async fn ports_to_relays(host: &Host, pid: u64) -> BTreeSet<u16> {
    let listed = host.sh("ss -Htnp state established").await;
    let of_tor = listed.lines().filter(|line| line.contains(&format!("pid={pid},")));
    let ports = of_tor.filter_map(|line| {
        let mut words = line.split_whitespace().skip(2);
        let (local, peer) = (words.next()?, words.next()?);
        peer.ends_with(":9001").then(|| local.rsplit(':').next()?.parse().ok())?
    });
    ports.collect()
}

/// As behind a router that has lost its memory: what is connected gets no packet through any more, and new connections do. tor
/// waits for a minute until it notices, unless circuits that wait on such a connection are closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_connections_are_dead_is_helped_by_new_circuits() {
    let patient = "health: {restart_after: 9, probe: {url: 'http://10.3.0.1/', every: 2s, timeout: 2s}}\n";
    let Some(mut host) = Host::start("rdead", &(document(&pool("us", 3, "us", 30_000)) + patient)).await else {
        return;
    };
    let probed = |report: &Report| nodes(report).values().all(|node| node["probe"]["passed"] == true);
    let all_serve = |report: &Report| report.converged && ready(report) == 3 && probed(report);
    let report = host.sees("three nodes that are probed", all_serve).await;
    let before = pids(&report);
    let (dead, theirs) = (ports_to_relays(&host, before["us-0"]).await, ports_to_relays(&host, before["us-1"]).await);
    assert!(!dead.is_empty() && !theirs.is_empty() && dead.is_disjoint(&theirs), "{dead:?} {theirs:?}");
    let ports = dead.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    host.sh(&format!(
        "nft add table inet lost; nft add chain inet lost out '{{ type filter hook output priority 0; }}'; \
         nft add rule inet lost out tcp sport '{{ {ports} }}' tcp dport 9001 drop; \
         nft add rule inet lost out tcp dport '{{ {ports} }}' tcp sport 9001 drop"
    ))
    .await;
    host.sees("a node whose probe fails", |report| readiness(report, "us-0").2.contains("its probe fails")).await;
    let report = host.sees("three nodes that are probed again", all_serve).await;
    let done = repairs(&host, "us-0");
    assert!(done.first().is_some_and(|first| first.contains("new connections use new circuits")), "{done:#?}");
    assert_eq!((pids(&report), restarts(&report)), (before.clone(), 0), "{done:#?}");
    let now = ports_to_relays(&host, before["us-0"]).await;
    assert!(!now.is_subset(&dead), "{dead:?} {now:?}");
    assert!(theirs.is_subset(&ports_to_relays(&host, before["us-1"]).await), "the others were left alone");
    host.strike().await;
}

/// With one guard relay, as behind one bridge, every circuit waits for the one connection to it that is being made, for as long
/// as the kernel tries: new circuits wait for the same one.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_only_way_in_hangs_is_helped_by_joining_the_network_anew() {
    const OWN: &str = "10.3.0.7";
    let probe = "health: {restart_after: 9, probe: {url: 'http://10.3.0.1/', every: 2s, timeout: 2s}}\n";
    let witnesses = pool("us", 2, "us", 30_000);
    let Some(mut host) = Host::start("rconn", &(document(&witnesses) + probe)).await else { return };
    host.converged(2).await;
    let relay = std::fs::read_to_string(host.network().directory().join("guard1/fingerprint")).unwrap();
    let relay = relay.split_whitespace().nth(1).unwrap();
    let torrc = format!("OutboundBindAddress: {OWN}, EntryNodes: ${relay}");
    host.sh(&format!("ip addr add {OWN}/32 dev lo")).await;
    host.commits(&(document(&(witnesses + &with_torrc(&pool("solo", 1, "us", 30_010), &torrc))) + probe)).await;
    let probed = |report: &Report| nodes(report).values().all(|node| node["probe"]["passed"] == true);
    let all_serve = |report: &Report| report.converged && ready(report) == 3 && probed(report);
    let before = pids(&host.sees("three nodes that are probed", all_serve).await);

    // Nothing gets through until it makes a new connection; from then on all others do, and this one never.
    host.sh(&format!(
        "nft add table inet lost; nft add chain inet lost out '{{ type filter hook output priority 0; }}'; \
         nft add rule inet lost out ip saddr {OWN} tcp dport 9001 drop; \
         nft add rule inet lost out ip daddr {OWN} tcp sport 9001 drop"
    ))
    .await;
    let hanging = format!(
        "for i in $(seq 1200); do ss -Htn state syn-sent src {OWN} | grep -q :9001 && break; sleep 0.1; done; \
         ports=$(ss -Htn state connected src {OWN} dport = :9001 | awk '{{ sub(\".*:\", \"\", $4); print $4 }}' | paste -sd,); \
         test -n \"$ports\"; \
         printf 'flush chain inet lost out\\nadd rule inet lost out ip saddr {OWN} tcp sport {{ %s }} drop\\n' $ports | nft -f -"
    );
    host.sh(&hanging).await;
    let report = host.sees("three nodes that are probed again", all_serve).await;
    let done = repairs(&host, "solo-0");
    assert!(place(&done, "new circuits") < place(&done, "connected to the network again"), "{done:#?}");
    assert!(done.last().unwrap().contains("connected to the network again"), "{done:#?}");
    assert_eq!((pids(&report), restarts(&report)), (before, 0), "{done:#?}");
    // A probe of theirs may be late on a busy machine; nothing more than other circuits follows from that.
    let theirs = [repairs(&host, "us-0"), repairs(&host, "us-1")].concat();
    assert!(!theirs.iter().any(|done| done.contains("connected to the network again")), "{theirs:#?}");
    host.strike().await;
}

/// tor goes on with the circuits and connections that it has, and says that all is well, while it builds none any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_effect_comes_late_goes_no_further_where_nobody_probes() {
    let with = |torrc: &str| document(&with_torrc(&pool("us", 4, "us", 30_000), torrc));
    let Some(mut host) = Host::start("rlate", &with("MaxCircuitDirtiness: 600")).await else { return };
    let before = pids(&host.converged(4).await);
    host.commits(&with("ReachableAddresses: 'reject *:*'")).await;
    let mut fewest = 4;
    let stopped = |report: &Report| {
        fewest = fewest.min(ready(report));
        condition(report, "Stalled").1 == "RolloutStopped"
    };
    let report = host.sees("a change that has stopped", stopped).await;
    let (_, _, message) = condition(&report, "Stalled");
    assert!(message.contains("3 nodes left as before"), "{message}");
    assert!(message.contains("it has built no circuit since its options were changed"), "{message}");
    assert!(fewest >= 3, "{fewest} were ready at some time");
    // The others serve, and not by what they had: each request here has a circuit of its own.
    let serving = nodes(&report).into_iter().filter(|(_, node)| node["state"] == "ready");
    let serving: Vec<_> = serving.map(|(_, node)| reachable(&host, &node)).collect();
    assert_eq!(serving.len(), 3);
    for node in serving {
        let echo = format!("http://{}/", host.network().echo());
        let mut curl = host.network().client_command("curl");
        curl.args(["--silent", "--fail", "--max-time", "60", "--proxy-user", "late:1", "--output", "/dev/null"]);
        assert!(curl.args(["--socks5-hostname", &node.to_string(), &echo]).status().await.unwrap().success());
    }

    host.commits(&with("MaxCircuitDirtiness: 600")).await;
    let report = host.converged(4).await;
    assert_eq!(condition(&report, "Stalled").0, "False");
    let same = pids(&report).iter().filter(|(name, pid)| before[*name] == **pid).count();
    assert!(same >= 3, "{before:?} {:?}", pids(&report));
    host.strike().await;
}

/// The exits of a country are set up anew, and the consensus that a tor holds for valid lists the old ones alone. So do those
/// of its neighbours, who leave from elsewhere and do not mind.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_directory_is_out_of_date_is_helped_by_a_fresh_one_and_not_by_its_neighbours() {
    let pools = pool("us", 1, "us", 30_000) + &pool("de", 2, "de", 30_010);
    let probe = "health: {restart_after: 3, probe: {url: 'http://10.3.0.1/', every: 3s, timeout: 3s}}\n";
    let network = network_of(&[("us", 1), ("de", 2)], "rcons");
    let Some(mut host) = Host::start_in(network, &(document(&pools) + probe)).await else { return };
    let before = pids(&host.converged(3).await);
    let old = host.network().exits().iter().find(|exit| exit.country.to_string() == "us").cloned().unwrap();
    let new = host.network_mut().replaces(&old).await.unwrap();
    assert_ne!(new.fingerprint, old.fingerprint);

    host.sees("a node whose probe fails", |report| readiness(report, "us-0").1 == "HealthCheckFailed").await;
    let probed = |report: &Report| nodes(report).values().all(|node| node["probe"]["passed"] == true);
    let report = host.sees("three probes", |report| report.converged && ready(report) == 3 && probed(report)).await;
    let done = repairs(&host, "us-0");
    let restarted: Vec<&String> = done.iter().filter(|done| done.contains("will be restarted")).collect();
    let [with_its_own, with_a_fresh_one] = restarted.as_slice() else { panic!("{done:#?}") };
    assert!(!with_its_own.contains("fresh") && with_a_fresh_one.contains("fresh"), "{done:#?}");
    assert_eq!(
        (restarts(&report), nodes(&report)["us-0"]["exit"]["fingerprint"].clone()),
        (2, new.fingerprint.to_string().into())
    );
    let after = pids(&report);
    assert!(["de-0", "de-1"].iter().all(|node| after[*node] == before[*node]), "{before:?} {after:?}");
    host.strike().await;
}
