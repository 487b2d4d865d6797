//! The guard as a value: what is closed, to whom, whatever the driver.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::Desired;

/// An inclusive range of TCP ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// The first port.
    pub first: u16,
    /// The last port, not before the first.
    pub last: u16,
}

/// What the guard closes: everything that is not listed here passes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// The nodes' ports, sorted, disjoint and not adjacent.
    pub socks_ports: Vec<Ports>,
    /// Who may reach them: aggregated networks, v4 and v6, sorted.
    #[schemars(with = "Vec<String>")]
    pub socks_allow: Vec<IpNet>,
    /// The status page's port.
    pub panel_port: Option<u16>,
    /// Who may reach it: aggregated networks, v4 and v6, sorted.
    #[schemars(with = "Vec<String>")]
    pub panel_allow: Vec<IpNet>,
    /// The ports of SSH, sorted, disjoint and not adjacent; empty where SSH is left alone.
    pub ssh_ports: Vec<Ports>,
    /// Who may reach SSH: aggregated networks, v4 and v6, sorted.
    #[schemars(with = "Vec<String>")]
    pub ssh_allow: Vec<IpNet>,
    /// Ports that are closed to everybody.
    pub control_ports: Option<Ports>,
    /// Echo requests a second that are answered.
    pub icmp_per_second: u32,
}

impl Guard {
    /// Makes the guard that a desired state asks for; `panel_port` is where the status page listens, if others can
    /// reach it. What listens on loopback needs no guard, and the same port elsewhere is not ours to close.
    pub fn of(desired: &Desired, panel_port: Option<u16>) -> Self {
        let reachable = desired.pools.iter().filter(|pool| !pool.listen.is_loopback());
        let socks = reachable.filter_map(|pool| {
            let last = pool.socks_port.checked_add(pool.size.checked_sub(1)?)?;
            Some(Ports { first: pool.socks_port, last })
        });
        let ssh = desired.access.ssh.as_ref();
        Self {
            socks_ports: merge_ports(socks),
            socks_allow: aggregate(&desired.access.socks),
            panel_port,
            panel_allow: aggregate(&desired.callers()),
            ssh_ports: merge_ports(ssh.iter().flat_map(|ssh| &ssh.ports).map(|&port| Ports::one(port))),
            ssh_allow: ssh.map(|ssh| aggregate(&ssh.allow)).unwrap_or_default(),
            control_ports: Some(Ports::from(&desired.firewall.control_ports)),
            icmp_per_second: desired.firewall.icmp_per_second,
        }
    }

    /// Says why a guard that somebody else has written down is none that [`Self::of`] makes, where its ports are no ports or
    /// its lists are not in order.
    pub fn check(&self) -> Result<(), String> {
        let all = self.socks_ports.iter().chain(&self.ssh_ports).chain(&self.control_ports);
        if let Some(Ports { first, last }) = all.into_iter().find(|ports| ports.first == 0 || ports.first > ports.last)
        {
            return Err(format!("{first} to {last} are no ports"));
        }
        if let Some(ports) =
            [&self.socks_ports, &self.ssh_ports].into_iter().find(|it| merge_ports(it.iter().copied()) != **it)
        {
            return Err(format!("the ports {ports:?} are not sorted, or touch each other"));
        }
        let lists = [&self.socks_allow, &self.panel_allow, &self.ssh_allow];
        let is_in_order = |list: &Vec<IpNet>| aggregate(&list.iter().copied().collect()) == *list;
        if let Some(list) = lists.into_iter().find(|list| !is_in_order(list)) {
            return Err(format!("a list of {} networks is not sorted, or some of them lie within others", list.len()));
        }
        Ok(())
    }

    /// The ports that those on a whitelist reach: the nodes', and the page's.
    pub fn reached_ports(&self) -> impl Iterator<Item = Ports> {
        self.socks_ports.iter().copied().chain(self.panel_port.map(Ports::one))
    }

    /// The same guard, with more ports counted among the nodes'.
    #[must_use]
    pub fn covering(&self, more: impl IntoIterator<Item = u16>) -> Self {
        let more = more.into_iter().map(Ports::one);
        Self { socks_ports: merge_ports(self.socks_ports.iter().copied().chain(more)), ..self.clone() }
    }
}

impl Guard {
    /// The same guard, with all nodes' ports of another one covered as well.
    #[must_use]
    pub fn covering_all(&self, other: &Self) -> Self {
        let all = self.socks_ports.iter().chain(&other.socks_ports).copied();
        Self { socks_ports: merge_ports(all), ..self.clone() }
    }

    /// What is put back when a change to `wanted` does not prove itself: what stood, and the ports of all nodes covered.
    /// Where nothing stood, the nodes stay closed to others, and nothing else is.
    #[must_use]
    pub fn to_fall_back_on(stands: Option<&Self>, wanted: &Self) -> Self {
        match stands {
            Some(stands) => stands.covering_all(wanted),
            None => Self {
                socks_ports: wanted.socks_ports.clone(),
                socks_allow: wanted.socks_allow.clone(),
                icmp_per_second: wanted.icmp_per_second,
                ..Self::default()
            },
        }
    }

