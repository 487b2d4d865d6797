//! Whitelists of 10,000 entries that change again and again: nothing gets in, and nobody waits.
//!
//! What is counted are packets, and no times. A packet of a consumer that is dropped is sent again, and the kernel counts
//! that for each network namespace and for each connection; a connection attempt that was let in is one that is answered.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exitpool::firewall::model::Guard;
use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::lab::{
    FRIEND, Guarded, HOST, Kind, Lab, PATIENCE, STRANGER, connect, connects, exact, guard, on_each_driver,
};
use crate::netns::Netns;

const ENTRIES: u32 = 10_000;
const NODE: u16 = 30_000;
const BLOCKED: [u16; 4] = [NODE, 30_004, 40_000, 40_099];
/// So many attempts are under way at once, each for so long: a packet every half a millisecond.
const STRANGERS: usize = 32;
const ATTEMPT: Duration = Duration::from_millis(16);
/// Between two packets of a consumer, so that the machine has time left for the changes.
const PACE: Duration = Duration::from_millis(1);

on_each_driver!(nothing_leaks_and_nobody_waits_while_long_whitelists_change);

/// The guard with so many more addresses, no two of them side by side.
fn with_entries(first: u32, number: u32) -> Guard {
    let more =
        (first..first + number).map(|n| IpNet::from(std::net::IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + 2 * n))));
    let mut socks_allow: Vec<IpNet> = guard().socks_allow.into_iter().chain(more).collect();
    socks_allow.sort_unstable();
    Guard { socks_allow, ..guard() }
}

fn nothing_leaks_and_nobody_waits_while_long_whitelists_change(lab: &Lab) {
    let listeners = lab.listen(&BLOCKED);
    lab.apply(&with_entries(0, ENTRIES));
    let friend = lab.client.block_on(async || connects(FRIEND[0], HOST[0], NODE).await.into_std().unwrap());
    let (port, done) = (friend.local_addr().unwrap().port(), AtomicBool::new(false));
    let before = [&lab.host, &lab.client].map(counted);
    std::thread::scope(|scope| {
        let node = scope.spawn(|| lab.host.block_on(async || serve(&listeners[0], &done).await));
        let strangers = scope.spawn(|| lab.client.block_on(async || knock(&done).await));
        let consumers = scope.spawn(|| lab.client.block_on(async || come_and_go(&done).await));
        let ping_pong = scope.spawn(|| lab.client.block_on(async || play(friend, &done).await));
        change_again_and_again(lab);
        done.store(true, Ordering::Relaxed);
        let (attempts, let_in) = strangers.join().unwrap();
        let (connections, (rounds, friend)) = (consumers.join().unwrap(), ping_pong.join().unwrap());
        assert_eq!(let_in, [0; BLOCKED.len()], "of {attempts} attempts");
        assert!(attempts > 100 && connections > 10 && rounds > 100, "{attempts} {connections} {rounds}");
        assert_eq!([&lab.host, &lab.client].map(|host| sent_again(host, port)), [0, 0], "of the ping-pong");
        assert_eq!([&lab.host, &lab.client].map(counted), before, "{connections} connections, {rounds} rounds");
        drop(friend);
        node.join().unwrap();
    });
}

/// Exchanges everything, and then changes little again and again.
fn change_again_and_again(lab: &Lab) {
    for round in 0..3 {
        lab.put(&with_entries(ENTRIES * (round % 2 + 1), ENTRIES));
    }
    for round in 0..3 {
        lab.put(&with_entries(ENTRIES + round, ENTRIES));
        lab.put(&with_entries(ENTRIES + round, ENTRIES + 100));
    }
    let last = with_entries(ENTRIES + 3, ENTRIES + 100);
    lab.apply(&last);
}

/// Packets that were sent again in a network namespace: connection attempts, and all.
fn counted(host: &Netns) -> [u64; 2] {
    let text = host.sh("cat /proc/self/net/snmp /proc/self/net/netstat");
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.chunks(2).flat_map(|pair| pair[0].split(' ').zip(pair[1].split(' ')));
    let counters: BTreeMap<_, _> = pairs.collect();
    ["TCPSynRetrans", "RetransSegs"].map(|name| counters[name].parse().unwrap())
}

