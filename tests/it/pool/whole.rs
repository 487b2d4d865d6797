//! From a commit to a firewalled pool, and from one size to another.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use exitpool::cli::demo::stage::kill_pid;
use rustix::process::Signal;

use super::stage::{EXITPOOL, Host, condition, document, nodes, nothing_is_left_over, pids, pool, reachable};
use crate::support::{Door, knock};

fn nine() -> String {
    document(&(pool("us", 6, "us", 30_000) + &pool("de", 3, "de", 30_010)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_becomes_nine_nodes_behind_a_guard() {
    let Some(mut host) = Host::start("wnine", &nine()).await else { return };
    let report = host.converged(9).await;
    every_request_leaves_from_the_wished_country(&host, &report).await;
    only_the_whitelisted_get_in(&host);
    a_converged_host_is_left_alone(&mut host).await;
    looking_opens_nothing_for_writing(&host).await;
    a_snapshot_plans_as_the_host_does(&host).await;
    what_is_shown_agrees(&mut host).await;
    host.strike().await;
}

async fn every_request_leaves_from_the_wished_country(host: &Host, report: &exitpool::daemon::socket::Report) {
    for (name, node) in nodes(report) {
        let seen = host.ask_through(reachable(host, &node)).await.unwrap();
        let exit = host.network().exits().iter().find(|exit| exit.address == seen).unwrap();
        assert_eq!(exit.country.to_string(), name.split('-').next().unwrap(), "{name} left from {seen}");
    }
}

fn only_the_whitelisted_get_in(host: &Host) {
    // Something of every sort listens: SSH's port, a control port of somebody's, and one that is nobody's business.
    let listeners: Vec<_> = [22u16, 40_000, 40_099, 5_000]
        .into_iter()
        .map(|port| {
            let namespace = host.network().netns();
            crate::support::inside(&namespace, move || std::net::TcpListener::bind(("0.0.0.0", port)).unwrap())
        })
        .collect();
    let server = host.panel().ip();
    let doors = |ports: &[u16]| ports.iter().map(|port| SocketAddr::new(server, *port)).collect::<Vec<_>>();
    let ports = [30_000, 30_005, 30_010, 30_012, 8080, 40_000, 40_099, 22, 5_000];
    let [whitelisted, other] = <[IpAddr; 2]>::try_from(host.network().client_addresses().to_vec()).unwrap();
    let clients = host.network().client_netns().unwrap();
    use Door::{Filtered, Open};
    assert_eq!(
        knock(&clients, whitelisted, &doors(&ports)),
        [Open, Open, Open, Open, Open, Filtered, Filtered, Open, Open]
    );
    assert_eq!(
        knock(&clients, other, &doors(&ports)),
        [Filtered, Filtered, Filtered, Filtered, Filtered, Filtered, Filtered, Open, Open]
    );
    drop(listeners);
}

/// A pass on a converged host runs no step and starts no process.
async fn a_converged_host_is_left_alone(host: &mut Host) {
    let before = pids(&host.converged(9).await);
    let passes = host.metric("exitpool_reconcile_total{result=\"success\"}").await;
    let (code, told, _) = host.verb("diff", &[]).await;
    assert_eq!((code, told.trim()), (0, ""));
    let (_, told, _) = host.verb("reconcile", &[]).await;
    assert_eq!(told.trim(), "Nothing to do: this host is as desired.");
    let after = host.converged(9).await;
    assert!(after.applied.is_empty() && pids(&after) == before, "{:?}", after.applied);
    assert!(host.metric("exitpool_reconcile_total{result=\"success\"}").await > passes);
}

/// `plan`, `diff`, `drift` and `snapshot` read only: the kernel is asked what they open.
async fn looking_opens_nothing_for_writing(host: &Host) {
    for verb in ["plan", "diff", "drift", "snapshot"] {
        let trace = host.state_dir().with_file_name(format!("{verb}.trace"));
        let mut strace = host.network().command("strace");
        let calls = "trace=open,openat,openat2,creat,truncate,ftruncate,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat";
        strace.args(["-f", "-e", calls, "-o"]).arg(&trace).arg(EXITPOOL).arg(verb).envs(host.host_environment());
        let output = strace.output().await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(&trace).unwrap();
        assert!(text.contains("O_RDONLY"), "nothing was traced: {text}");
        let writes = |line: &&str| {
            let opens_to_write = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| line.contains(flag));
            let changes = ["unlink", "rename", "mkdir", "truncate(", "creat("].iter().any(|call| line.contains(call));
            // What a program that is started does with its own standard streams is no file of anybody's.
            (opens_to_write || changes) && !line.contains("/dev/null") && !line.contains("/dev/tty")
        };
        let written: Vec<&str> = text.lines().filter(writes).collect();
        assert!(written.is_empty(), "{verb} wrote: {written:#?}");
    }
}

/// A snapshot is planned for as the host itself, whatever the wish.
async fn a_snapshot_plans_as_the_host_does(host: &Host) {
    let (code, snapshot, told) = host.verb("snapshot", &[]).await;
    assert_eq!((code, told.as_str()), (0, ""));
    let path = |name: &str| host.state_dir().with_file_name(name).display().to_string();
    std::fs::write(path("snapshot.json"), &snapshot).unwrap();
    let wish = document(&(pool("us", 4, "us", 30_000) + &pool("de", 5, "de", 30_100))).replace("@CLIENT@", "192.0.2.1");
    std::fs::write(path("wish.yaml"), wish).unwrap();
    let from = ["--source", &path("wish.yaml"), "-o", "json"];
    let (_, here, _) = host.verb("plan", &from).await;
    let (_, paper, _) = host.verb("plan", &[&from[..], &["--observed", &path("snapshot.json")]].concat()).await;
    assert!(here.contains("must be replaced") || here.contains("will be"), "{here}");
    assert_eq!(paper, here);
    let (_, newest, _) = host.verb("plan", &["--observed", &path("snapshot.json")]).await;
    assert!(newest.starts_with("No changes for "), "{newest}");
}

async fn what_is_shown_agrees(host: &mut Host) {
    let report = host.converged(9).await;
    let status: serde_json::Value = serde_json::from_str(&host.http("/api/v1/status").await).unwrap();
    assert_eq!(status["revision"], report.status["revision"]);
    assert_eq!(status["client"]["whitelisted"], true);
    assert!(status["revision"].as_str().unwrap().starts_with("main@sha1:"), "{status}");
    assert_eq!(condition(&report, "Ready").0, "True");
    assert_eq!(host.metric("tor_nodes_up").await, 9.0);
    assert_eq!(host.http("/healthz").await.trim(), "ok");
    let page = host.http("/").await;
    assert!(page.contains("us-5") && page.contains("de-2"));
    for (name, node) in nodes(&report) {
        assert_eq!(node["exit"]["country"], name.split('-').next().unwrap(), "{node}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_down_and_up_keeps_what_stays() {
    let sized = |size| document(&pool("us", size, "us", 30_000)) + "reconcile: {max_delete: 100%}\n";
    let Some(mut host) = Host::start("wscale", &sized(9)).await else { return };
    let nine = pids(&host.converged(9).await);
    host.commits(&sized(3)).await;
    let report = host.converged(3).await;
    let three = pids(&report);
    assert!(three.len() == 3 && three.iter().all(|(name, pid)| nine[name] == *pid), "what stays keeps its pid");
    for (name, pid) in nine.iter().filter(|(name, _)| !three.contains_key(*name)) {
        assert!(!std::path::Path::new(&format!("/proc/{pid}/fd")).exists(), "tor of {name} is left");
        assert!(!host.instance_file(name, "").exists(), "the runtime directory of {name} is left");
        assert!(!host.state_dir().join("instances").join(name).exists(), "the state of {name} is left");
    }
    let guard = host.guard().await;
    assert!(guard.contains("30000-30002") && !guard.contains("30008"), "{guard}");
    host.commits(&sized(9)).await;
    let again = pids(&host.converged(9).await);
    assert!(three.iter().all(|(name, pid)| again[name] == *pid));

    // `down` leaves nothing of ours.
    let (code, _, complained) = host.verb("down", &[]).await;
    assert_eq!(code, 0, "{complained}");
    assert_eq!(host.guard().await, "");
    assert!(again.values().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/fd")).exists()));
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_outlives_the_daemon() {
    let Some(mut host) = Host::start("wlive", &document(&pool("us", 2, "us", 30_000))).await else { return };
    let report = host.converged(2).await;
    let before = pids(&report);
    let node = reachable(&host, &nodes(&report)["us-0"]);
    const BYTES: u64 = 2_000_000;
    let url = format!("http://{}/slow?bytes={BYTES}&seconds=12", host.network().echo());
    let mut curl = host.network().client_command("curl");
    curl.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{size_download}"]);
    let download = curl.args(["--socks5-hostname", &node.to_string(), &url]).output();
    let restarts = async {
        // The download is under way once tor has a stream for it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        host.kill_daemon().await;
        host.start_daemon().unwrap();
        let after = pids(&host.converged(2).await);
        host.stop_daemon().await;
        host.start_daemon().unwrap();
        (after, pids(&host.converged(2).await))
    };
    let (downloaded, (killed, stopped)) = tokio::join!(download, restarts);
    let downloaded = downloaded.unwrap();
    assert!(downloaded.status.success(), "{}", String::from_utf8_lossy(&downloaded.stderr));
    assert_eq!(String::from_utf8(downloaded.stdout).unwrap().trim(), BYTES.to_string());
    assert_eq!((&killed, &stopped), (&before, &before), "every tor was adopted, and none was started twice");
    host.strike().await;
}

/// The daemon dies at many moments of many plans; whatever it left half done is finished by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_anywhere_leaves_nothing_half_done() {
    let sized = |size| document(&pool("us", size, "us", 30_000)) + "reconcile: {max_delete: 100%}\n";
    let Some(mut host) = Host::start("wcrash", &sized(1)).await else { return };
    host.converged(1).await;
    for (size, after_ms) in [(5, 30), (1, 60), (5, 90), (2, 120), (6, 160), (1, 200), (4, 300), (1, 40), (5, 500)] {
        host.commits(&sized(size)).await;
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        host.kill_daemon().await;
        host.start_daemon().unwrap();
    }
    let wanted = pids(&host.converged(5).await);
    // Two at once: the second one refuses, and names the first one's directory.
    let second = host.exitpool("run").output().await.unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(1) && told.contains("another exitpool already reconciles"), "{told}");

    nothing_is_left_over(&host, &wanted);
    host.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_comes_back_whoever_dies_with_it() {
    let Some(mut host) = Host::start("wdie", &document(&pool("us", 2, "us", 30_000))).await else { return };
    let first = pids(&host.converged(2).await);
    let kill = |pids: &std::collections::BTreeMap<String, u64>, name: &str| {
        kill_pid(u32::try_from(pids[name]).unwrap(), Signal::KILL).unwrap();
    };

    // A tor: noticed at once, and the other one is not touched.
    kill(&first, "us-0");
    let replaced =
        |pids: &std::collections::BTreeMap<String, u64>| pids.get("us-0").is_some_and(|pid| *pid != first["us-0"]);
    let report = host.sees("another tor", |report| report.converged && replaced(&pids(report))).await;
    let second = pids(&report);
    assert_eq!(second["us-1"], first["us-1"]);

    // The daemon and a tor: the next daemon adopts one and starts the other.
    host.kill_daemon().await;
    kill(&second, "us-1");
    host.start_daemon().unwrap();
    let third = pids(&host.converged(2).await);
    assert_eq!(third["us-0"], second["us-0"]);
    assert_ne!(third["us-1"], second["us-1"]);

    // Everything.
    host.kill_daemon().await;
    kill(&third, "us-0");
    kill(&third, "us-1");
    host.start_daemon().unwrap();
    host.converged(2).await;
    assert!(host.metric("tor_nodes_up").await > 1.0);
    host.strike().await;
}
