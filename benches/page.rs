//! The page over loopback, from the real server: how long its first view takes, and how much it weighs.
//!
//! `cargo bench --bench page`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and has nobody to report errors to")]

#[expect(dead_code, reason = "the other benches need more of it")]
mod figures;
#[expect(dead_code, reason = "the tests of the page need more of the model")]
#[path = "../tests/it/world.rs"]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exitpool::status::Status;
use exitpool::status::http::{Shared, serve};
use exitpool::{desired, export, firewall, health, observe, plan, rotation, status, tor};
use figures::{Amount, Figure, Target, median};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use world::World;

const SIZES: [u16; 3] = [9, 100, 1_000];
/// How often everything is measured; the median counts.
const ROUNDS: usize = 15;
/// How long the first view may take, and how much it may weigh.
const MOST_TIME: Duration = Duration::from_millis(100);
const MOST_BYTES: u64 = 150_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let figures: Vec<Figure> = SIZES.into_iter().flat_map(|nodes| runtime.block_on(measure(nodes))).collect();
    figures::print("The page over loopback, with four hours behind it", &figures);
}

/// Measures the page beside the same bytes from a server that has them ready, in turns.
async fn measure(nodes: u16) -> Vec<Figure> {
    let page = served(aged(nodes)).await;
    let (body, _) = view(page).await;
    let ready = ready(body.clone()).await;
    let (mut pages, mut besides) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        pages.push(view(page).await.1);
        besides.push(view(ready).await.1);
    }
    let name = |what: &str| format!("{what}, {nodes} nodes");
    let (view, beside) = (Amount::Time(median(pages)), Amount::Time(median(besides)));
    let size = Amount::Bytes(u64::try_from(body.len()).unwrap());
    vec![
        Figure { name: name("the page"), measured: view, beside: None, target: Target::Below(Amount::Time(MOST_TIME)) },
        Figure {
            name: name("  beside the same bytes, made before"),
            measured: view,
            beside: Some(beside),
            target: Target::None,
        },
        Figure {
            name: name("  its size"),
            measured: size,
            beside: None,
            target: Target::Below(Amount::Bytes(MOST_BYTES)),
        },
    ]
}

/// A converged host whose latencies have moved for four hours.
fn aged(nodes: u16) -> Status {
    let mut world = World::healthy(nodes);
    world.now = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(4);
    let names: Vec<String> = world.observed.instances.keys().map(ToString::to_string).collect();
    let mut status = world.status();
    for step in 1..48_u32 {
        world = world.later(300);
        for (number, name) in (0..).zip(&names) {
            world.control(name).latency_ms = Some(100 + (number * 31 + step * step * 7) % 400);
        }
        status = world.status_after(&status);
    }
    status
}

async fn served(status: Status) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, status) = watch::channel(Arc::new(status));
    let shared = Shared {
        status,
        metrics: Arc::default(),
        visitors: Arc::default(),
        gate: Arc::default(),
        desk: Arc::default(),
        tls: None,
        now: jiff::Timestamp::now,
    };
    tokio::spawn(async move {
        serve(listener, shared, CancellationToken::new()).await;
        drop(sender);
    });
    address
}

/// A server that answers everything with bytes that it has.
async fn ready(body: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&body).await;
        }
    });
    address
}

/// Asks for the page on a connection of its own; gives the whole answer, and how long it took.
async fn view(from: SocketAddr) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(from).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    (answer, begun.elapsed())
}
