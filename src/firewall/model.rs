//! The guard as a value: what is closed, to whom, whatever the driver.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::desired::Desired;

/// An inclusive range of TCP ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ports {
    /// The first port.
    pub first: u16,
    /// The last port, not before the first.
    pub last: u16,
}

/// What the guard closes: everything that is not listed here passes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// The nodes' ports, sorted, disjoint and not adjacent.
    pub socks_ports: Vec<Ports>,
    /// Who may reach them: aggregated networks, v4 and v6, sorted.
    pub socks_allow: Vec<IpNet>,
    /// The status page's port.
    pub panel_port: Option<u16>,
    /// Who may reach it: aggregated networks, v4 and v6, sorted.
    pub panel_allow: Vec<IpNet>,
    /// Ports that are closed to everybody.
    pub control_ports: Option<Ports>,
    /// Echo requests a second that are answered.
    pub icmp_per_second: u32,
}

impl Guard {
    /// Makes the guard that a desired state asks for; `panel_port` is where the status page listens.
    pub fn of(desired: &Desired, panel_port: Option<u16>) -> Self {
        let socks = desired.pools.iter().filter_map(|pool| {
            let last = pool.socks_port.checked_add(pool.size.checked_sub(1)?)?;
            Some(Ports { first: pool.socks_port, last })
        });
        Self {
            socks_ports: merge_ports(socks),
            socks_allow: aggregate(&desired.access.socks),
            panel_port,
            panel_allow: aggregate(&desired.access.panel),
            control_ports: Some(Ports::from(&desired.firewall.control_ports)),
            icmp_per_second: desired.firewall.icmp_per_second,
        }
    }

    /// The same guard, with more ports counted among the nodes'.
    #[must_use]
    pub fn covering(&self, more: impl IntoIterator<Item = u16>) -> Self {
        let more = more.into_iter().map(|port| Ports { first: port, last: port });
        Self { socks_ports: merge_ports(self.socks_ports.iter().copied().chain(more)), ..self.clone() }
    }
}

impl Ports {
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
    fn networks_lose_host_bits_and_overlaps() {
        let set: BTreeSet<IpNet> =
            ["10.5.0.7/24", "10.5.0.9/32", "10.5.1.0/24", "::1/128"].iter().map(|text| text.parse().unwrap()).collect();
        let texts: Vec<String> = aggregate(&set).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.5.0.0/23", "::1/128"]);
    }
}
