//! What the guard does to packets, v4 and v6, whichever driver keeps it.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exitpool::firewall::model::{Guard, Ports};
use rustix::net::{AddressFamily, SocketType, ipproto};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::lab::{
    FRIEND, Guarded, HOST, Kind, Lab, PATIENCE, STRANGER, connect, connects, guard, is_dropped, on_each_driver,
};
use crate::netns::Netns;

const SSH: u16 = 22;
const NODES: [u16; 2] = [30_000, 30_099];
const BETWEEN_NODES: u16 = 30_050;
const CONTROL: [u16; 2] = [40_000, 40_099];
const PANEL: u16 = 8080;
const ECHO_REQUESTS: usize = 50;

on_each_driver!(
    only_those_who_are_listed_come_in,
    taking_an_address_out_cuts_its_running_connections,
    a_published_port_is_no_way_around_the_guard,
    what_is_routed_through_the_host_passes,
    the_host_may_use_the_control_ports_for_connections_of_its_own,
    echo_requests_over_the_rate_are_dropped,
    nothing_gets_in_and_nobody_is_cut_off_while_the_guard_changes,
    packets_that_nobody_tracks_are_kept_out_as_well,
    ssh_is_closed_to_others_and_sessions_go_on,
);

fn all_ports() -> Vec<u16> {
    [SSH, BETWEEN_NODES, PANEL].into_iter().chain(NODES).chain(CONTROL).collect()
}

fn only_those_who_are_listed_come_in(lab: &Lab) {
    let _listeners = lab.listen(&all_ports());
    lab.client.block_on(async || {
        for port in all_ports() {
            connects(STRANGER[0], HOST[0], port).await;
            connects(STRANGER[1], HOST[1], port).await;
        }
    });
    lab.apply(&guard());
    lab.client.block_on(async || {
        for (host, (friend, stranger)) in HOST.into_iter().zip(FRIEND.into_iter().zip(STRANGER)) {
            for port in [SSH, BETWEEN_NODES] {
                connects(friend, host, port).await;
                connects(stranger, host, port).await;
            }
            for port in NODES {
                connects(friend, host, port).await;
                is_dropped(stranger, host, port).await;
            }
            for port in CONTROL {
                is_dropped(friend, host, port).await;
                is_dropped(stranger, host, port).await;
            }
            connects(stranger, host, PANEL).await;
            is_dropped(friend, host, PANEL).await;
        }
    });
    lab.host.block_on(async || {
        for address in ["127.0.0.1", "::1"].into_iter().chain(HOST) {
            for port in all_ports() {
                connects(address, address, port).await;
            }
        }
    });
    lab.remove();
    lab.client.block_on(async || connects(STRANGER[0], HOST[0], CONTROL[0]).await);
}

#[test]
fn a_dormant_guard_filters_again_after_apply() {
    let Some(lab) = Lab::new(Kind::Nftables) else { return };
    let _listeners = lab.listen(&all_ports());
    lab.apply(&guard());
    lab.host.sh("nft add table inet exitpool '{ flags dormant; }'");
    lab.client.block_on(async || connects(STRANGER[0], HOST[0], CONTROL[0]).await);
    lab.apply(&guard());
    lab.client.block_on(async || is_dropped(STRANGER[0], HOST[0], CONTROL[0]).await);
}

fn taking_an_address_out_cuts_its_running_connections(lab: &Lab) {
    let listeners = lab.listen(&[NODES[0]]);
    lab.apply(&guard());
    lab.client.block_on(async || {
        let mut stream = connects(FRIEND[0], HOST[0], NODES[0]).await;
        let mut node = accepted(&listeners[0]);
        round_trip(&mut stream, &mut node).await;
        lab.apply(&Guard { socks_allow: Vec::new(), ..guard() });
        stream.write_all(b"x").await.unwrap();
        let cut = tokio::time::timeout(Duration::from_millis(250), node.read_u8()).await;
        assert!(cut.is_err(), "{cut:?} came through");
    });
}

