//! A real pool on a private Tor network: how fast it follows a commit, how fast a dead tor is back, what it costs at rest.
//!
//! `cargo bench --bench pool` (as root), or `cargo bench --bench pool -- kills crowd` for some parts alone. Each time stands
//! beside the one of a bare tor on the same network, measured just before it: the machine's speed and load of the moment
//! are in both.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, and nobody handles its errors"
)]

#[path = "pool/bare.rs"]
mod bare;
#[path = "pool/control.rs"]
mod control;
#[path = "pool/cost.rs"]
mod cost;
#[path = "pool/crowd.rs"]
mod crowd;
mod figures;
#[path = "pool/flock.rs"]
mod flock;
#[path = "pool/host.rs"]
mod host;

use std::time::Duration;

use bare::{BareTor, Tables};
use exitpool::testnet::Testnet;
use figures::{Amount, Figure, Target, median};
use flock::Flock;
use host::Host;

/// How often times are measured; the medians count.
const ROUNDS: usize = 3;
/// How often a tor is killed: each time another one's, since a node that dies again and again has to wait.
const KILLS: usize = 9;
/// How many commits are followed; each is quick.
const COMMITS: usize = 9;
/// How many passes are measured together: the kernel counts CPU in hundredths of a second.
const PASSES: u32 = 20;
/// How long the daemon is left alone.
const IDLE: Duration = Duration::from_secs(60);
/// What a pool is left to come to rest before it is measured.
const REST: Duration = Duration::from_secs(5);

/// How many commands are sent to a control socket, in each of the rounds.
const COMMANDS: u32 = 5_000;
/// How many relays the real network has, or nearly.
const RELAYS: usize = 8_000;

const SMALL: u16 = 10;
const LARGE: u16 = 100;

fn main() {
    if let Err(reason) = Testnet::check() {
        eprintln!("skipped: {reason}");
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(measure());
}

async fn measure() {
    let mut host = Host::start().await;
    let mut figures = vec![];
    if is_wanted("kills") {
        figures.extend(kills(&mut host).await);
    }
    if is_wanted("whitelist") {
        figures.push(whitelist(&mut host).await);
    }
    if is_wanted("starts") {
        figures.extend(starts(&mut host).await);
    }
    if is_wanted("costs") {
        figures.extend(costs(&mut host).await);
    }
    if is_wanted("flocks") {
        figures.extend(flocks(&mut host).await);
    }
    if is_wanted("commands") {
        figures.extend(commands(&mut host).await);
    }
    if is_wanted("memory") {
        figures.extend(memory(&mut host).await);
    }
    if is_wanted("crowd") {
        figures.extend(memory_in_a_crowd(&mut host).await);
    }
    host.strike().await;
    figures::print("A real pool on a private Tor network", &figures);
}

/// Whether a part is to be measured: all are, unless some are named.
fn is_wanted(part: &str) -> bool {
    // cargo says `--bench` to every bench.
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).peekable();
    named.peek().is_none() || named.any(|name| name == part)
}

/// From a commit in a repository that is watched to a guard that is known to have it.
async fn whitelist(host: &mut Host) -> Figure {
    let mut times = vec![];
    for last in 1..=COMMITS {
        times.push(host.admit(SMALL, &format!("203.0.113.{last}")).await);
    }
    Figure {
        name: format!("commit of one more whitelisted address to the guard and {SMALL} tors having it"),
        measured: Amount::Time(median(times)),
        beside: None,
        target: Target::Below(Amount::Time(Duration::from_secs(2))),
    }
}

/// From a commit to nodes that are ready, beside one bare tor that downloads everything.
async fn starts(host: &mut Host) -> Vec<Figure> {
    let (mut bare, mut small, mut large) = (vec![], vec![], vec![]);
    for round in 1..=ROUNDS {
        bare.push(BareTor::new(&host.stage, Tables::None).start().await);
        small.push(host.grow_from_nothing(SMALL).await);
        bare.push(BareTor::new(&host.stage, Tables::None).start().await);
        large.push(host.grow_from_nothing(LARGE).await);
        eprintln!(
            "starts, round {round} of {ROUNDS}: bare {bare:.2?}, {SMALL} nodes {small:.2?}, {LARGE} nodes {large:.2?}"
        );
    }
    let bare = Amount::Time(median(bare));
    let figure = |nodes: u16, times, target| Figure {
        name: format!("commit to {nodes} ready nodes, beside one bare tor's first start"),
        measured: Amount::Time(median(times)),
        beside: Some(bare),
        target,
    };
    vec![figure(SMALL, small, Target::None), figure(LARGE, large, Target::Times(6.0))]
}

/// What the daemon costs with many nodes: in a pass, and when nothing happens.
async fn costs(host: &mut Host) -> Vec<Figure> {
    host.resize(LARGE).await;
    tokio::time::sleep(REST).await;
    let pid = host.stage.daemon_pid().unwrap();
    let per_pass = cost::of(pid, || host.passes(PASSES)).await;
    let idle = cost::of(pid, || tokio::time::sleep(IDLE)).await;
    let percent = |time: Duration| Amount::CorePercent(time.as_secs_f64() / IDLE.as_secs_f64() * 100.0);
    let figure = |name: &str, measured, target| Figure {
        name: format!("{name}, {LARGE} nodes"),
        measured,
        beside: None,
        target,
    };
    let below = |amount| Target::Below(amount);
    vec![
        figure("CPU of a pass", Amount::Time(per_pass.own / PASSES), below(Amount::Time(Duration::from_millis(50)))),
        figure("  and of the programs it runs", Amount::Time(per_pass.children / PASSES), Target::None),
        figure("CPU of the idle daemon", percent(idle.own), below(Amount::CorePercent(0.5))),
        figure("  and of the programs it runs", percent(idle.children), Target::None),
        figure("memory of the idle daemon", Amount::Bytes(cost::resident(pid)), below(Amount::Bytes(25 << 20))),
    ]
}

