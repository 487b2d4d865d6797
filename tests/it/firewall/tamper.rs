//! What is the same for all drivers: what somebody does to ours is seen, named and mended, what they do to theirs is not
//! ours, and a guard is what it says however large it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use exitpool::firewall::model::{Guard, Ports};
use exitpool::observe::{Observation, ObservedGuard};

use super::lab::{FRIEND, Guarded, HOST, Kind, Lab, PATIENCE, connects, exact, guard, is_dropped, on_each_driver};

on_each_driver!(
    what_is_not_ours_is_neither_seen_nor_touched,
    a_whitelist_that_is_emptied_closes,
    a_guard_grows_to_ten_thousand_networks_and_shrinks_again,
    guards_at_the_edges_are_what_they_say,
    a_change_is_heard,
);

/// What somebody did, and what an operator must read of it.
pub struct Tampering {
    pub script: &'static str,
    pub said: &'static [&'static str],
}

/// Does one after the other.
pub fn named_and_mended(lab: &impl Guarded, tamperings: &[Tampering]) {
    let wanted = guard();
    lab.apply(&wanted);
    for Tampering { script, said } in tamperings {
        lab.tamper(script);
        let Observation::Present(ObservedGuard::Altered(differences)) = lab.observe(&wanted) else {
            panic!("{script}: {:?}", lab.observe(&wanted));
        };
        for sentence in *said {
            assert!(differences.iter().any(|it| it == sentence), "{script}: {differences:#?} lacks {sentence}");
        }
        lab.apply(&wanted);
    }
}

fn what_is_not_ours_is_neither_seen_nor_touched(lab: &Lab) {
    let wanted = guard();
    lab.tamper(match lab.kind {
        Kind::Nftables => {
            "nft add table inet exitpool2; nft add chain inet exitpool2 c; nft add rule inet exitpool2 c counter drop;
             nft add table ip exitpool; nft add counter ip exitpool n; nft add table inet others '{ flags dormant; }'"
        }
        Kind::IptablesNft | Kind::IptablesLegacy => {
            "for run in ipt ip6t; do
                $run -N EXITPOOL2; $run -A EXITPOOL2 -p tcp --dport 30000 -j ACCEPT
                $run -A PREROUTING -m comment --comment 'exitpool:jump' -j EXITPOOL2
                $run -A PREROUTING -p udp -m comment --comment 'a \"quoted\" one' -j MARK --set-mark 7
                $run -A FORWARD -p tcp -j DROP
            done
            ipset create exitpool2 hash:net; ipset add exitpool2 10.9.0.0/16; ipset create other list:set
            ipt -A EXITPOOL2 -m set --match-set exitpool2 src -j DROP"
        }
    });
    let before = lab.everything();
    lab.apply(&wanted);
    lab.tamper(match lab.kind {
        Kind::Nftables => "nft reset counters",
        Kind::IptablesNft | Kind::IptablesLegacy => "ipt -Z; ip6t -Z; ipt -A EXITPOOL2 -j RETURN; ipt -D EXITPOOL2 3",
    });
    assert_eq!(lab.observe(&wanted), exact(&wanted));
    lab.apply(&Guard::default());
    lab.remove();
    assert_eq!(lab.observe(&wanted), Observation::Absent);
    assert_eq!(lab.everything(), before);
}

fn a_whitelist_that_is_emptied_closes(lab: &Lab) {
    let _listener = lab.listen(&[30_000]);
    lab.apply(&guard());
    lab.client.block_on(async || connects(FRIEND[0], HOST[0], 30_000).await);
    lab.tamper(match lab.kind {
        Kind::Nftables => "nft flush set inet exitpool socks4",
        Kind::IptablesNft | Kind::IptablesLegacy => "ipset flush exitpool-socks4",
    });
    lab.client.block_on(async || is_dropped(FRIEND[0], HOST[0], 30_000).await);
    let closed = Guard { socks_allow: vec!["fd00:200:1::10/128"].networks(), ..guard() };
    assert_eq!(lab.observe(&guard()), exact(&closed));
    lab.apply(&guard());
    lab.client.block_on(async || connects(FRIEND[0], HOST[0], 30_000).await);
}

fn a_guard_grows_to_ten_thousand_networks_and_shrinks_again(lab: &Lab) {
    let addresses = |count: u32| {
        let v4 = (0..count).map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + 2 * n)).into());
        let v6 = (0..count).map(|n| IpAddr::V6(Ipv6Addr::from_bits((0xfd << 120) + 2 * u128::from(n))).into());
        v4.chain(v6).collect()
    };
    for count in [5, 5_000, 5] {
        lab.apply(&Guard { socks_allow: addresses(count), ..guard() });
    }
}

fn guards_at_the_edges_are_what_they_say(lab: &Lab) {
    let everybody = vec!["0.0.0.0/0", "::/0"].networks();
    let all = vec![Ports { first: 1, last: 65_535 }];
    let guards = [
        Guard::default(),
        Guard { socks_allow: everybody.clone(), panel_allow: everybody, ..guard() },
        Guard { socks_ports: all, icmp_per_second: u32::MAX, ..guard() },
        Guard {
            socks_ports: (0..200).map(|n| Ports { first: 20_000 + 2 * n, last: 20_000 + 2 * n }).collect(),
            ..guard()
        },
        Guard { icmp_per_second: 150, ..guard() },
        Guard { panel_port: None, control_ports: None, icmp_per_second: 0, ..guard() },
    ];
    for guard in &guards {
        lab.apply(guard);
    }
}

fn a_change_is_heard(lab: &Lab) {
    lab.apply(&guard());
    lab.host.block_on(async || {
        let driver = lab.kind.driver();
        assert_eq!(driver.observe(&guard()).await, exact(&guard()));
        let quiet = tokio::time::timeout(Duration::ZERO, driver.changed()).await;
        assert!(quiet.is_err(), "nobody has changed anything yet");
        let script = match lab.kind {
            Kind::Nftables => "nft flush ruleset",
            Kind::IptablesNft => "iptables-nft -t mangle -F EXITPOOL",
            Kind::IptablesLegacy => "iptables-legacy -t mangle -F EXITPOOL",
        };
        let flush = tokio::process::Command::new("sh").args(["-c", script]).status();
        let heard = tokio::time::timeout(PATIENCE, driver.changed());
        let (flushed, heard) = tokio::join!(flush, heard);
        assert!(flushed.unwrap().success());
        heard.expect("the flush is heard");
    });
}

/// Parses texts as networks.
pub trait Networks {
    /// Parses them.
    fn networks(self) -> Vec<ipnet::IpNet>;
}

impl Networks for Vec<&str> {
    fn networks(self) -> Vec<ipnet::IpNet> {
        self.iter().map(|text| text.parse().unwrap()).collect()
    }
}