/// Packets that were sent again on a connection, as `TCP_INFO` says.
fn sent_again(host: &Netns, port: u16) -> u64 {
    let shown = host.sh(&format!("ss -tinH '( sport = :{port} or dport = :{port} )'"));
    assert!(shown.contains("bytes_acked:"), "no such connection: {shown}");
    let retrans = shown.split_whitespace().find_map(|word| word.strip_prefix("retrans:"));
    retrans.map_or(0, |retrans| retrans.rsplit('/').next().unwrap().parse().unwrap())
}

/// Answers whatever comes, byte by byte.
async fn serve(listener: &TcpListener, done: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
    let mut connections = tokio::task::JoinSet::new();
    while !done.load(Ordering::Relaxed) {
        let Ok(accepted) = tokio::time::timeout(ATTEMPT, listener.accept()).await else { continue };
        let mut stream = accepted.unwrap().0;
        connections.spawn(async move {
            while let Ok(byte) = stream.read_u8().await {
                stream.write_u8(byte).await.unwrap();
            }
        });
    }
    connections.join_all().await;
}

/// Tries to connect where a stranger may not: how often, and how often somebody answered at each port.
async fn knock(done: &AtomicBool) -> (usize, [usize; BLOCKED.len()]) {
    let (attempts, let_in) = (Cell::new(0), [const { Cell::new(0) }; BLOCKED.len()]);
    join_all((0..STRANGERS).map(async |worker| {
        let at = worker % BLOCKED.len();
        tokio::time::sleep(ATTEMPT * u32::try_from(worker).unwrap() / 32).await;
        while !done.load(Ordering::Relaxed) {
            attempts.set(attempts.get() + 1);
            // A refusal is an answer, too.
            if tokio::time::timeout(ATTEMPT, connect(STRANGER[0], 0, HOST[0], BLOCKED[at])).await.is_ok() {
                let_in[at].set(let_in[at].get() + 1);
            }
        }
    }))
    .await;
    (attempts.get(), let_in.map(|it| it.get()))
}

/// Connects, is answered and goes, again and again.
async fn come_and_go(done: &AtomicBool) -> usize {
    let mut connections = 0;
    while !done.load(Ordering::Relaxed) {
        let mut stream = connects(FRIEND[0], HOST[0], NODE).await;
        answered(&mut stream).await;
        connections += 1;
        tokio::time::sleep(PACE * 4).await;
    }
    connections
}

/// Sends a byte and waits for it, again and again.
async fn play(stream: std::net::TcpStream, done: &AtomicBool) -> (usize, TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(stream).unwrap();
    let mut rounds = 0;
    while !done.load(Ordering::Relaxed) {
        answered(&mut stream).await;
        rounds += 1;
        tokio::time::sleep(PACE).await;
    }
    (rounds, stream)
}

async fn answered(stream: &mut TcpStream) {
    let there_and_back = async {
        stream.write_u8(b'x').await?;
        stream.read_u8().await
    };
    let answer = tokio::time::timeout(PATIENCE, there_and_back).await.expect("bytes pass");
    assert_eq!(answer.unwrap(), b'x');
}

/// Splits, joins, adds and removes networks, a few at a time: the rules stay as they are, and the sets become exact.
#[test]
fn a_small_change_touches_the_elements_that_differ_and_nothing_else() {
    let Some(lab) = Lab::new(Kind::Nftables) else { return };
    let handles = || lab.host.sh("nft -a list table inet exitpool | sed -n 's/.*# handle //p'");
    let whitelist = |numbers: &[u32]| {
        let addresses = numbers.iter().map(|n| IpNet::from(std::net::IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))));
        let sixes = numbers.iter().map(|n| format!("fd00::{n:x}/128").parse().unwrap());
        Guard { socks_allow: IpNet::aggregate(&addresses.chain(sixes).collect()), ..guard() }
    };
    lab.apply(&whitelist(&(0..64).collect::<Vec<_>>()));
    let before = handles();
    // A walk that is the same on every run: each step takes out or puts in three addresses.
    let (mut members, mut number) = ((0..64_u32).collect::<Vec<_>>(), 1_u32);
    for _ in 0..40 {
        for _ in 0..3 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let address = number >> 26;
            match members.iter().position(|it| *it == address) {
                Some(at) => _ = members.remove(at),
                None => members.push(address),
            }
        }
        members.sort_unstable();
        let wanted = whitelist(&members);
        lab.put(&wanted);
        assert_eq!((lab.observe(&wanted), handles()), (exact(&wanted), before.clone()), "{members:?}");
    }
}
