//! The page and its twin in a terminal, on a pool of real tors to which something happens.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use super::stage::{EXITPOOL, Host, document, pids, pool};
use crate::browser::Browser;

/// How soon a reader should see that a tor has died.
const SOON: Duration = Duration::from_secs(1);
/// So many tors may die before one is seen as soon as that: the machine does other things as well.
const MOST_DEATHS: u16 = 5;
/// The longest that a program of the test may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_sees_a_tor_die_and_come_back() {
    let pools = pool("eu", 5, "de", 30_000) + &pool("us", 4, "us", 31_000);
    let Some(mut host) = Host::start("live", &document(&pools)).await else { return };
    let report = host.converged(9).await;
    let panel = host.panel();
    let node = host.network().client_command("node").into_std();
    let Some(mut browser) = Browser::start_by(node, &panel.ip().to_string()) else { return };
    let url = format!("http://{panel}/");
    browser.open(&url, json!({}));
    browser.until("document.getElementById('live').textContent === 'live'");
    browser.until("document.querySelectorAll('.grid .r').length === 9");
    let runtime_dir = host.runtime_dir().display().to_string();
    let mut watch = host.network().command(EXITPOOL);
    watch.args(["status", "--watch", "--runtime-dir", &runtime_dir]).stdout(Stdio::piped());
    let mut lines = watch.spawn().unwrap();

    let mut quickest = Duration::MAX;
    for index in 0..MOST_DEATHS {
        let name = format!("eu-{index}");
        browser.evaluate(&format!(
            "window.row = () => [...document.querySelectorAll('.nodes tbody tr')].find(it => it.cells[0].textContent === \
             '{name}'); window.was = row().cells[7].textContent; window.seen = false; \
             window.watch?.disconnect(); window.watch = new MutationObserver(() => window.seen ||= \
             row().cells[1].textContent !== 'ready' || row().cells[7].textContent !== window.was); \
             watch.observe(document.querySelector('main'), {{subtree: true, childList: true, characterData: true}})"
        ));
        kill(pids(&report)[&name]);
        quickest = quickest.min(browser.until("window.seen"));
        if quickest < SOON {
            break;
        }
    }
    assert!(quickest < SOON, "the quickest of {MOST_DEATHS} deaths was seen after {quickest:?}");
    let after = host.converged(9).await;
    let text = "document.querySelector('main').innerText";
    browser.until("document.querySelectorAll('.grid .r').length === 9");
    browser.until(&format!("{text}.includes('eu-0') && {text}.includes('is served by another tor process')"));
    browser.is_well(&url);
    assert_ne!(pids(&after)["eu-0"], pids(&report)["eu-0"]);

    told(&mut lines, &["main@sha1:", "eu-4", "node eu-0 is served by another tor process"]).await;
    ends_at_once(lines).await;
    on_a_terminal(&host).await;
    host.strike().await;
}

fn kill(pid: u64) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// Waits until all of this was told, a line each and in this order.
async fn told(child: &mut Child, wanted: &[&str]) {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    for wanted in wanted {
        let search = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(wanted) {
                    return;
                }
            }
            panic!("it ended without telling `{wanted}`");
        };
        tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("`{wanted}` was not told"));
    }
}

/// Ctrl-C ends it, well.
async fn ends_at_once(mut child: Child) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

/// On a terminal of 80 columns it draws, within its bounds, and leaves the terminal as it was.
async fn on_a_terminal(host: &Host) {
    const SECONDS: &str = "3";
    let begun = Instant::now();
    let runtime_dir = host.runtime_dir().display().to_string();
    let drawn = |colours: &'static str| {
        let script = format!(
            "script -qefc 'stty cols 80 rows 24; {colours} TERM=xterm timeout --foreground --signal=INT {SECONDS} {} status \
             --watch --runtime-dir {runtime_dir}; echo ended with $?' /dev/null",
            EXITPOOL
        );
        async move { host.sh(&script).await }
    };
    let plain = drawn("NO_COLOR=1").await;
    assert!(begun.elapsed() < PATIENCE);
    assert!(plain.contains("\x1b[?1049h") && plain.contains("\x1b[?1049l"), "{plain}");
    // `timeout` says 124 whatever the program says; a program that INT had killed would have left the second screen.
    assert!(plain.contains("ended with 124"), "{plain}");
    let screen = plain.rsplit("\x1b[H").next().unwrap().split("\x1b[J").next().unwrap();
    let lines: Vec<&str> = screen.split("\x1b[K").map(str::trim).collect();
    assert!(lines.len() <= 25 && lines.iter().all(|line| line.chars().count() <= 80), "{screen}");
    assert!(lines.iter().any(|line| line.ends_with("5/5     ●●●●●")), "{screen}");
    assert!(lines.iter().all(|line| !line.contains('\x1b')), "no colours: {screen}");
    assert!(drawn("").await.contains("\x1b[32m●"), "a terminal has colours");
}
