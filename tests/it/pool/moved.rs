//! A pool moves to another state directory by a backup: the same nodes, the same guard relays, one trail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use exitpool::daemon::socket::Report;

use super::stage::{Host, document, nodes, pool, ready};
use crate::backup::tors_have_ended;

/// The guards of each instance, as tor has written them down: who, and in which order they were chosen.
fn written(state: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let guards = |text: String| -> BTreeSet<String> {
        let of = |line: &str| {
            let field = |name: &str| line.split_whitespace().find(|word| word.starts_with(name)).map(str::to_owned);
            Some(format!("{} {}", field("rsa_id=")?, field("confirmed_idx=").unwrap_or_default()))
        };
        text.lines().filter(|line| line.starts_with("Guard in=default ")).filter_map(of).collect()
    };
    let entries = fs::read_dir(state.join("instances")).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, guards(fs::read_to_string(entry.path().join("state")).unwrap_or_default()))
        })
        .collect()
}

/// The guard relays that each node's tor uses.
fn used(report: &Report) -> BTreeMap<String, String> {
    nodes(report).into_iter().map(|(name, node)| (name, node["instance"]["guard_relays"].to_string())).collect()
}

fn all_used(report: &Report) -> bool {
    report.converged && ready(report) == 2 && used(report).values().all(|relays| relays != "[]")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_moves_keeps_its_nodes_its_guard_relays_and_its_trail() {
    let Some(mut host) = Host::start("wmove", &document(&pool("us", 2, "us", 30_000))).await else { return };
    let before = host.sees("the guard relays of both nodes", all_used).await;
    let state = host.state_dir();
    // As an operator moves a host: tor writes its guards down when it ends.
    host.stop_daemon().await;
    let runtime = host.runtime_dir();
    host.sh(&format!("kill -INT $(cat {}/instances/*/pid)", runtime.display())).await;
    tors_have_ended(&state);
    let guards = written(&state);
    assert!(guards.len() == 2 && guards.values().all(|all| all.len() > 1), "{guards:?}");

    let file = host.network().directory().join("host/moved.tar.gz").display().to_string();
    let place = |place: &Path| place.display().to_string();
    let backup = ["backup", &file, "--with-cache", "--state-dir", &place(&state)].join(" ");
    let program = super::stage::EXITPOOL;
    host.sh(&format!("{program} {backup}")).await;
    let key = host.sh(&format!("{program} audit key --state-dir {}", place(&state))).await;
    fs::remove_dir_all(&runtime).unwrap();
    let elsewhere = host.network().directory().join("host/elsewhere");
    host.sh(&format!("{program} restore {file} --state-dir {}", place(&elsewhere))).await;
    assert_eq!(written(&elsewhere), guards, "what tor will read");
    let cached = |node: &str| elsewhere.join("instances").join(node).join("cached-microdesc-consensus").exists();
    assert!(cached("us-0") != cached("us-1"), "one directory cache is enough");

    host.start_daemon_with(&["--state-dir", &place(&elsewhere)]).unwrap();
    let after = host.sees("the guard relays of both nodes again", all_used).await;
    assert_eq!(used(&after), used(&before));
    let sockets = |report: &Report| -> BTreeMap<String, String> {
        nodes(report).into_iter().map(|(name, node)| (name, node["socks"].to_string())).collect()
    };
    assert_eq!(sockets(&after), sockets(&before));
    assert_eq!(after.status["revision"], before.status["revision"]);
    let state = place(&elsewhere);
    host.sh(&format!("{program} audit verify --state-dir {state}")).await;
    let rows = host.sh(&format!("{program} audit --limit 100 --state-dir {state}")).await;
    for words in ["the state is restored from a backup of", key.trim(), "node us-1"] {
        assert!(rows.contains(words), "{words}: {rows}");
    }
    host.strike().await;
}
