//! A source that is broken, empty or gone: the pool stays as it was, the condition says what is wrong and where.

use super::stage::{Host, condition, document, pids, pool};

const GAUGE: &str = "exitpool_config_last_reload_successful";

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_source_changes_nothing() {
    let good = document(&pool("us", 2, "us", 30_000));
    let Some(mut host) = Host::start("outage", &good).await else { return };
    let before = pids(&host.converged(2).await);
    assert_eq!(host.metric(GAUGE).await, 1.0);

    let bad = [
        (good.replace("size: 2", "size: two"), "pool.yaml:3:22"),
        (good.replace("[us]", "[uk]"), "did you mean `gb`"),
        (String::new(), "empty"),
        (good.replace("version: 1", "version: 1\ncolour: red"), "colour"),
    ];
    for (document, words) in bad {
        host.commits(&document).await;
        let refused = |report: &exitpool::daemon::socket::Report| {
            let all = report.status["conditions"].as_array().unwrap();
            all.iter().any(|condition| {
                condition["type"] == "Stalled" && condition["message"].as_str().unwrap().contains(words)
            })
        };
        let report = host.sees(words, refused).await;
        assert_eq!(pids(&report), before, "the pool stays as it was");
        assert_eq!(host.metric(GAUGE).await, 0.0);
    }

    // A restart beside a broken file keeps what was in force.
    host.kill_daemon().await;
    host.start_daemon().unwrap();
    let report = host.sees("the pool is taken up again", |report| pids(report) == before).await;
    assert_eq!(report.status["pools"][0]["ready"], 2, "{:#}", report.status);

    host.commits(&good).await;
    host.sees("the mended file is taken", |report| condition(report, "Stalled").0 == "False").await;
    assert_eq!(host.metric(GAUGE).await, 1.0);

    // The file vanishes from the branch, and comes back.
    host.git(&["rm", "--quiet", "pool.yaml"]).await.unwrap();
    host.git(&["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "-m", "gone"])
        .await
        .unwrap();
    let report = host.sees("a failed fetch", |report| condition(report, "FetchFailed").0 == "True").await;
    assert!(condition(&report, "FetchFailed").2.contains("pool.yaml"), "{:?}", condition(&report, "FetchFailed"));
    assert_eq!(host.metric(GAUGE).await, 0.0);
    host.commits(&good).await;
    host.sees("the file is back", |report| condition(report, "FetchFailed").0 == "False").await;
    assert_eq!(pids(&host.converged(2).await), before);
    host.strike().await;
}