/// What a node's part of its tor takes, beside a bare tor with the tables of countries that it reads by default.
async fn memory(host: &mut Host) -> Vec<Figure> {
    let mut figures = vec![];
    for (together, target) in [(1, 0.33), (10, 0.05), (50, 0.0125)] {
        let tors = host.share(LARGE, together).await;
        let mut bare = BareTor::new(&host.stage, Tables::Default);
        bare.start().await;
        tokio::time::sleep(REST).await;
        let pool: u64 = tors.into_iter().map(cost::proportional).sum();
        figures.push(Figure {
            name: format!("memory of a node where {together} share a tor, of {LARGE}, beside a bare tor's"),
            measured: Amount::Bytes(pool / u64::from(LARGE)),
            beside: Some(Amount::Bytes(cost::proportional(bare.pid()))),
            target: Target::Times(target),
        });
    }
    figures
}

/// The same, where each has a directory of the real network's size in its memory.
async fn memory_in_a_crowd(host: &mut Host) -> Vec<Figure> {
    let crowd = host.crowd(RELAYS).await;
    eprintln!("a directory of {RELAYS} relays more has {} bytes", crowd.size());
    let mut figures = vec![];
    for (together, most) in [(1, 0.33), (10, 0.05), (50, 0.0125)] {
        let tors = host.share_crowded(LARGE, together).await;
        let mut bare = BareTor::new(&host.stage, Tables::Default);
        bare.settle(&crowd);
        bare.start().await;
        tokio::time::sleep(REST).await;
        let pool: u64 = tors.into_iter().map(cost::proportional).sum();
        figures.push(Figure {
            name: format!(
                "memory of a node where {together} share a tor, of {LARGE}, beside a bare tor's, {RELAYS} relays more"
            ),
            measured: Amount::Bytes(pool / u64::from(LARGE)),
            beside: Some(Amount::Bytes(cost::proportional(bare.pid()))),
            target: Target::Times(most),
        });
    }
    figures
}

/// A command to a tor, beside a loop that does nothing else.
async fn commands(host: &mut Host) -> Vec<Figure> {
    host.resize(SMALL).await;
    let instance = host.stage.runtime_dir().join("instances").join("eu-0");
    let (mut bare, mut actor) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        bare.push(control::over_a_socket(&instance, COMMANDS).await);
        actor.push(control::through_an_actor(&instance, COMMANDS).await);
    }
    let per_second = 1.0 / median(actor.clone()).as_secs_f64();
    vec![Figure {
        name: format!("a command through a control actor ({per_second:.0} in a second), beside a bare loop"),
        measured: Amount::Time(median(actor)),
        beside: Some(Amount::Time(median(bare))),
        target: Target::None,
    }]
}

/// Many nodes beside as many bare tors that a shell loop starts: how long it takes, and what is asked of the directory.
async fn flocks(host: &mut Host) -> Vec<Figure> {
    let served = host.stage.network().served().await.unwrap();
    host.resize(SMALL).await;
    let torrc = Flock::torrc(&host.stage, "eu-0");
    let (mut times, mut loads) = ((vec![], vec![]), (vec![], vec![]));
    for round in 1..=ROUNDS {
        host.resize(0).await;
        let before = served.bytes().await;
        times.0.push(host.resize(LARGE).await);
        let between = served.bytes().await;
        let flock = Flock::start(&host.stage, &torrc, LARGE).await;
        times.1.push(flock.took);
        let after = served.bytes().await;
        loads.0.push(between - before);
        loads.1.push(after - between);
        eprintln!("flocks, round {round} of {ROUNDS}: {times:.2?}, directory {loads:?} bytes");
    }
    let figure = |what: &str, measured, beside, target| Figure {
        name: format!("{what}, beside {LARGE} bare tors that a shell loop starts"),
        measured,
        beside: Some(beside),
        target,
    };
    let (pool, bare) = (Amount::Time(median(times.0)), Amount::Time(median(times.1)));
    let asked = (Amount::Bytes(median(loads.0)), Amount::Bytes(median(loads.1)));
    vec![
        figure(&format!("commit to {LARGE} ready nodes"), pool, bare, Target::None),
        figure(&format!("bytes of the directory for {LARGE} nodes"), asked.0, asked.1, Target::Times(0.05)),
    ]
}

/// From the death of a tor to a node that is ready, beside a bare tor that was killed and starts again.
async fn kills(host: &mut Host) -> Vec<Figure> {
    host.resize(SMALL).await;
    let mut tor = BareTor::new(&host.stage, Tables::None);
    tor.start().await;
    let (mut bare, mut node) = (vec![], vec![]);
    for victim in 0..KILLS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bare.push(tor.start().await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        node.push(host.kill(victim).await);
    }
    eprintln!("kills: bare {bare:.2?}, node {node:.2?}");
    vec![Figure {
        name: "kill -9 of a tor to its node ready, beside a bare tor's start with a cached directory".to_owned(),
        measured: Amount::Time(median(node)),
        beside: Some(Amount::Time(median(bare))),
        target: Target::Times(1.1),
    }]
}
