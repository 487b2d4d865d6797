//! The rules of pools: names, sizes, ports, and who can reach them.

use super::{torrc, unique};
use crate::desired::DriverChoice;
use crate::desired::document::{Document, PoolDocument};
use crate::desired::findings::Findings;

/// The most nodes that one pool has.
const MAX_POOL_SIZE: u16 = 1000;

/// The most pools that one host has.
const MAX_POOLS: usize = 1000;

/// The longest prefix of a subnet that exits may be told apart by, and the shortest.
const SUBNET_PREFIXES: std::ops::RangeInclusive<u8> = 8..=32;

pub fn check(findings: &mut Findings<'_>, document: &Document) {
    let names: Vec<_> = document.pools.iter().map(|pool| pool.name.clone()).collect();
    unique(findings, "pools", "name", &names);
    if document.pools.len() > MAX_POOLS {
        let node = findings.find("pools");
        findings.error_at_key(node, format!("a host has at most {MAX_POOLS} pools"), "make fewer and larger ones");
        return;
    }
    for (at, pool) in document.pools.iter().enumerate() {
        let path = format!("pools[{at}]");
        size(findings, &path, pool, document);
        ports(findings, &path, at, document);
        sharing(findings, &path, pool);
        exits(findings, &path, pool);
        reach(findings, &path, pool, document);
        torrc::check(findings, &format!("{path}.torrc"), &pool.torrc);
    }
}

/// Refuses what no pool could fill.
fn sharing(findings: &mut Findings<'_>, path: &str, pool: &PoolDocument) {
    if pool.nodes_per_instance.0 > u32::from(MAX_POOL_SIZE) {
        let node = findings.find(&format!("{path}.nodes_per_instance"));
        findings.error(node, format!("at most {MAX_POOL_SIZE} nodes share one tor process"), "use a smaller number");
    }
    let wishes = [("distinct", pool.exits.distinct), ("avoid_shared_subnet", pool.exits.avoid_shared_subnet.is_some())];
    for (field, _) in wishes.iter().filter(|(_, wished)| *wished && pool.nodes_per_instance.0 > 1) {
        let node = findings.find(&format!("{path}.exits.{field}"));
        let message =
            format!("the nodes that share a tor process choose among the same exits, so `{field}` cannot be kept");
        findings.error_at_key(node, message, "leave `nodes_per_instance` out, or this");
    }
}

fn size(findings: &mut Findings<'_>, path: &str, pool: &PoolDocument, document: &Document) {
    let node = findings.find(&format!("{path}.size"));
    if pool.size > MAX_POOL_SIZE {
        let message = format!("a pool has at most {MAX_POOL_SIZE} nodes, not {}", pool.size);
        findings.error(node, message, "make several pools of it");
    } else if pool.size == 0 && !document.allow_empty {
        findings.error(
            node,
            "a pool of 0 nodes removes all its nodes",
            "say `allow_empty: true` if that is meant, or remove the pool",
        );
    }
}

/// The ports of a pool, as numbers that cannot overflow; `None` for a pool without nodes.
fn range(pool: &PoolDocument) -> Option<(u32, u32)> {
    let first = u32::from(pool.socks_port.0);
    (pool.size > 0).then(|| (first, first + u32::from(pool.size) - 1))
}

fn ports(findings: &mut Findings<'_>, path: &str, at: usize, document: &Document) {
    let pool = &document.pools[at];
    let Some((first, last)) = range(pool) else { return };
    let node = findings.find(&format!("{path}.socks_port"));
    if last > u32::from(u16::MAX) {
        let message = format!("{} nodes from port {first} end at {last}, beyond 65535", pool.size);
        findings.error(node, message, &format!("start at {} or below", 65_536 - u32::from(pool.size)));
        return;
    }
    let overlaps = |other: (u32, u32)| first <= other.1 && other.0 <= last;
    if let Some(other) = document.pools[..at].iter().find(|other| range(other).is_some_and(overlaps)) {
        let (from, to) = range(other).unwrap_or_default();
        let message = format!("ports {first}-{last} overlap with {from}-{to} of pool `{}`", other.name);
        findings.error(node, message, &format!("start at {} or above", to + 1));
    }
    let control = &document.firewall.control_ports.0;
    if overlaps((u32::from(*control.start()), u32::from(*control.end()))) {
        let message =
            format!("ports {first}-{last} overlap with the control ports {}-{}", control.start(), control.end());
        findings.error(node, message, "move the pool, or `firewall.control_ports`");
    }
}

fn exits(findings: &mut Findings<'_>, path: &str, pool: &PoolDocument) {
    if pool.exits.avoid_shared_subnet.is_some_and(|prefix| !SUBNET_PREFIXES.contains(&prefix)) {
        let node = findings.find(&format!("{path}.exits.avoid_shared_subnet"));
        findings.error(node, "a subnet's prefix length is from 8 to 32 here", "write `16` for /16");
    }
    for (at, fingerprint) in pool.exits.pin.iter().enumerate() {
        if pool.exits.exclude.contains(fingerprint) {
            let node = findings.find(&format!("{path}.exits.pin[{at}]"));
            findings.error(node, format!("`{fingerprint}` is pinned and excluded"), "remove it from one of the two");
        }
    }
}

/// Warns where nobody can reach a pool, or everybody can.
fn reach(findings: &mut Findings<'_>, path: &str, pool: &PoolDocument, document: &Document) {
    if pool.listen.0.is_loopback() {
        return;
    }
    let node = findings.find(&format!("{path}.listen"));
    if document.firewall.driver == DriverChoice::None {
        let message = format!(
            "`{}` is reachable from outside, and no firewall closes it: `firewall.driver` is `none`",
            pool.listen.0
        );
        findings.warn(node, message, "listen on `127.0.0.1`, or see to a firewall of your own");
    } else if document.access.socks.is_empty() && findings.is_complete("access") {
        let message = format!("`{}` is reachable from outside, and `access.socks` lets nobody in", pool.listen.0);
        findings.warn(node, message, "name the clients in `access.socks`, or listen on `127.0.0.1`");
    }
}
