//! Compiles a guard into chains and sets, and recovers a guard from those that were read.
//!
//! The rules are those of the nftables driver, in the same order and for the same reasons. They are written as a save
//! writes them, so that what was written is what is read.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::canonical::{Call, Canonical, Family, GUARD, HOOK, Place, Rule, Set, Table};
use crate::firewall::interval::Interval;
use crate::firewall::model::{Guard, Ports};
use crate::firewall::parts::{CONTROL, Flows, ICMP_V4, ICMP_V6, PANEL, SOCKS, SSH, Whitelist, Whitelists};

/// The kernel counts a rate in so many parts of a second, and knows none that is higher.
const MAX_PER_SECOND: u32 = 10_000;
/// An ipset holds this many networks; the kernel's default would be 65,536.
const MAX_NETWORKS: &str = "1048576";

/// The chains that let through whom their sets name, and nobody else.
const LISTS: Whitelists = Whitelists {
    socks: Whitelist {
        chain: "EXITPOOL-SOCKS",
        v4: "exitpool-socks4",
        v6: "exitpool-socks6",
        comment: "exitpool:socks-deny",
        flows: Flows::Judged,
    },
    panel: Whitelist {
        chain: "EXITPOOL-PANEL",
        v4: "exitpool-panel4",
        v6: "exitpool-panel6",
        comment: "exitpool:panel-deny",
        flows: Flows::Judged,
    },
    ssh: Whitelist {
        chain: "EXITPOOL-SSH",
        v4: "exitpool-ssh4",
        v6: "exitpool-ssh6",
        comment: "exitpool:ssh-deny",
        flows: Flows::Kept,
    },
};

/// The canonical form of what a guard compiles to.
pub fn canonical(guard: &Guard) -> Canonical {
    let sets = LISTS.of(guard).flat_map(|(list, networks)| {
        [(list.v4.to_owned(), set(Family::V4, networks)), (list.v6.to_owned(), set(Family::V6, networks))]
    });
    Canonical { v4: table(Family::V4, guard), v6: table(Family::V6, guard), sets: sets.collect() }
}

/// The same table, with the whitelists closed to everybody who comes, so that it needs no set.
pub fn closed(table: &Table) -> Table {
    let mut table = table.clone();
    for list in LISTS.all() {
        if let Some(rules) = table.chains.get_mut(list.chain) {
            *rules = kept(list).into_iter().chain([deny(list)]).collect();
        }
    }
    table
}

/// Recovers the guard from what one of ours was compiled to.
pub fn decompile(seen: &Canonical) -> Option<Guard> {
    let rules = seen.v4.chains.get(GUARD)?;
    let commented = |comment: &'static str| rules.iter().filter(move |rule| rule.value("--comment") == Some(comment));
    let icmp_per_second = commented(ICMP_V4).find_map(icmp_rate).unwrap_or(0);
    LISTS.guard(
        |comment| commented(comment).map(ports).collect(),
        |set| Some(&seen.sets.get(set)?.members),
        icmp_per_second,
    )
}

fn table(family: Family, guard: &Guard) -> Table {
    let whitelists = LISTS.of(guard).map(|(list, _)| {
        let set = if family == Family::V4 { list.v4 } else { list.v6 };
        let judged = [rule(&format!("-m set --match-set {set} src -j RETURN")), deny(list)];
        (list.chain.to_owned(), kept(list).into_iter().chain(judged).collect())
    });
    let chains = whitelists.chain([(GUARD.to_owned(), guard_rules(family, guard))]).collect();
    let jump = commented("", "exitpool:jump", GUARD);
    Table { chains, calls: vec![Call { chain: HOOK.to_owned(), place: Place::First, rule: jump }] }
}

fn kept(list: Whitelist) -> Option<Rule> {
    (list.flows == Flows::Kept).then(|| rule("-m conntrack --ctstate ESTABLISHED -j RETURN"))
}

fn deny(list: Whitelist) -> Rule {
    commented("", list.comment, "DROP")
}

