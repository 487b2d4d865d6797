//! What the real daemon makes of commits that it must not believe: it says which and why, counts it, and changes nothing.

use std::fs;

use exitpool::daemon::socket::Report;

use super::host::{Host, condition, pids};
use super::servers::Server;

/// A host that follows its repository by `git://`, with one node in force.
async fn following() -> Option<(Host, Server, String)> {
    let mut host = Host::new()?;
    let server = Server::git(host.listen(), &host.kit.at("served"));
    host.arguments = ["--poll-every", "1s"].map(str::to_owned).to_vec();
    host.start(&server.git_url());
    let first = host.kit.head();
    host.in_force(&first, 1).await;
    Some((host, server, first))
}

fn rejected(host: &Host, reason: &str) -> f64 {
    host.metric(&format!("exitpool_source_rejected_total{{reason=\"{reason}\"}}"))
}

/// Waits until a commit is refused, and checks what is said of it, and that it is counted once.
async fn refuses(host: &mut Host, commit: &str, reason: &str, words: &str) -> Report {
    let before = rejected(host, reason);
    host.push_head();
    let report = host.condition("SourceVerified", "False", commit).await;
    let (stalled, message) = condition(&report, "Stalled");
    assert!(stalled == "True" && message.contains(words), "{message}");
    assert_eq!(condition(&report, "FetchFailed").0, "False", "the source was read");
    assert_eq!(condition(&report, "ArtifactOutdated").0, "True", "what is refused is shown as offered");
    // However often it is looked at.
    for _ in 0..2 {
        host.verb("reconcile", &[]);
    }
    assert_eq!(rejected(host, reason), before + 1.0, "{reason}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_f8_f11_a_refused_commit_is_named_and_counted_and_changes_nothing() {
    let Some((mut host, server, first)) = following().await else { return };
    let second = host.push(1, Some("ada"));
    let before = pids(&host.in_force(&second, 1).await);
    let in_force = format!("main@sha1:{second}");
    let is_untouched = |report: &Report| report.status["revision"] == *in_force && pids(report) == before;

    let unsigned = host.kit.commit(&super::host::document(3), None);
    let report = refuses(&mut host, &unsigned, "unsigned", "is not signed").await;
    assert!(is_untouched(&report));
    // One that is signed does not make it good.
    host.kit.commit(&super::host::document(4), Some("ada"));
    host.push_head();
    host.verb("reconcile", &[]);
    assert!(is_untouched(&host.condition("SourceVerified", "False", &unsigned).await));

    // The owner takes it back, and nothing is jammed.
    host.kit.git(&["reset", "--quiet", "--hard", &second]);
    host.push_head();
    let report = host.condition("SourceVerified", "True", "").await;
    assert!(is_untouched(&report) && condition(&report, "Stalled").0 == "False");

    let stranger = host.kit.commit(&super::host::document(3), Some("eve"));
    let key = host.kit.fingerprint("eve");
    assert!(is_untouched(&refuses(&mut host, &stranger, "unknown_key", &key).await));

    host.kit.git(&["reset", "--quiet", "--hard", &first]);
    assert!(is_untouched(&refuses(&mut host, &first, "stale", "is older than").await));

    let other = host.kit.commit(&super::host::document(2), Some("ada"));
    let report = refuses(&mut host, &other, "rewritten", "exitpool accept-rewrite").await;
    assert!(is_untouched(&report));

    // Until an operator on the host says that it is meant.
    let signers = host.kit.at("allowed_signers").display().to_string();
    let source = server.git_url();
    let arguments = [&other, "--reason", "we squashed it", "--source", &source, "--allowed-signers", &signers];
    let output = host.verb("accept-rewrite", &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("accepted, and the daemon has looked at it"), "{said}");
    let report = host.in_force(&other, 2).await;
    assert!(pids(&report).starts_with(&before));
    host.condition("SourceVerified", "True", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_lost_state_directory_is_no_fresh_start() {
    let Some((mut host, server, _)) = following().await else { return };
    let second = host.push(2, Some("ada"));
    let before = pids(&host.in_force(&second, 2).await);
    host.stop();
    for name in ["ratchet.json", "accepted.yaml", "accepted.json", "applied.json"] {
        let _ = fs::remove_file(host.state_dir().join(name));
    }
    fs::remove_dir_all(host.state_dir().join("source.git")).unwrap();

    let signers = host.kit.at("allowed_signers").display().to_string();
    let source = server.git_url();
    host.start_believing(&source, &["--allowed-signers", &signers]);
    let report = host.condition("SourceVerified", "False", "no commit has been accepted").await;
    assert!(condition(&report, "Stalled").1.contains(&format!("--first-commit {second}")), "{report:?}");
    assert_eq!(report.status["revision"], serde_json::Value::Null);
    let runs = |pid: &u64| std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(before.iter().all(runs), "the pool is as it was");

    let arguments = [&second, "--reason", "a new disk", "--source", &source, "--allowed-signers", &signers];
    assert!(host.verb("accept-rewrite", &arguments).status.success());
    assert_eq!(pids(&host.in_force(&second, 2).await), before);
}
