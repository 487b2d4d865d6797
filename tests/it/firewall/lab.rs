//! A host under guard, and a client on a cable to it.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use exitpool::firewall::Firewall;
use exitpool::firewall::model::{Guard, Ports};
use exitpool::firewall::nftables::Nftables;
use exitpool::observe::{Observation, ObservedGuard};
use tokio::net::{TcpSocket, TcpStream};

use crate::netns::Netns;

/// Long enough for any packet that comes at all.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection is awaited that must not come: a SYN on a cable within this machine takes microseconds.
const SILENCE: Duration = Duration::from_millis(250);

/// The host's addresses.
pub const HOST: [&str; 2] = ["10.200.1.1", "fd00:200:1::1"];
/// The client's addresses that may use the nodes.
pub const FRIEND: [&str; 2] = ["10.200.1.10", "fd00:200:1::10"];
/// The client's addresses that may see the status page, and nothing else.
pub const STRANGER: [&str; 2] = ["10.200.1.12", "fd00:200:1::12"];

/// Two namespaces and the cable between them.
pub struct Lab {
    /// The host under guard.
    pub host: Netns,
    /// Everybody else.
    pub client: Netns,
}

impl Lab {
    /// Lays the cable; `None`, with the reason on standard error, where namespaces cannot be made.
    pub fn new() -> Option<Self> {
        let lab = Self { host: Netns::new()?, client: Netns::new()? };
        lab.host.sh(&format!("ip link add h0 type veth peer name c0 netns {}", lab.client.pid()));
        let address = |address: &str| match address.contains(':') {
            true => format!("{address}/64 nodad"),
            false => format!("{address}/24"),
        };
        for addr in HOST {
            lab.host.sh(&format!("ip addr add {} dev h0", address(addr)));
        }
        for addr in FRIEND.iter().chain(&STRANGER) {
            lab.client.sh(&format!("ip addr add {} dev c0", address(addr)));
        }
        lab.host.sh("ip link set h0 up");
        lab.client.sh("ip link set c0 up");
        Some(lab)
    }

    /// Puts a guard in place on the host, and sees that it is exactly that.
    pub fn apply(&self, guard: &Guard) {
        self.host.block_on(async || Nftables::new().apply(guard).await).unwrap();
        assert_eq!(self.observe(guard), exact(guard));
    }

    /// Reads the guard back.
    pub fn observe(&self, wanted: &Guard) -> Observation<ObservedGuard> {
        self.host.block_on(async || Nftables::new().observe(wanted).await)
    }

    /// Listens on ports of the host, on all its addresses.
    pub fn listen(&self, ports: &[u16]) -> Vec<TcpListener> {
        self.host.run(|| ports.iter().map(|port| TcpListener::bind(("::", *port)).unwrap()).collect())
    }
}

/// What the driver says of a guard that is in place.
pub fn exact(guard: &Guard) -> Observation<ObservedGuard> {
    Observation::Present(ObservedGuard::Exact(guard.clone()))
}

/// A guard with everything in it: friends may use the nodes, strangers may see the page.
pub fn guard() -> Guard {
    let networks = |addresses: [&str; 2]| addresses.iter().map(|it| it.parse::<IpAddr>().unwrap().into()).collect();
    Guard {
        socks_ports: vec![Ports { first: 30_000, last: 30_004 }, Ports { first: 30_099, last: 30_099 }],
        socks_allow: networks(FRIEND),
        panel_port: Some(8080),
        panel_allow: networks(STRANGER),
        control_ports: Some(Ports { first: 40_000, last: 40_099 }),
        icmp_per_second: 10,
    }
}

/// A connection that must come about.
pub async fn connects(from: &str, to: &str, port: u16) -> TcpStream {
    match tokio::time::timeout(PATIENCE, connect(from, 0, to, port)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => panic!("{from} to {to}:{port}: {error}"),
        Err(_) => panic!("{from} to {to}:{port}: blocked"),
    }
}

/// A connection attempt that must end in silence: a refusal would say that nobody listens, and prove nothing.
pub async fn is_dropped(from: &str, to: &str, port: u16) {
    match tokio::time::timeout(SILENCE, connect(from, 0, to, port)).await {
        Err(_) => {}
        Ok(Ok(_)) => panic!("{from} to {to}:{port}: open"),
        Ok(Err(error)) => panic!("{from} to {to}:{port}: {error}"),
    }
}

/// Connects from one address and port to another.
pub async fn connect(from: &str, from_port: u16, to: &str, port: u16) -> std::io::Result<TcpStream> {
    let from = SocketAddr::new(from.parse().unwrap(), from_port);
    let to = SocketAddr::new(to.parse().unwrap(), port);
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(from)?;
    socket.connect(to).await
}
