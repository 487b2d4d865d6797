//! What 1,000 nodes cost to tell: requests a second beside nginx, which serves the same bytes from files.
//!
//! `cargo bench --bench http`; it takes wrk and nginx.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and has nobody to report errors to")]

#[path = "http/load.rs"]
mod load;
#[path = "http/servers.rs"]
mod servers;
#[expect(dead_code, reason = "the tests of the status bend their worlds further")]
#[path = "../tests/it/world.rs"]
mod world;

use std::time::Duration;

use comfy_table::Table;
use exitpool::{desired, export, firewall, health, observe, plan, rotation, status, tor};

use load::Load;
use servers::{Nginx, Ours};

/// How many nodes are told of.
const NODES: u16 = 1_000;
/// What is asked for.
const PATHS: [&str; 3] = ["/metrics", "/api/v1/nodes", "/export/txt"];
/// How often each is measured, in turn with its neighbour; the median counts.
const ROUNDS: usize = 3;
/// How long one measurement takes.
const SPAN: Duration = Duration::from_secs(4);
/// The least share of nginx's rate.
const LEAST: f64 = 0.5;

fn main() {
    if std::env::args().any(|argument| argument == servers::SERVE) {
        return servers::serve(NODES);
    }
    if let Some(missing) = ["wrk", "nginx"].into_iter().find(|tool| !servers::is_installed(tool)) {
        println!("\nHTTP: not measured, {missing} is missing (Debian: apt install {missing})");
        return;
    }
    let ours = Ours::start();
    let idle = ours.resident();
    let nginx = Nginx::start(&PATHS.map(|path| (path, ours.get(path))));
    let mut table = Table::new();
    table.set_header(["what", "bytes", "requests a second", "of nginx", "ratio", "target", "", "p99", "of nginx"]);
    for path in PATHS {
        table.add_row(row(path, &ours, &nginx));
    }
    println!("\nHTTP, {NODES} nodes, {} connections\n{table}", load::CONNECTIONS);
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    println!(
        "memory of the process that serves (RSS): {} at first, {} under load",
        mib(idle),
        mib(ours.most_resident())
    );
}

fn row(path: &str, ours: &Ours, nginx: &Nginx) -> [String; 9] {
    let (mut mine, mut its) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        mine.push(Load::of(ours.address, path, &ours.token, SPAN));
        its.push(Load::of(nginx.address, path, &ours.token, SPAN));
    }
    let (mine, its) = (Load::median(mine), Load::median(its));
    let ratio = mine.rate / its.rate;
    [
        path.to_owned(),
        ours.get(path).len().to_string(),
        format!("{:.0}", mine.rate),
        format!("{:.0}", its.rate),
        format!("{ratio:.2}×"),
        format!("≥ {LEAST}×"),
        if ratio >= LEAST { "met" } else { "MISSED" }.to_owned(),
        format!("{:.2?}", mine.p99),
        format!("{:.2?}", its.p99),
    ]
}
