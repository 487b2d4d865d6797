//! The same for every driver: who comes in, by every way, before and after its tool's own reload, and what nmap says of it.

use std::net::TcpListener;

use futures_util::future::join_all;

use super::lab::{
    FRIEND, Guarded, HOST, Lab, PATIENCE, STRANGER, connect, connects, exact, guard, is_dropped, on_each_driver,
};
use crate::netns::Netns;
use crate::support::{is_installed, skip};

const SSH: u16 = 22;
const NODES: [u16; 2] = [30_000, 30_099];
const PANEL: u16 = 8080;
const CONTROL: [u16; 2] = [40_000, 40_099];
/// Ports of the host, a node's and a control port, that lead into a container.
const PUBLISHED: [u16; 2] = [30_001, 40_001];

/// Whether a connection must come about, or end in silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Silent,
}
use Door::{Open, Silent};

on_each_driver!(a_reload_opens_and_closes_nothing, nmap_agrees);

fn a_reload_opens_and_closes_nothing(lab: &Lab) {
    holds_through_reloads(lab);
}

fn nmap_agrees(lab: &Lab) {
    is_what_nmap_sees(lab);
}

/// Probes before and after each reload.
pub fn holds_through_reloads(host: &impl Guarded) {
    let lab = host.lab();
    let Some(_container) = Container::behind(lab) else { return };
    let _listeners = listeners(lab);
    host.apply(&guard());
    probe(lab);
    for reload in host.reloads() {
        host.tamper(&reload);
        probe(lab);
        assert_eq!(host.observe(&guard()), exact(&guard()), "{reload} changes nothing of ours");
    }
}

/// Scans the host from both addresses of the client, v4 and v6.
pub fn is_what_nmap_sees(host: &impl Guarded) {
    if !is_installed("nmap") {
        return skip("nmap is not installed");
    }
    let lab = host.lab();
    let _listeners = listeners(lab);
    host.apply(&guard());
    // All at once: silence takes its time.
    std::thread::scope(|scope| {
        for (at, to) in HOST.into_iter().enumerate() {
            for (from, who) in [(FRIEND[at], Who::Friend), (STRANGER[at], Who::Stranger)] {
                scope.spawn(move || {
                    let seen = scan(lab, from, to);
                    let agrees = doors(who).into_iter().all(|(port, door)| seen.contains(&word(port, door)));
                    assert!(agrees, "{from} to {to}: {seen}");
                });
            }
        }
    });
}

/// How nmap says it.
fn word(port: u16, door: Door) -> String {
    format!("{port}/{}/", if door == Open { "open" } else { "filtered" })
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Friend,
    Stranger,
}

/// What the guard that all tests use means for somebody.
fn doors(who: Who) -> [(u16, Door); 6] {
    let (nodes, panel) = match who {
        Who::Friend => (Open, Silent),
        Who::Stranger => (Silent, Open),
    };
    [(SSH, Open), (NODES[0], nodes), (NODES[1], nodes), (PANEL, panel), (CONTROL[0], Silent), (CONTROL[1], Silent)]
}

fn listeners(lab: &Lab) -> Vec<TcpListener> {
    lab.listen(&[SSH, NODES[0], NODES[1], PANEL, CONTROL[0], CONTROL[1]])
}

/// All at once: silence takes its time.
fn probe(lab: &Lab) {
    let attempt = async |from: &str, to: &str, (port, door): (u16, Door)| match door {
        Open => drop(connects(from, to, port).await),
        Silent => is_dropped(from, to, port).await,
    };
    lab.client.block_on(async || {
        let mut attempts = Vec::new();
        for (to, (friend, stranger)) in HOST.into_iter().zip(FRIEND.into_iter().zip(STRANGER)) {
            let friends = doors(Who::Friend).into_iter().chain([(PUBLISHED[0], Open), (PUBLISHED[1], Silent)]);
            let strangers = doors(Who::Stranger).into_iter().chain(PUBLISHED.map(|port| (port, Silent)));
            attempts.extend(friends.map(|door| attempt(friend, to, door)));
            attempts.extend(strangers.map(|door| attempt(stranger, to, door)));
        }
        join_all(attempts).await;
    });
    // The host itself may use everything, at its own addresses as over loopback.
    lab.host.block_on(async || {
        for address in ["127.0.0.1", "::1"].into_iter().chain(HOST) {
            for (port, _) in doors(Who::Friend) {
                connects(address, address, port).await;
            }
        }
    });
}

fn scan(lab: &Lab, from: &str, to: &str) -> String {
    let family = if to.contains(':') { "-6" } else { "" };
    let ports: Vec<String> = doors(Who::Friend).iter().map(|(port, _)| port.to_string()).collect();
    lab.client.sh(&format!(
        "nmap {family} -sS -Pn -n --max-retries 2 --max-rtt-timeout 400ms -e c0 -S {from} -p {} -oG - {to} | grep Ports:",
        ports.join(",")
    ))
}

/// A container to which the host forwards two of its ports, v4 and v6.
struct Container {
    _netns: Netns,
    _listener: TcpListener,
}

impl Container {
    fn behind(lab: &Lab) -> Option<Self> {
        let netns = Netns::new()?;
        lab.host.sh(&format!(
            "ip link add d0 type veth peer name e0 netns {}
             ip addr add 172.30.0.1/24 dev d0; ip addr add fd00:172:30::1/64 dev d0 nodad; ip link set d0 up
             echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
             nft add table inet published
             nft add chain inet published pre '{{ type nat hook prerouting priority dstnat; }}'
             nft add rule inet published pre iifname h0 tcp dport '{{ 30001, 40001 }}' dnat ip to 172.30.0.2:9000
             nft add rule inet published pre iifname h0 tcp dport '{{ 30001, 40001 }}' dnat ip6 to '[fd00:172:30::2]:9000'",
            netns.pid()
        ));
        netns.sh("ip addr add 172.30.0.2/24 dev e0; ip addr add fd00:172:30::2/64 dev e0 nodad; ip link set e0 up
             ip route add default via 172.30.0.1; ip route add default via fd00:172:30::1");
        let listener = netns.run(|| TcpListener::bind(("::", 9000)).unwrap());
        let container = Self { _netns: netns, _listener: listener };
        // A link that has just come up says at first that nobody is there.
        lab.host.block_on(async || {
            for (from, to) in [("172.30.0.1", "172.30.0.2"), ("fd00:172:30::1", "fd00:172:30::2")] {
                let reached = async { while connect(from, 0, to, 9000).await.is_err() {} };
                tokio::time::timeout(PATIENCE, reached).await.expect("the container is reached");
            }
        });
        // Without a guard, the ports lead there.
        lab.client.block_on(async || {
            for (to, from) in HOST.into_iter().zip(STRANGER) {
                connects(from, to, PUBLISHED[0]).await;
            }
        });
        Some(container)
    }
}