fn ssh_is_closed_to_others_and_sessions_go_on(lab: &Lab) {
    const OTHER_SSH: u16 = 2_222;
    let listeners = lab.listen(&[SSH, OTHER_SSH, BETWEEN_NODES]);
    lab.apply(&guard());
    let ssh_ports = vec![Ports::one(SSH), Ports::one(OTHER_SSH)];
    let restricted = Guard { ssh_ports, ssh_allow: guard().socks_allow, ..guard() };
    lab.client.block_on(async || {
        let mut session = connects(STRANGER[0], HOST[0], SSH).await;
        let mut shell = accepted(&listeners[0]);
        round_trip(&mut session, &mut shell).await;
        lab.apply(&restricted);
        round_trip(&mut session, &mut shell).await;
        for (host, (friend, stranger)) in HOST.into_iter().zip(FRIEND.into_iter().zip(STRANGER)) {
            for port in [SSH, OTHER_SSH] {
                connects(friend, host, port).await;
                is_dropped(stranger, host, port).await;
            }
            connects(stranger, host, BETWEEN_NODES).await;
        }
        // Nobody is left on the list: the session goes on all the same.
        lab.apply(&Guard { ssh_allow: Vec::new(), ..restricted.clone() });
        is_dropped(FRIEND[0], HOST[0], SSH).await;
        round_trip(&mut session, &mut shell).await;
    });
    lab.host.block_on(async || connects("127.0.0.1", "127.0.0.1", SSH).await);
    lab.apply(&guard());
    lab.client.block_on(async || connects(STRANGER[0], HOST[0], SSH).await);
    lab.remove();
}

fn a_published_port_is_no_way_around_the_guard(lab: &Lab) {
    let Some(container) = Netns::new() else { return };
    lab.host.sh(&format!(
        "ip link add d0 type veth peer name e0 netns {}; ip addr add 172.30.0.1/24 dev d0; ip link set d0 up",
        container.pid()
    ));
    container.sh("ip addr add 172.30.0.2/24 dev e0; ip link set e0 up; ip route add default via 172.30.0.1");
    lab.host.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    lab.host.sh("nft add table ip nat; nft add chain ip nat pre '{ type nat hook prerouting priority dstnat; }';
         nft add rule ip nat pre iif h0 tcp dport '{ 30000, 40000, 9000 }' dnat to 172.30.0.2:9000");
    let _inner = container.run(|| TcpListener::bind("0.0.0.0:9000").unwrap());
    lab.client.block_on(async || connects(STRANGER[0], HOST[0], CONTROL[0]).await);
    lab.apply(&guard());
    lab.client.block_on(async || {
        connects(FRIEND[0], HOST[0], NODES[0]).await;
        is_dropped(STRANGER[0], HOST[0], NODES[0]).await;
        is_dropped(FRIEND[0], HOST[0], CONTROL[0]).await;
        connects(STRANGER[0], HOST[0], 9000).await;
    });
}

fn what_is_routed_through_the_host_passes(lab: &Lab) {
    let Some(behind) = Netns::new() else { return };
    lab.host.sh(&format!(
        "ip link add d0 type veth peer name e0 netns {}; ip addr add 172.30.0.1/24 dev d0; ip link set d0 up",
        behind.pid()
    ));
    behind.sh("ip addr add 172.30.0.2/24 dev e0; ip link set e0 up; ip route add default via 172.30.0.1");
    lab.host.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    lab.client.sh("ip route add 172.30.0.0/24 via 10.200.1.1");
    let _inner = behind.run(|| TcpListener::bind(("0.0.0.0", CONTROL[0])).unwrap());
    lab.apply(&guard());
    lab.client.block_on(async || connects(STRANGER[0], "172.30.0.2", CONTROL[0]).await);
}

fn the_host_may_use_the_control_ports_for_connections_of_its_own(lab: &Lab) {
    let outside = lab.client.run(|| TcpListener::bind("[::]:9001").unwrap());
    lab.apply(&guard());
    lab.host.block_on(async || {
        for (host, outer) in HOST.into_iter().zip(STRANGER) {
            let connection = tokio::time::timeout(PATIENCE, connect(host, 40_051, outer, 9001));
            let mut stream = connection.await.expect("replies pass").unwrap();
            round_trip(&mut stream, &mut accepted(&outside)).await;
        }
    });
}

fn echo_requests_over_the_rate_are_dropped(lab: &Lab) {
    lab.client.sh("echo 0 0 > /proc/sys/net/ipv4/ping_group_range");
    // The first packet waits for the neighbour's address; a connection waits with it, and then it is known.
    let _listeners = lab.listen(&[SSH]);
    lab.client.block_on(async || {
        connects(STRANGER[0], HOST[0], SSH).await;
        connects(STRANGER[1], HOST[1], SSH).await;
    });
    let answered = |address: &str| lab.client.run(|| answered_echo_requests(address));
    assert_eq!(HOST.map(answered), [ECHO_REQUESTS; 2], "without a guard all are answered");
    lab.apply(&Guard { icmp_per_second: 1, ..guard() });
    for answers in HOST.map(answered) {
        assert!((1..ECHO_REQUESTS).contains(&answers), "{answers}");
    }
    lab.apply(&Guard { icmp_per_second: 0, ..guard() });
    assert_eq!(HOST.map(answered), [0; 2]);
}

fn nothing_gets_in_and_nobody_is_cut_off_while_the_guard_changes(lab: &Lab) {
    let listeners = lab.listen(&[NODES[0], CONTROL[0]]);
    lab.apply(&guard());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            lab.client.block_on(async || {
                let mut attempts = 0_u32;
                while !done.load(Ordering::Relaxed) {
                    for port in [NODES[0], CONTROL[0]] {
                        let attempt =
                            tokio::time::timeout(Duration::from_millis(2), connect(STRANGER[0], 0, HOST[0], port));
                        assert!(attempt.await.is_err(), "port {port} answered while the guard changed");
                        attempts += 1;
                    }
                }
                attempts
            })
        });
        let mut friend = lab.client.block_on(async || connects(FRIEND[0], HOST[0], NODES[0]).await.into_std().unwrap());
        for round in 0..20 {
            let more = (0..500 * (round % 2)).map(|n| std::net::Ipv4Addr::from_bits(0xc633_6400 + 2 * n));
            let more = more.map(|address| IpAddr::V4(address).into());
            let socks_allow = guard().socks_allow.into_iter().chain(more).collect();
            lab.put(&Guard { socks_allow, ..guard() });
        }
        done.store(true, Ordering::Relaxed);
        assert!(stranger.join().unwrap() > 0);
        let node = listeners[0].accept().unwrap().0;
        std::io::Write::write_all(&mut friend, b"x").unwrap();
        node.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut &node, &mut byte).unwrap();
    });
}

