//! The operator's switches: which revision is in force, what may be destroyed, what is left alone.

use exitpool::cli::demo::stage::kill_pid;
use exitpool::daemon::socket::Report;
use rustix::process::Signal;
use serde_json::Value;

use super::stage::{Host, condition, document, nodes, pids, pool, ready};

fn sized(size: u16, reconcile: &str) -> String {
    document(&pool("us", size, "us", 30_000)) + &format!("reconcile: {{{reconcile}}}\n")
}

/// Runs a verb; gives its exit code and all that it said.
async fn order(host: &Host, verb: &str, arguments: &[&str]) -> (i32, String) {
    let (code, told, complained) = host.verb(verb, arguments).await;
    (code, told + &complained)
}

/// Runs a verb that tells what is kept.
async fn kept(host: &Host, verb: &str, arguments: &[&str]) -> Value {
    let told = host.verb(verb, &[arguments, &["-o", "json"]].concat()).await.1;
    serde_json::from_str(&told).unwrap()
}

fn offered(report: &Report) -> &str {
    report.status["offered"]["revision"].as_str().unwrap_or_default()
}

fn in_force(report: &Report) -> String {
    report.status["revision"].as_str().unwrap_or_default().to_owned()
}

fn is(report: &Report, kind: &str, status: &str, reason: &str) -> bool {
    let found = condition(report, kind);
    (found.0.as_str(), found.1.as_str()) == (status, reason)
}

/// Manual commits, a suspension with drift, a rollback, and the commit that comes after it.
#[tokio::test(flavor = "multi_thread")]
async fn f17_operators_say_which_revision_is_in_force() {
    let Some(mut host) = Host::start("switch", &sized(1, "new_commits: manual")).await else { return };

    // With `manual`, the first revision waits as well; only the one that is offered can be taken.
    let report = host.sees("an offer", |report| !offered(report).is_empty()).await;
    let first = offered(&report).to_owned();
    assert!(report.status["revision"].is_null() && is(&report, "ArtifactOutdated", "True", "NewRevision"));
    let (code, _, told) = host.verb("apply", &["--revision", &"0".repeat(40)]).await;
    assert!(code == 1 && told.contains("is not what the source offers") && told.contains(&first), "{told}");
    let misnamed = host.exitpool("apply").args(["--revision", "main"]).output().await.unwrap();
    assert_eq!(misnamed.status.code(), Some(64), "{misnamed:?}");
    let commit = first.rsplit(':').next().unwrap().to_owned();
    let (code, told, error) = host.verb("apply", &["--revision", &commit]).await;
    assert!(code == 0 && told.contains("is put in force"), "{told}{error}");
    host.converged(1).await;

    // The file in force says `manual`: the second waits although it says `auto` itself.
    host.commits(&sized(2, "new_commits: auto")).await;
    let report = host.sees("a second offer", |report| !offered(report).is_empty()).await;
    let second = offered(&report).to_owned();
    assert_eq!(in_force(&report), first);
    let (code, told) = order(&host, "reconcile", &[]).await;
    assert!(code == 0 && told.contains("it waits for `exitpool apply --revision`"), "{told}");
    host.verb("apply", &["--revision", &second]).await;
    host.converged(2).await;

    a_suspended_host_is_left_alone(&mut host).await;

    // The third is taken by itself, and gone back from; the next daemon does not take it again either.
    host.commits(&sized(3, "")).await;
    let third = in_force(&host.converged(3).await);
    let (code, told) = order(&host, "rollback", &[]).await;
    assert!(code == 0 && told.contains(&format!("{second} is in force again")), "{told}");
    let report = host.converged(2).await;
    assert!(
        in_force(&report) == second && is(&report, "ArtifactOutdated", "True", "RolledBack"),
        "{:#}",
        report.status
    );
    host.kill_daemon().await;
    host.start_daemon().unwrap();
    let report = host.sees("the mark", |report| is(report, "ArtifactOutdated", "True", "RolledBack")).await;
    assert_eq!((in_force(&report), offered(&report)), (second.clone(), third.as_str()));
    let history = kept(&host, "history", &[]).await;
    let of = |revision: &str| {
        let all = history["revisions"].as_array().unwrap();
        all.iter().find(|entry| entry["revision"] == revision).unwrap_or_else(|| panic!("{history:#}")).clone()
    };
    assert_eq!(
        (of(&second)["in_force"].clone(), of(&third)["rolled_back"]["by"].clone()),
        (true.into(), "root".into())
    );
    assert!(of(&third)["result"] == "converged" && of(&third)["after_ms"].as_u64() > Some(0), "{history:#}");

    // A newer commit is taken, and a node is traced to the revision that changed it last.
    host.commits(&sized(2, "resync_every: 20s")).await;
    let report = host
        .sees("the newer commit", |report| ![second.as_str(), third.as_str()].contains(&in_force(report).as_str()))
        .await;
    assert!(is(&report, "ArtifactOutdated", "False", "ArtifactUpToDate"), "{:#}", report.status);
    let trace = kept(&host, "trace", &["us-1"]).await;
    assert_eq!((&trace["revision"], &trace["exact"]), (&Value::from(second.as_str()), &Value::from(true)), "{trace}");
    assert_eq!(kept(&host, "trace", &["us-0"]).await["revision"], Value::from(first.as_str()));
    host.strike().await;
}

