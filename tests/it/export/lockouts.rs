//! Brute force against the real daemon: who is locked out, for how long, and who lets them in again.

use std::time::{Duration, Instant};

use exitpool::audit;
use serde_json::Value;

use super::consumer::{Answer, curl};
use super::daemon::{Exporting, crawler, refused};
use crate::remotes::host::PATIENCE;

const LIMIT: &str = "trusted_proxies: [127.0.0.1], panel: [203.0.113.0/24], rate_limit: {}";

/// Asks by way of the proxy, as a client of it.
fn ask(exporting: &Exporting, from: &str, token: &str, path: &str) -> Answer {
    let more = format!("--header 'X-Forwarded-For: {from}' --header 'Authorization: Bearer {token}'");
    curl(&exporting.host.netns, &more, path)
}

fn addresses(status: &Value) -> Vec<&str> {
    status["lockouts"].as_array().unwrap().iter().map(|lockout| lockout["address"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_try_is_locked_out_over_a_restart_until_an_operator_says_otherwise() {
    let Some(mut exporting) = Exporting::start().await else { return };
    exporting.commit(LIMIT, &crawler("")).await;
    let good = exporting.desk.issue("key", "crawler", &[]);
    let (guesser, bystander) = ("203.0.113.66", "203.0.113.7");
    let attempt = |exporting: &Exporting, from: &str, token: &str| ask(exporting, from, token, "/export/txt?state=any");
    for number in 1..=5 {
        assert_eq!(attempt(&exporting, guesser, "nonsense").brief(), refused(401, "invalid"), "try {number}");
    }
    for path in ["/export/txt", "/", "/api/v1/status", "/metrics", "/healthz", "/nothing"] {
        let answer = ask(&exporting, guesser, &good, path);
        assert_eq!(answer.brief(), refused(429, "limited"), "{path}");
        let wait: u64 = answer.headers["retry-after"].parse().unwrap();
        assert!((800..=900).contains(&wait), "{path}: {wait}");
    }
    assert_eq!(attempt(&exporting, bystander, &good).status, 200);

    // It is shown, counted and written down.
    let report = exporting.host.sees("the lockout", |report| addresses(&report.status) == [guesser]).await;
    assert_eq!(report.status["lockouts"][0]["failures"], 5);
    assert_eq!(exporting.host.metric("exitpool_lockouts_total"), 1.0);
    assert_eq!(exporting.host.metric("exitpool_locked_out_addresses"), 1.0);
    let page = ask(&exporting, bystander, &good, "/").body;
    assert!(page.contains("203.0.113.66 until "), "{page}");
    let file = exporting.host.state_dir().join("lockouts.json");
    let end = Instant::now() + PATIENCE;
    while !file.exists() {
        assert!(Instant::now() < end, "it is never written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    exporting.restart();
    exporting.host.sees("the lockout after the restart", |report| addresses(&report.status) == [guesser]).await;
    exporting.host.sees("a desired state in force", |report| !report.status["revision"].is_null()).await;
    assert_eq!(attempt(&exporting, guesser, &good).brief(), refused(429, "limited"));
    assert_eq!(attempt(&exporting, bystander, &good).status, 200);

    // Whom nobody has locked out cannot be let in; who is, can.
    let runtime_dir = exporting.host.runtime_dir().display().to_string();
    let unlock = |argument: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_exitpool"));
        command.args(["unlock", argument, "--runtime-dir", &runtime_dir]).output().unwrap()
    };
    let refusal = unlock(bystander);
    assert!(!refusal.status.success());
    let said = String::from_utf8_lossy(&refusal.stderr).into_owned() + &String::from_utf8_lossy(&refusal.stdout);
    assert!(said.contains("203.0.113.7 is not locked out; who is: 203.0.113.66 until"), "{said}");
    assert!(unlock(guesser).status.success());
    assert_eq!(attempt(&exporting, guesser, &good).status, 200, "it may try at once");
    assert_eq!(exporting.host.metric("exitpool_locked_out_addresses"), 0.0);
    for _ in 0..5 {
        attempt(&exporting, guesser, "nonsense");
    }
    assert_eq!(attempt(&exporting, guesser, &good).status, 429);
    assert!(unlock("--all").status.success());
    assert_eq!(attempt(&exporting, guesser, &good).status, 200);

    exporting.host.stop();
    let entries = audit::list(&exporting.host.state_dir().join("audit.sqlite"), 50).unwrap();
    let of_client = |entry: &&audit::Entry| entry.address.as_deref() == Some("203.0.113.66");
    let rows = entries.iter().filter(of_client).filter(|entry| entry.record.object == "client").count();
    assert!((1..=2).contains(&rows), "{rows} rows: one for each lockout that lasted to be written");
    assert!(entries.iter().filter(of_client).any(|entry| entry.record.action == "a client is let in again"));
}