fn guard_rules(family: Family, guard: &Guard) -> Vec<Rule> {
    let passing = [
        commented("-i lo", "exitpool:lo", "RETURN"),
        commented("-m conntrack --ctdir REPLY", "exitpool:reply", "RETURN"),
        // What is only routed through this host is not ours to filter.
        commented("-m addrtype ! --dst-type LOCAL", "exitpool:transit", "RETURN"),
    ];
    let control = guard.control_ports.map(|ports| commented(&to(ports), CONTROL, "DROP"));
    let socks = guard.socks_ports.iter().map(|&ports| commented(&to(ports), SOCKS, LISTS.socks.chain));
    let panel = guard.panel_port.map(|port| commented(&to(Ports::one(port)), PANEL, LISTS.panel.chain));
    let ssh = guard.ssh_ports.iter().map(|&ports| commented(&to(ports), SSH, LISTS.ssh.chain));
    let icmp = icmp_rules(family, guard.icmp_per_second);
    passing.into_iter().chain(control).chain(socks).chain(panel).chain(ssh).chain(icmp).collect()
}

/// Drops echo requests over the rate; other ICMP is what path MTU and neighbour discovery live on, and passes.
///
/// The match that limits by itself (hashlimit) keeps the rate of an earlier rule of the same name.
fn icmp_rules(family: Family, per_second: u32) -> Vec<Rule> {
    let (request, comment) = match family {
        Family::V4 => ("-p icmp -m icmp --icmp-type 8", ICMP_V4),
        Family::V6 => ("-p ipv6-icmp -m icmp6 --icmpv6-type 128", ICMP_V6),
    };
    let within = (per_second > 0).then(|| {
        let rate = representable(per_second);
        let burst = (2 * rate).min(MAX_PER_SECOND);
        commented(&format!("{request} -m limit --limit {rate}/sec --limit-burst {burst}"), comment, "RETURN")
    });
    within.into_iter().chain([commented(request, comment, "DROP")]).collect()
}

/// The rate that the kernel makes of this one: it keeps the whole number of its parts of a second between two packets.
fn representable(per_second: u32) -> u32 {
    MAX_PER_SECOND / (MAX_PER_SECOND / per_second.min(MAX_PER_SECOND))
}

fn icmp_rate(rule: &Rule) -> Option<u32> {
    rule.value("--limit")?.strip_suffix("/sec")?.parse().ok()
}

fn set(family: Family, networks: &[IpNet]) -> Set {
    let (name, is_v4) = match family {
        Family::V4 => ("inet", true),
        Family::V6 => ("inet6", false),
    };
    let properties = [("type", "hash:net"), ("family", name), ("maxelem", MAX_NETWORKS)];
    let ours = networks.iter().filter(|network| network.network().is_ipv4() == is_v4);
    Set {
        properties: properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        members: ours.filter_map(|network| Interval::new(network.network(), network.broadcast())).collect(),
        strange: Vec::new(),
    }
}

fn to(ports: Ports) -> String {
    if ports.first == ports.last {
        format!("-p tcp -m tcp --dport {}", ports.first)
    } else {
        format!("-p tcp -m tcp --dport {}:{}", ports.first, ports.last)
    }
}

/// Reads the ports out of `--dport …`.
fn ports(rule: &Rule) -> Option<Ports> {
    let text = rule.value("--dport")?;
    Ports::parse(text, ':')
}

fn commented(matches: &str, comment: &str, target: &str) -> Rule {
    rule(&format!("{matches} -m comment --comment {comment} -j {target}"))
}

/// A rule of ours has no quotes in it.
fn rule(text: &str) -> Rule {
    Rule(text.split_ascii_whitespace().map(str::to_owned).collect())
}

/// How a set is made: the options in the order in which ipset takes them.
pub fn creation(properties: &BTreeMap<String, String>) -> String {
    let option = |key: &str| properties.get(key).map_or_else(String::new, |value| format!(" {key} {value}"));
    let of = properties.get("type").map_or("", String::as_str);
    format!("{of}{}{}", option("family"), option("maxelem"))
}