async fn a_suspended_host_is_left_alone(host: &mut Host) {
    let before = pids(&host.converged(2).await);
    let (code, told) = order(host, "suspend", &["--reason", "moving racks", "--for", "1h"]).await;
    assert!(code == 0 && told.contains("the host is suspended until"), "{told}");
    kill_pid(u32::try_from(before["us-0"]).unwrap(), Signal::KILL).unwrap();
    let drifts =
        |report: &Report| condition(report, "Drifted").0 == "True" && nodes(report)["us-0"]["state"] == "suspended";
    let report = host.sees("drift that stays", drifts).await;
    let suspension = &report.status["suspensions"][0];
    assert_eq!((&suspension["by"], &suspension["reason"]), (&Value::from("root"), &Value::from("moving racks")));
    assert_eq!(host.metric("exitpool_condition{status=\"True\",type=\"Suspended\"}").await, 1.0);

    // A restart does not forget it, and nothing is started meanwhile, nor a new commit taken.
    host.kill_daemon().await;
    host.start_daemon().unwrap();
    let report = host.sees("drift that stays", drifts).await;
    let in_force_before = in_force(&report);
    host.commits(&sized(2, "resync_every: 25s")).await;
    let report = host.sees("a commit that waits", |report| is(report, "ArtifactOutdated", "True", "Suspended")).await;
    assert!(in_force(&report) == in_force_before && drifts(&report) && pids(&report)["us-1"] == before["us-1"]);

    let (code, told) = order(host, "resume", &["us"]).await;
    assert!(code == 1 && told.contains("pool us is not suspended; what is: the host"), "{told}");
    let (code, told) = order(host, "resume", &[]).await;
    assert!(code == 0 && told.contains("the host is resumed"), "{told}");
    let report = host.converged(2).await;
    assert!(in_force(&report) != in_force_before && pids(&report)["us-0"] != before["us-0"]);

    // A pool by itself, for a moment: it ends without anybody.
    let (code, told) = order(host, "suspend", &["eu", "--reason", "x", "--for", "1s"]).await;
    assert!(code == 1 && told.contains("there is no pool `eu`") && told.contains("its pools are: us"), "{told}");
    let (code, told) = order(host, "suspend", &["us", "--reason", "a look", "--for", "3s"]).await;
    assert!(code == 0 && told.contains("pool us is suspended until"), "{told}");
    host.sees("the end of it", |report| is(report, "Suspended", "False", "NotSuspended")).await;
    // The scenario goes on from the revision that it knows.
    let (code, told) = order(host, "rollback", &[]).await;
    assert!(code == 0 && told.contains(&in_force_before), "{told}");
    host.converged(2).await;
}

/// Too many deletions, and deletions that have to be confirmed.
#[tokio::test(flavor = "multi_thread")]
async fn f5_deletions_wait_for_a_word() {
    let Some(mut host) = Host::start("delete", &sized(5, "")).await else { return };
    let five = pids(&host.converged(5).await);

    // Without a daemon, `apply` is held by the same limit.
    host.stop_daemon().await;
    host.commits(&sized(2, "")).await;
    let (code, _, told) = host.verb("apply", &[]).await;
    assert!(code == 1 && told.contains("3 of 5 nodes would be destroyed"), "{told}");
    host.start_daemon().unwrap();
    let stalled = |report: &Report| is(report, "Stalled", "True", "MaxDeleteLimitReached");
    let report = host.sees("too many deletions", stalled).await;
    let message = condition(&report, "Stalled").2;
    assert!(
        message.contains("3 of 5 nodes would be destroyed") && message.contains("apply --allow-delete"),
        "{message}"
    );
    assert!(
        is(&report, "Ready", "False", "MaxDeleteLimitReached") && report.status["held"].as_array().unwrap().len() == 3
    );
    assert_eq!(host.metric("exitpool_held_steps{reason=\"max_delete\"}").await, 3.0);
    assert!(host.http("/").await.contains("when that is allowed"));
    let (code, told, _) = host.verb("plan", &[]).await;
    assert!(code == 0 && told.contains("held     - node us-2 will be destroyed when that is allowed"), "{told}");
    assert!(five.values().all(|pid| std::path::Path::new(&format!("/proc/{pid}/fd")).exists()), "they run on");

    let (code, told, error) = host.verb("apply", &["--allow-delete"]).await;
    assert!(code == 0 && told.contains("may destroy more nodes"), "{told}{error}");
    let report = host.converged(2).await;
    assert!(pids(&report).iter().all(|(name, pid)| five[name] == *pid));

    // It was for that revision alone. The next one empties the pool, and asks to be confirmed.
    let (code, told) = order(&host, "confirm", &[]).await;
    assert!(code == 1 && told.contains("nothing waits for confirmation"), "{told}");
    host.commits(&format!("allow_empty: true\n{}", sized(0, "prune: confirm, max_delete: 100%"))).await;
    let unconfirmed = |report: &Report| is(report, "Stalled", "True", "ConfirmationNeeded");
    let report = host.sees("removals to confirm", unconfirmed).await;
    assert!(condition(&report, "Stalled").2.contains("2 nodes wait to be destroyed: `exitpool confirm`"));
    let (code, told) = order(&host, "confirm", &[&"0".repeat(40)]).await;
    assert!(code == 1 && told.contains("is not in force"), "{told}");
    let (code, told) = order(&host, "confirm", &[&in_force(&report)]).await;
    assert!(code == 0 && told.contains("node us-0 may be destroyed") && told.contains("node us-1"), "{told}");
    let report = host.sees("an empty host", |report| report.converged && ready(report) == 0).await;
    assert!(report.status["held"].as_array().unwrap().is_empty());
    let left = std::fs::read_dir(host.runtime_dir().join("instances")).unwrap().count();
    assert_eq!(left, 0, "they are gone");
    host.strike().await;
}
