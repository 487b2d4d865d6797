//! A host under guard, and a client on a cable to it.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use exitpool::firewall::Firewall;
use exitpool::firewall::iptables::{Flavour, Iptables};
use exitpool::firewall::model::{Guard, Ports};
use exitpool::firewall::nftables::Nftables;
use exitpool::observe::{Observation, ObservedGuard};
use tokio::net::{TcpSocket, TcpStream};

use crate::netns::Netns;
use crate::support::{is_installed, skip};

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

/// The drivers that keep a guard of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nftables,
    IptablesNft,
    IptablesLegacy,
}

impl Kind {
    /// Makes the driver, for the network namespace of the calling thread.
    pub fn driver(self) -> Box<dyn Firewall> {
        match self {
            Self::Nftables => Box::new(Nftables::new()),
            Self::IptablesNft => Box::new(Iptables::of(Flavour::Nft)),
            Self::IptablesLegacy => Box::new(Iptables::of(Flavour::Legacy)),
        }
    }

    fn tools(self) -> &'static [&'static str] {
        match self {
            Self::Nftables => &["nft"],
            Self::IptablesNft => &["nft", "iptables-nft", "ipset"],
            Self::IptablesLegacy => &["nft", "iptables-legacy", "ipset"],
        }
    }

    /// What makes `ipt` and `ip6t` this kind's tools in a script.
    fn prelude(self) -> &'static str {
        match self {
            Self::Nftables => "",
            Self::IptablesNft => {
                "ipt() { iptables-nft -t mangle \"$@\"; }; ip6t() { ip6tables-nft -t mangle \"$@\"; };"
            }
            Self::IptablesLegacy => {
                "ipt() { iptables-legacy -t mangle \"$@\"; }; ip6t() { ip6tables-legacy -t mangle \"$@\"; };"
            }
        }
    }
}

/// Makes a test of each driver out of a function that takes a lab.
macro_rules! on_each_driver {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::firewall::lab::{Kind, Lab};

            #[test]
            fn nftables() {
                Lab::new(Kind::Nftables).iter().for_each(super::$name);
            }

            #[test]
            fn iptables_nft() {
                Lab::new(Kind::IptablesNft).iter().for_each(super::$name);
            }

            #[test]
            fn iptables_legacy() {
                Lab::new(Kind::IptablesLegacy).iter().for_each(super::$name);
            }
        }
    )+};
}
pub(super) use on_each_driver;

/// A host under guard, whichever driver keeps it.
pub trait Guarded: Sync {
    /// Where it is.
    fn lab(&self) -> &Lab;

    /// Makes the driver, for the network namespace of the calling thread.
    async fn driver(&self) -> Box<dyn Firewall>;

    /// Puts a guard in place, and sees that it is exactly that.
    fn apply(&self, guard: &Guard) {
        self.put(guard);
        assert_eq!(self.observe(guard), exact(guard));
    }

    /// Puts a guard in place, unseen.
    fn put(&self, guard: &Guard) {
        self.lab().host.block_on(async || self.driver().await.apply(guard).await).unwrap();
    }

    /// Reads the guard back.
    fn observe(&self, wanted: &Guard) -> Observation<ObservedGuard> {
        self.lab().host.block_on(async || self.driver().await.observe(wanted).await)
    }

    /// Removes the guard.
    fn remove(&self) {
        self.lab().host.block_on(async || self.driver().await.remove().await).unwrap();
    }

    /// Runs a script on the host, as somebody would who is not exitpool.
    fn tamper(&self, script: &str);

    /// What its operator types to load the tool's own rules again.
    fn reloads(&self) -> Vec<String>;
}

impl Guarded for Lab {
    fn lab(&self) -> &Lab {
        self
    }

    async fn driver(&self) -> Box<dyn Firewall> {
        self.kind.driver()
    }

    /// In the script, `ipt` and `ip6t` are the tools of its flavour.
    fn tamper(&self, script: &str) {
        self.host.sh(&format!("{}{script}", self.kind.prelude()));
    }

    fn reloads(&self) -> Vec<String> {
        let iptables = |flavour: &str| {
            let family = |name: &str| {
                format!("saved=$({name}-{flavour}-save -t mangle); echo \"$saved\" | {name}-{flavour}-restore; ")
            };
            family("iptables") + &family("ip6tables")
        };
        vec![match self.kind {
            Kind::Nftables => "saved=$(nft list ruleset); echo \"flush ruleset\n$saved\" | nft -f -".to_owned(),
            Kind::IptablesNft => iptables("nft"),
            Kind::IptablesLegacy => iptables("legacy"),
        }]
    }
}

/// Two namespaces and the cable between them.
pub struct Lab {
    /// Which driver guards the host.
    pub kind: Kind,
    /// The host under guard.
    pub host: Netns,
    /// Everybody else.
    pub client: Netns,
}

impl Lab {
    /// Lays the cable; `None`, with the reason on standard error, where namespaces cannot be made.
    pub fn new(kind: Kind) -> Option<Self> {
        if let Some(missing) = kind.tools().iter().find(|tool| !is_installed(tool)) {
            skip(&format!("{missing} is not installed"));
            return None;
        }
        let lab = Self { kind, host: Netns::new()?, client: Netns::new()? };
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

    /// Everything that stands in any firewall of the host, without what says when it was listed, or how often a rule was met.
    pub fn everything(&self) -> String {
        let listing = match self.kind {
            Kind::Nftables => "nft --stateless list ruleset",
            Kind::IptablesNft => "iptables-nft-save; ip6tables-nft-save; ipset save | sort",
            Kind::IptablesLegacy => {
                "iptables-legacy-save; ip6tables-legacy-save; ipset save | sort; nft --stateless list ruleset"
            }
        };
        self.host.sh(&format!("{{ {listing}; }} | sed '/^#/d; s/ \\[[0-9:]*\\]$//'"))
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
        ..Guard::default()
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

/// A connection attempt that a firewall must answer with a refusal; somebody has to listen there.
pub async fn is_refused(from: &str, to: &str, port: u16) {
    match tokio::time::timeout(PATIENCE, connect(from, 0, to, port)).await {
        Ok(Err(_)) => {}
        Ok(Ok(_)) => panic!("{from} to {to}:{port}: open"),
        Err(_) => panic!("{from} to {to}:{port}: silence"),
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