/// Somebody may have taken these ports out of connection tracking: then no packet has a direction.
fn packets_that_nobody_tracks_are_kept_out_as_well(lab: &Lab) {
    let _listeners = lab.listen(&all_ports());
    lab.host.sh("nft add table inet untracked
         nft add chain inet untracked before '{ type filter hook prerouting priority raw; }'
         nft add rule inet untracked before tcp dport '{ 30000, 30099, 40000, 40099 }' notrack");
    lab.client.block_on(async || connects(STRANGER[0], HOST[0], CONTROL[0]).await);
    lab.apply(&guard());
    lab.client.block_on(async || {
        for (host, (friend, stranger)) in HOST.into_iter().zip(FRIEND.into_iter().zip(STRANGER)) {
            for port in CONTROL {
                is_dropped(friend, host, port).await;
                is_dropped(stranger, host, port).await;
            }
            connects(friend, host, NODES[0]).await;
            is_dropped(stranger, host, NODES[0]).await;
        }
    });
}

/// Sends echo requests as fast as it goes, and counts the answers until none comes any more.
fn answered_echo_requests(address: &str) -> usize {
    let address: IpAddr = address.parse().unwrap();
    let (family, protocol, kind) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128),
    };
    let socket = UdpSocket::from(rustix::net::socket(family, SocketType::DGRAM, Some(protocol)).unwrap());
    socket.connect((address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    for sequence in 0..u8::try_from(ECHO_REQUESTS).unwrap() {
        socket.send(&[kind, 0, 0, 0, 0, 0, 0, sequence]).unwrap();
    }
    std::iter::from_fn(|| socket.recv(&mut [0; 64]).ok()).take(ECHO_REQUESTS).count()
}

fn accepted(listener: &TcpListener) -> tokio::net::TcpStream {
    let stream = listener.accept().unwrap().0;
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

async fn round_trip(one: &mut tokio::net::TcpStream, other: &mut tokio::net::TcpStream) {
    let there_and_back = async {
        one.write_all(b"a").await?;
        other.read_u8().await?;
        other.write_all(b"b").await?;
        one.read_u8().await
    };
    let answer = tokio::time::timeout(PATIENCE, there_and_back).await.expect("bytes pass");
    assert_eq!(answer.unwrap(), b'b');
}
