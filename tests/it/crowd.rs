//! Those who want the page to themselves: many connections, many requests, and heads that never end; and a bystander who
//! is served all the while. Bounds are counts: nothing here is about how fast something is.

use std::net::SocketAddr;

use exitpool::desired::RateLimit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::netns::Netns;
use crate::page::Served;
use crate::page::world::World;

const HOST: &str = "10.77.0.1:0";
const CROWD: &str = "10.77.0.66";
const BYSTANDER: &str = "10.77.0.7";
/// The longest that anything is waited for.
const DEADLINE: Duration = Duration::from_secs(120);

/// A namespace with a host, a crowd and a bystander.
fn town() -> Option<Netns> {
    let netns = Netns::new()?;
    for address in ["10.77.0.1", CROWD, BYSTANDER] {
        netns.sh(&format!("ip address add {address}/32 dev lo"));
    }
    Some(netns)
}

async fn serve() -> Served {
    let mut world = World::healthy(3);
    world.server_addresses.clear();
    let access = &mut world.desired.as_mut().unwrap().access;
    access.panel = ["10.77.0.0/24".parse().unwrap()].into();
    let lockout_for = Duration::from_secs(900);
    access.rate_limit = Some(RateLimit { per_minute: 60, failed_per_minute: 5, lockout_after: 5, lockout_for });
    Served::at(HOST, world.status()).await
}

async fn connect(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{from}:0").parse().unwrap())?;
    tokio::time::timeout(DEADLINE, socket.connect(to)).await.expect("it connects or is refused")
}

/// Asks once; gives the status.
async fn ask(from: &str, to: SocketAddr) -> u16 {
    let mut stream = connect(from, to).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("it is answered").unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

/// The value of a metric, as the bystander reads it.
async fn metric(to: SocketAddr, series: &str) -> f64 {
    let mut stream = connect(BYSTANDER, to).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut text)).await.expect("it is answered").unwrap();
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).unwrap().parse().unwrap()
}

#[test]
fn two_thousand_idle_connections_of_one_address_leave_room_for_another() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(8_192, |most| most.min(8_192));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).unwrap();
    let Some(netns) = town() else { return };
    netns.block_on(async || {
        let served = serve().await;
        let mut idle = Vec::new();
        for number in 0..2_000 {
            idle.extend(connect(CROWD, served.address).await.ok());
            if number % 500 == 499 {
                assert_eq!(ask(BYSTANDER, served.address).await, 200, "with {} idle ones", idle.len());
            }
        }
        // All but those that have a place, and those that came after such a one had waited for too long.
        let refused = metric(served.address, "exitpool_http_connections_refused_total").await;
        assert!(refused >= 1_000.0, "{refused} of {}", idle.len());
    });
}

#[test]
fn a_flood_from_one_address_is_cut_down_while_another_is_served() {
    let Some(netns) = town() else { return };
    netns.block_on(async || {
        let served = serve().await;
        let mut statuses = Vec::new();
        for number in 0..300 {
            statuses.push(ask(CROWD, served.address).await);
            if number % 100 == 99 {
                assert_eq!(ask(BYSTANDER, served.address).await, 200);
            }
        }
        let answered = statuses.iter().filter(|status| **status == 200).count();
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        // Sixty, or twice that where a minute has ended meanwhile.
        assert!((60..=120).contains(&answered), "{answered}");
    });
}

#[test]
fn heads_that_never_end_are_cut_off_while_another_is_served() {
    let Some(netns) = town() else { return };
    netns.block_on(async || {
        let served = serve().await;
        let mut slow = Vec::new();
        for _ in 0..30 {
            let mut stream = connect(CROWD, served.address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
            slow.push(stream);
        }
        assert_eq!(ask(BYSTANDER, served.address).await, 200);
        // A byte now and then keeps none of them open: the head as a whole has its time.
        let dripped = tokio::time::timeout(DEADLINE, async {
            let mut dripped = 0;
            while slow[0].write_all(b"a").await.is_ok() {
                dripped += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            dripped
        });
        assert!(dripped.await.expect("it is cut off") > 0);
        for mut stream in slow.drain(1..) {
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("it is cut off");
            assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
        }
        assert_eq!(ask(BYSTANDER, served.address).await, 200);
    });
}
