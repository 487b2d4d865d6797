//! A source that is broken, empty or gone: the pool stays as it was, the condition says what is wrong and where.

use super::stage::{Host, condition, document, nodes, pids, pool, reachable};

/// A file is a source as well as a branch: written in place, replaced, swapped by a link, gone and back.
#[tokio::test(flavor = "multi_thread")]
async fn f22_a_file_is_followed_however_it_changes() {
    let sized = |size| document(&pool("us", size, "us", 30_000));
    let Some(mut host) = Host::start("file", &sized(1)).await else { return };
    host.converged(1).await;
    host.stop_daemon().await;
    let client = host.client().to_string();
    let write =
        |path: &std::path::Path, size: u16| std::fs::write(path, sized(size).replace("@CLIENT@", &client)).unwrap();
    let folder = host.repository().with_file_name("mounted");
    for version in ["first", "second"] {
        std::fs::create_dir_all(folder.join(version)).unwrap();
    }
    write(&folder.join("first/pool.yaml"), 2);
    write(&folder.join("second/pool.yaml"), 3);
    let file = folder.join("pool.yaml");
    std::os::unix::fs::symlink("first", folder.join("data")).unwrap();
    std::os::unix::fs::symlink("data/pool.yaml", &file).unwrap();
    host.start_daemon_with(&["--source", file.to_str().unwrap()]).unwrap();
    let report = host.converged(2).await;
    assert!(report.status["revision"].as_str().unwrap().starts_with("file@sha256:"), "{}", report.status["revision"]);

    // As Kubernetes swaps a mounted ConfigMap.
    std::os::unix::fs::symlink("second", folder.join("data.new")).unwrap();
    std::fs::rename(folder.join("data.new"), folder.join("data")).unwrap();
    host.converged(3).await;
    write(&file, 2);
    host.converged(2).await;
    write(&folder.join("new.yaml"), 1);
    std::fs::rename(folder.join("new.yaml"), &file).unwrap();
    host.converged(1).await;

    std::fs::remove_file(&file).unwrap();
    let report = host.sees("a missing file", |report| condition(report, "FetchFailed").0 == "True").await;
    assert_eq!(report.status["pools"][0]["ready"], 1, "the pool stays as it was");
    write(&file, 2);
    host.converged(2).await;
    host.strike().await;
}

const GAUGE: &str = "exitpool_config_last_reload_successful";

#[tokio::test(flavor = "multi_thread")]
async fn f20_a_bad_source_changes_nothing() {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_closes_when_its_country_has_no_exit() {
    let within = |country| document(&pool("us", 1, country, 30_000));
    let Some(mut host) = Host::start("noexit", &within("us")).await else { return };
    let report = host.converged(1).await;
    let node = reachable(&host, &nodes(&report)["us-0"]);
    host.ask_through(node).await.unwrap();

    host.commits(&within("es")).await;
    host.sees("no exit in es", |report| condition(report, "Stalled").1 == "NoExits").await;
    let answer = host.ask_through(node).await;
    assert!(answer.is_err(), "a request left from {answer:?}");

    host.commits(&within("de")).await;
    host.converged(1).await;
    let seen = host.ask_through(node).await.unwrap();
    let exit = host.network().exits().iter().find(|exit| exit.address == seen).unwrap();
    assert_eq!(exit.country.to_string(), "de");
    host.strike().await;
}