    /// Whether somebody may open a connection to a port of SSH.
    pub fn ssh_lets_in(&self, address: IpAddr, port: u16) -> bool {
        let is_listed = !self.ssh_ports.iter().any(|range| range.contains(port)) || holds(&self.ssh_allow, address);
        is_listed && !self.is_control_port(port)
    }

    /// Whether a port is closed to everybody.
    pub fn is_control_port(&self, port: u16) -> bool {
        self.control_ports.is_some_and(|range| range.contains(port))
    }

    /// Whether somebody may reach the status page.
    pub fn panel_lets_in(&self, address: IpAddr) -> bool {
        self.panel_port.is_none() || holds(&self.panel_allow, address)
    }

    /// Says how this guard differs from another one that stands there, one sentence each.
    pub fn differences_from(&self, stands: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.socks_ports != stands.socks_ports {
            differences.push(format!("SOCKS ports: {} → {}", list(&stands.socks_ports), list(&self.socks_ports)));
        }
        if self.socks_allow != stands.socks_allow {
            differences.push(format!("SOCKS whitelist: {}", moved(&stands.socks_allow, &self.socks_allow)));
        }
        if self.panel_port != stands.panel_port {
            let port = |port: Option<u16>| port.map_or("none".to_owned(), |port| port.to_string());
            differences.push(format!("panel port: {} → {}", port(stands.panel_port), port(self.panel_port)));
        }
        if self.panel_allow != stands.panel_allow {
            differences.push(format!("panel whitelist: {}", moved(&stands.panel_allow, &self.panel_allow)));
        }
        differences.extend(self.ssh_differences_from(stands));
        if self.control_ports != stands.control_ports {
            let ports = |ports: &Option<Ports>| ports.map_or("none".to_owned(), |ports| ports.to_string());
            differences.push(format!(
                "control ports: {} → {}",
                ports(&stands.control_ports),
                ports(&self.control_ports)
            ));
        }
        if self.icmp_per_second != stands.icmp_per_second {
            differences.push(format!("echo requests a second: {} → {}", stands.icmp_per_second, self.icmp_per_second));
        }
        differences
    }

    fn ssh_differences_from(&self, stands: &Self) -> impl Iterator<Item = String> {
        let ports = (self.ssh_ports != stands.ssh_ports)
            .then(|| format!("SSH ports: {} → {}", list(&stands.ssh_ports), list(&self.ssh_ports)));
        let allow = (self.ssh_allow != stands.ssh_allow)
            .then(|| format!("SSH whitelist: {}", moved(&stands.ssh_allow, &self.ssh_allow)));
        ports.into_iter().chain(allow)
    }
}

fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Writes a list for people.
fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Says which networks come and which go; long lists are counted.
fn moved(from: &[IpNet], to: &[IpNet]) -> String {
    const MOST_NAMED: usize = 5;
    let say = |sign: char, networks: Vec<&IpNet>| {
        if networks.len() > MOST_NAMED {
            return vec![format!("{sign}{} networks", networks.len())];
        }
        networks.iter().map(|network| format!("{sign}{network}")).collect()
    };
    let (before, after): (BTreeSet<&IpNet>, BTreeSet<&IpNet>) = (from.iter().collect(), to.iter().collect());
    let mut words = say('+', after.difference(&before).copied().collect());
    words.extend(say('-', before.difference(&after).copied().collect()));
    words.join(" ")
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl Ports {
    /// The range of one port.
    pub fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Reads one port, or two with a separator between them.
    pub fn parse(text: &str, separator: char) -> Option<Self> {
        let (first, last) = text.split_once(separator).unwrap_or((text, text));
        Some(Self { first: first.parse().ok()?, last: last.parse().ok()? })
    }

    /// Whether a port lies in the range.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl From<&RangeInclusive<u16>> for Ports {
    fn from(range: &RangeInclusive<u16>) -> Self {
        Self { first: *range.start(), last: *range.end() }
    }
}

/// Sorts ranges and joins those that overlap or touch.
fn merge_ports(ranges: impl IntoIterator<Item = Ports>) -> Vec<Ports> {
    let mut sorted: Vec<Ports> = ranges.into_iter().collect();
    sorted.sort_unstable();
    let mut merged: Vec<Ports> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(previous) if u32::from(range.first) <= u32::from(previous.last) + 1 => {
                previous.last = previous.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// Drops what another network already holds, and joins siblings: nft refuses overlapping intervals in its JSON.
fn aggregate(networks: &BTreeSet<IpNet>) -> Vec<IpNet> {
    let truncated: Vec<IpNet> = networks.iter().map(IpNet::trunc).collect();
    IpNet::aggregate(&truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(pairs: &[(u16, u16)]) -> Vec<Ports> {
        pairs.iter().map(|&(first, last)| Ports { first, last }).collect()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let merged = merge_ports(ports(&[(30_010, 30_014), (30_000, 30_009), (40_000, 40_000), (65_535, 65_535)]));
        assert_eq!(merged, ports(&[(30_000, 30_014), (40_000, 40_000), (65_535, 65_535)]));
    }

    #[test]
    fn covering_keeps_the_rest() {
        let guard = Guard { socks_ports: ports(&[(10, 12)]), panel_port: Some(8080), ..Guard::default() };
        let wider = guard.covering([13, 20]);
        assert_eq!(wider.socks_ports, ports(&[(10, 13), (20, 20)]));
        assert_eq!(wider.panel_port, Some(8080));
    }

    #[test]
    fn whom_a_grant_names_and_who_is_a_proxy_reaches_the_pages_port_and_no_other() {
        let text = "version: 1\npools: [{name: eu, size: 1, listen: 0.0.0.0, socks_port: 30000}]\naccess:\n  \
            panel: [198.51.100.7]\n  trusted_proxies: [10.0.0.1]\n  socks: [192.0.2.0/24]\nexports:\n  grants:\n  \
            - {name: a, pools: [eu], allow: [203.0.113.9, '::ffff:203.0.113.8', '2001:db8::/32']}\n  - {name: b, pools: [eu]}\n";
        let guard = Guard::of(&crate::desired::load("pool.yaml", text).unwrap().desired, Some(8080));
        let texts = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        let expected = ["10.0.0.1/32", "198.51.100.7/32", "203.0.113.8/31", "2001:db8::/32"];
        assert_eq!(texts(&guard.panel_allow), expected);
        assert_eq!(texts(&guard.socks_allow), ["192.0.2.0/24"]);
    }

    #[test]
    fn networks_lose_host_bits_and_overlaps() {
        let set: BTreeSet<IpNet> =
            ["10.5.0.7/24", "10.5.0.9/32", "10.5.1.0/24", "::1/128"].iter().map(|text| text.parse().unwrap()).collect();
        let texts: Vec<String> = aggregate(&set).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.5.0.0/23", "::1/128"]);
    }

    /// Networks that often overlap, touch and repeat, and addresses on both sides of their borders.
    #[test]
    fn a_guard_that_no_daemon_makes_is_told_from_one_that_it_does() {
        let guard = |socks: &[(u16, u16)], allow: &[&str]| Guard {
            socks_ports: socks.iter().map(|&(first, last)| Ports { first, last }).collect(),
            socks_allow: allow.iter().map(|it| it.parse().unwrap()).collect(),
            ..Guard::default()
        };
        for good in [guard(&[], &[]), guard(&[(1, 2), (4, 65_535)], &["10.0.0.0/8", "fd00::/8"])] {
            assert_eq!(good.check(), Ok(()));
        }
        for bad in [
            guard(&[(5, 3)], &[]),
            guard(&[(0, 3)], &[]),
            guard(&[(4, 5), (1, 2)], &[]),
            guard(&[(1, 2), (3, 4)], &[]),
            guard(&[], &["10.0.0.0/8", "10.1.0.0/16"]),
            guard(&[], &["10.1.2.3/8"]),
            guard(&[], &["10.1.0.0/16", "10.0.0.0/16"]),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    fn networks() -> impl proptest::strategy::Strategy<Value = Vec<IpNet>> {
        use proptest::prelude::*;
        let v4 = (0_u32..4_096, 20_u8..=32).prop_map(|(low, length)| {
            IpNet::V4(ipnet::Ipv4Net::new(std::net::Ipv4Addr::from_bits(0x0a00_0000 + low), length).unwrap())
        });
        let v6 = (0_u128..4_096, 116_u8..=128).prop_map(|(low, length)| {
            IpNet::V6(ipnet::Ipv6Net::new(std::net::Ipv6Addr::from_bits((0xfd00 << 112) + low), length).unwrap())
        });
        proptest::collection::vec(prop_oneof![v4, v6], 0..40)
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 200, failure_persistence: None, ..Default::default() })]

        #[test]
        fn what_is_aggregated_has_the_same_members(networks in networks(), lows in proptest::collection::vec(0_u32..4_400, 60)) {
            let set: BTreeSet<IpNet> = networks.iter().copied().collect();
            let aggregated = aggregate(&set);
            let borders = networks.iter().flat_map(|network| [network.network(), network.broadcast()]);
            let others = lows.iter().flat_map(|low| {
                let v4 = std::net::Ipv4Addr::from_bits(0x0a00_0000 + low);
                let v6 = std::net::Ipv6Addr::from_bits((0xfd00 << 112) + u128::from(*low));
                [v4.into(), v6.into()]
            });
            for address in borders.chain(others).collect::<Vec<IpAddr>>() {
                let holds = |networks: &[IpNet]| networks.iter().filter(|network| network.contains(&address)).count();
                proptest::prop_assert_eq!(holds(&networks) > 0, holds(&aggregated) == 1, "{}", address);
                proptest::prop_assert!(holds(&aggregated) <= 1, "{} is in two networks", address);
            }
            proptest::prop_assert!(aggregated.is_sorted());
        }
    }
}
