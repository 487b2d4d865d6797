//! The guard's drivers with the real tools: what a whitelist of 10, 1,000 and 10,000 entries costs.
//!
//! `cargo bench --bench firewall` (as root). It runs in a network namespace of its own. Each time stands beside that of the
//! bare tools on the same content, processes counted in, measured in turn with it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, and nobody handles its errors"
)]

#[expect(dead_code, reason = "other benches measure more than times")]
mod figures;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use exitpool::firewall::Firewall;
use exitpool::firewall::iptables::{Flavour, Iptables};
use exitpool::firewall::model::{Guard, Ports};
use exitpool::firewall::nftables::{self, Nftables};
use exitpool::observe::{Observation, ObservedGuard};
use figures::{Amount, Figure, Target, median};
use ipnet::IpNet;

/// How long the whitelists are.
const SIZES: [u32; 3] = [10, 1_000, 10_000];
/// How often each time is taken; the medians count.
const ROUNDS: usize = 9;
/// What putting a guard in place may cost beside the bare tools.
const MOST_TO_APPLY: Target = Target::Times(1.3);
/// What looking at a guard may cost that nobody has changed, beside a bare listing.
const MOST_TO_LOOK: Target = Target::Times(1.0);
/// Says that the process is in its namespace.
const INSIDE: &str = "EXITPOOL_BENCH_INSIDE";

fn main() {
    if std::env::var_os(INSIDE).is_none() {
        let itself = std::env::current_exe().unwrap();
        let ended = Command::new("unshare").arg("--net").arg(itself).env(INSIDE, "1").status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("skipped: network namespaces need root, and nft, iptables and ipset");
        }
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(measure());
}

async fn measure() {
    let mut figures = Vec::new();
    for size in SIZES {
        figures.extend(of_nftables(size).await);
    }
    figures.push(repair().await);
    for size in SIZES {
        figures.extend(of_iptables(size).await);
    }
    figures::print("The guard and its whitelist", &figures);
}

/// A guard that so many networks may pass, none of them beside another.
fn guard(entries: u32) -> Guard {
    let network = |n| IpNet::from(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + 2 * n)));
    Guard {
        socks_ports: vec![Ports { first: 30_000, last: 30_099 }],
        socks_allow: (0..entries).map(network).collect(),
        panel_port: Some(8080),
        panel_allow: vec!["198.51.100.7/32".parse().unwrap()],
        control_ports: Some(Ports { first: 40_000, last: 40_099 }),
        icmp_per_second: 10,
        ..Guard::default()
    }
}

async fn of_nftables(size: u32) -> Vec<Figure> {
    let (driver, guard, longer) = (Nftables::new(), guard(size), guard(size + 1));
    let document = nftables::installation(&guard);
    let (mut applied, mut bare, mut compared, mut listed, mut more, mut added, mut looked) = <_>::default();
    let name = format!("nftables, {size} entries");
    let last = format!("nft add element inet exitpool socks4 {{ {} }}", longer.socks_allow.last().unwrap());
    for _ in 0..ROUNDS {
        sh("nft delete table inet exitpool 2>/dev/null || true", "");
        time(&mut bare, async || sh("nft -j -f -", &document)).await;
        time(&mut listed, async || sh("nft -j list table inet exitpool >/dev/null", "")).await;
        time(&mut added, async || sh(&last, "")).await;
        sh("nft delete table inet exitpool", "");
        // A pass has looked before it applies.
        assert_eq!(driver.observe(&guard).await, Observation::Absent);
        time(&mut applied, async || driver.apply(&guard).await.unwrap()).await;
        driver.forget();
        time(&mut compared, async || is_exact(&driver, &guard).await).await;
        time(&mut looked, async || is_exact(&driver, &guard).await).await;
        time(&mut more, async || driver.apply(&longer).await.unwrap()).await;
    }
    vec![
        beside(format!("{name}: apply, beside bare `nft -j -f`"), &applied, &bare, MOST_TO_APPLY),
        beside(format!("{name}: read and compare, beside bare `nft -j list`"), &compared, &listed, Target::None),
        beside(format!("{name}: look while nobody changes anything, beside the same"), &looked, &listed, MOST_TO_LOOK),
        beside(format!("{name}: one more, beside bare `nft add element`"), &more, &added, Target::None),
    ]
}

async fn of_iptables(size: u32) -> Vec<Figure> {
    let (driver, guard) = (Iptables::of(Flavour::Nft), guard(size));
    driver.apply(&guard).await.unwrap();
    let save = "ipset save; iptables-nft-save -t mangle; ip6tables-nft-save -t mangle";
    let [sets, v4, v6] = ["ipset save", "iptables-nft-save -t mangle", "ip6tables-nft-save -t mangle"].map(output);
    let (mut applied, mut bare, mut compared, mut saved) = <_>::default();
    for _ in 0..ROUNDS {
        driver.remove().await.unwrap();
        time(&mut bare, async || {
            sh("ipset restore", &sets);
            sh("iptables-nft-restore --noflush", &v4);
            sh("ip6tables-nft-restore --noflush", &v6);
        })
        .await;
        driver.remove().await.unwrap();
        time(&mut applied, async || driver.apply(&guard).await.unwrap()).await;
        time(&mut compared, async || is_exact(&driver, &guard).await).await;
        time(&mut saved, async || sh(&format!("{{ {save}; }} >/dev/null"), "")).await;
    }
    driver.remove().await.unwrap();
    let name = format!("iptables, {size} entries");
    vec![
        beside(
            format!("{name}: apply, beside bare `ipset restore` and `iptables-restore`, v4 and v6"),
            &applied,
            &bare,
            MOST_TO_APPLY,
        ),
        beside(
            format!("{name}: read and compare, beside bare `ipset save` and `iptables-save`"),
            &compared,
            &saved,
            Target::None,
        ),
    ]
}

/// From before somebody starts to take a rule out to a guard that is known to be whole again.
async fn repair() -> Figure {
    let (driver, guard) = (Nftables::new(), guard(1_000));
    driver.apply(&guard).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        while tokio::time::timeout(Duration::from_millis(200), driver.changed()).await.is_ok() {}
        time(&mut times, async || {
            sh("nft flush chain inet exitpool socks", "");
            driver.changed().await;
            assert!(!matches!(driver.observe(&guard).await, Observation::Present(ObservedGuard::Exact(_))));
            driver.apply(&guard).await.unwrap();
            is_exact(&driver, &guard).await;
        })
        .await;
    }
    driver.remove().await.unwrap();
    Figure {
        name: "nftables, 1000 entries: from tampering to a guard that is whole again".to_owned(),
        measured: Amount::Time(median(times)),
        beside: None,
        target: Target::Below(Amount::Time(Duration::from_millis(100))),
    }
}

async fn is_exact(driver: &dyn Firewall, guard: &Guard) {
    assert_eq!(driver.observe(guard).await, Observation::Present(ObservedGuard::Exact(guard.clone())));
}

async fn time(times: &mut Vec<Duration>, work: impl AsyncFnOnce()) {
    let started = Instant::now();
    work().await;
    times.push(started.elapsed());
}

fn beside(name: String, measured: &[Duration], bare: &[Duration], target: Target) -> Figure {
    let of = |times: &[Duration]| Amount::Time(median(times.to_vec()));
    Figure { name, measured: of(measured), beside: Some(of(bare)), target }
}

/// Runs a shell's command on an input; it must succeed.
fn sh(command: &str, input: &str) {
    let mut child = Command::new("sh").args(["-c", command]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command}");
}

fn output(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}");
    String::from_utf8(output.stdout).unwrap()
}
