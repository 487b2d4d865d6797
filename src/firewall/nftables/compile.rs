//! Compiles a guard into nft's objects, and recovers a guard from a table that was read.
//!
//! The shape is measured, not taste. The hook is prerouting, after conntrack and before destination NAT: at input, a
//! published port of a container would walk around it. Replies pass first, because the control ports lie within the
//! kernel's range for outgoing connections. A set that misses always means drop, and there are only plain compares:
//! interval maps and anonymous interval sets let packets through while a transaction becomes visible.

use std::collections::HashSet;

use ipnet::IpNet;
use nftables::expr::{
    CT, Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix, Range,
};
use nftables::schema::{Chain, Element, NfListObject, Rule, Set, SetFlag, SetType, SetTypeValue, Table};
use nftables::stmt::{AnonymousCounter, Counter, JumpTarget, Limit, Match, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::{Value, json};

use super::canonical::{Canonical, CanonicalError, Rule as CanonicalRule};
use crate::firewall::model::{Guard, Ports};
use crate::firewall::parts::{CONTROL, Flows, ICMP_V4, ICMP_V6, PANEL, SOCKS, SSH, Whitelist, Whitelists};

/// The family of our table: both address families at once.
pub const FAMILY: NfFamily = NfFamily::INet;
/// The family's name on nft's command line.
pub const FAMILY_NAME: &str = "inet";
/// The name of our table.
pub const TABLE: &str = "exitpool";

/// The chain that sees every packet.
const GUARD: &str = "guard";
/// After conntrack (-200), before destination NAT (-100), and next to mangle (-150).
const PRIORITY: i32 = -145;

/// The chains that let through whom their sets name, and nobody else.
const LISTS: Whitelists = Whitelists {
    socks: Whitelist {
        chain: "socks",
        v4: "socks4",
        v6: "socks6",
        comment: "exitpool:socks-deny",
        flows: Flows::Judged,
    },
    panel: Whitelist {
        chain: "panel",
        v4: "panel4",
        v6: "panel6",
        comment: "exitpool:panel-deny",
        flows: Flows::Judged,
    },
    ssh: Whitelist { chain: "ssh", v4: "ssh4", v6: "ssh6", comment: "exitpool:ssh-deny", flows: Flows::Kept },
};

/// Our table itself.
pub fn table() -> NfListObject<'static> {
    NfListObject::Table(Table { family: FAMILY, name: TABLE.into(), handle: None })
}

/// The chains and the sets, empty.
pub fn frame(guard: &Guard) -> Vec<NfListObject<'static>> {
    let whitelists = LISTS.of(guard).flat_map(|(list, _)| {
        [
            set(list.v4, SetType::Ipv4Addr),
            set(list.v6, SetType::Ipv6Addr),
            chain(Chain { name: list.chain.into(), ..Chain::default() }),
        ]
    });
    let hooked = chain(Chain {
        name: GUARD.into(),
        _type: Some(NfChainType::Filter),
        hook: Some(NfHook::Prerouting),
        prio: Some(PRIORITY),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    });
    whitelists.chain([hooked]).collect()
}

/// The elements and the rules that fill the frame.
pub fn filling(guard: &Guard) -> Vec<NfListObject<'static>> {
    let elements = LISTS.of(guard).flat_map(|(list, networks)| {
        let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) = networks.iter().partition(|network| network.network().is_ipv4());
        [element(list.v4, &v4), element(list.v6, &v6)]
    });
    let rules = LISTS.of(guard).flat_map(|(list, _)| whitelist_rules(list)).chain(guard_rules(guard));
    elements.flatten().chain(rules.map(NfListObject::Rule)).collect()
}

/// The canonical form of the table that a guard compiles to.
pub fn canonical(guard: &Guard) -> Result<Canonical, CanonicalError> {
    let objects: Vec<NfListObject> = [table()].into_iter().chain(frame(guard)).chain(filling(guard)).collect();
    Canonical::read(json!({ "nftables": objects }))
}

/// Recovers the guard from a table that one of ours was compiled to.
pub fn decompile(table: &Canonical) -> Option<Guard> {
    let rules = &table.chains.get(GUARD)?.rules;
    let commented = |comment: &'static str| rules.iter().filter(move |rule| rule.comment.as_deref() == Some(comment));
    let icmp_per_second = commented(ICMP_V4).next().and_then(icmp_rate)?;
    LISTS.guard(
        |comment| commented(comment).map(ports).collect(),
        |set| Some(&table.sets.get(set)?.members),
        icmp_per_second,
    )
}

fn guard_rules(guard: &Guard) -> impl Iterator<Item = Rule<'static>> {
    let passing = [
        rule(GUARD, "exitpool:lo", vec![compare(meta(MetaKey::Iif), text("lo")), accept()]),
        rule(GUARD, "exitpool:reply", vec![compare(conntrack("direction"), text("reply")), accept()]),
        // What is only routed through this host is not ours to filter.
        rule(GUARD, "exitpool:transit", vec![matching(address_type(), Operator::NEQ, text("local")), accept()]),
    ];
    let control = guard.control_ports.map(|ports| rule(GUARD, CONTROL, vec![to(ports), count(), drop()]));
    let socks = guard.socks_ports.iter().map(|&ports| rule(GUARD, SOCKS, vec![to(ports), jump(LISTS.socks.chain)]));
    let panel = guard.panel_port.map(|port| rule(GUARD, PANEL, vec![to(Ports::one(port)), jump(LISTS.panel.chain)]));
    let ssh = guard.ssh_ports.iter().map(|&ports| rule(GUARD, SSH, vec![to(ports), jump(LISTS.ssh.chain)]));
    let icmp = [("icmp", ICMP_V4), ("icmpv6", ICMP_V6)]
        .map(|(protocol, comment)| rule(GUARD, comment, icmp_statements(protocol, guard.icmp_per_second)));
    let closing: Vec<Rule> = control.into_iter().chain(socks).chain(panel).chain(ssh).chain(icmp).collect();
    passing.into_iter().chain(closing)
}

fn whitelist_rules(list: Whitelist) -> Vec<Rule<'static>> {
    let pass = |protocol: &'static str, set: &str| {
        let member = compare(payload(protocol, "saddr"), text(format!("@{set}")));
        Rule { comment: None, ..rule(list.chain, "", vec![member, Statement::Return(None)]) }
    };
    let kept = (list.flows == Flows::Kept).then(|| {
        let established = matching(conntrack("state"), Operator::IN, text("established"));
        Rule { comment: None, ..rule(list.chain, "", vec![established, Statement::Return(None)]) }
    });
    let judged = [pass("ip", list.v4), pass("ip6", list.v6), rule(list.chain, list.comment, vec![count(), drop()])];
    kept.into_iter().chain(judged).collect()
}

/// Drops echo requests over the rate; other ICMP is what path MTU and neighbour discovery live on, and passes.
fn icmp_statements(protocol: &'static str, per_second: u32) -> Vec<Statement<'static>> {
    let request = compare(payload(protocol, "type"), text("echo-request"));
    // The kernel refuses a rate of nothing: none is answered when all are dropped.
    let over = (per_second > 0).then(|| {
        Statement::Limit(Limit {
            rate: per_second,
            rate_unit: None,
            per: Some("second".into()),
            burst: Some(per_second.saturating_mul(2)),
            burst_unit: None,
            inv: Some(true),
        })
    });
    [request].into_iter().chain(over).chain([count(), drop()]).collect()
}

/// Reads the ports out of `tcp dport …`.
fn ports(rule: &CanonicalRule) -> Option<Ports> {
    let right = rule.statements.first()?.get("match")?.get("right")?;
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let (first, last) = match right.get("range") {
        Some(ends) => (port(ends.get(0)?)?, port(ends.get(1)?)?),
        None => (port(right)?, port(right)?),
    };
    Some(Ports { first, last })
}

fn icmp_rate(rule: &CanonicalRule) -> Option<u32> {
    match rule.statements.get(1)?.get("limit") {
        Some(limit) => u32::try_from(limit.get("rate")?.as_u64()?).ok(),
        None => Some(0),
    }
}

fn set(name: &'static str, of: SetType) -> NfListObject<'static> {
    NfListObject::Set(Box::new(Set {
        family: FAMILY,
        table: TABLE.into(),
        name: name.into(),
        set_type: SetTypeValue::Single(of),
        flags: Some(HashSet::from([SetFlag::Interval])),
        ..Set::default()
    }))
}

fn chain(chain: Chain<'static>) -> NfListObject<'static> {
    NfListObject::Chain(Chain { family: FAMILY, table: TABLE.into(), ..chain })
}

/// Networks as elements of a set; `None` where there is none.
pub fn element(set: &str, networks: &[&IpNet]) -> Option<NfListObject<'static>> {
    let prefix = |network: &&IpNet| {
        let addr = Box::new(text(network.network().to_string()));
        Expression::Named(NamedExpression::Prefix(Prefix { addr, len: u32::from(network.prefix_len()) }))
    };
    let elem: Vec<Expression> = networks.iter().map(prefix).collect();
    (!elem.is_empty()).then(|| {
        NfListObject::Element(Element {
            family: FAMILY,
            table: TABLE.into(),
            name: set.to_owned().into(),
            elem: elem.into(),
        })
    })
}

fn rule(chain: &'static str, comment: &'static str, statements: Vec<Statement<'static>>) -> Rule<'static> {
    Rule {
        family: FAMILY,
        table: TABLE.into(),
        chain: chain.into(),
        expr: statements.into(),
        comment: Some(comment.into()),
        ..Rule::default()
    }
}

fn matching(left: NamedExpression<'static>, op: Operator, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left: Expression::Named(left), right, op })
}

fn compare(left: NamedExpression<'static>, right: Expression<'static>) -> Statement<'static> {
    matching(left, Operator::EQ, right)
}

fn to(ports: Ports) -> Statement<'static> {
    let number = |port: u16| Expression::Number(u32::from(port));
    // nft lists a range of one port as that port.
    let right = if ports.first == ports.last {
        number(ports.first)
    } else {
        Expression::Range(Box::new(Range { range: [number(ports.first), number(ports.last)] }))
    };
    compare(payload("tcp", "dport"), right)
}

fn payload(protocol: &'static str, field: &'static str) -> NamedExpression<'static> {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    NamedExpression::Payload(Payload::PayloadField(field))
}

fn meta(key: MetaKey) -> NamedExpression<'static> {
    NamedExpression::Meta(Meta { key })
}

fn conntrack(key: &'static str) -> NamedExpression<'static> {
    NamedExpression::CT(CT { key: key.into(), family: None, dir: None })
}

fn address_type() -> NamedExpression<'static> {
    NamedExpression::Fib(Fib { result: FibResult::Type, flags: HashSet::from([FibFlag::Daddr]) })
}

fn text(text: impl Into<std::borrow::Cow<'static, str>>) -> Expression<'static> {
    Expression::String(text.into())
}

fn accept() -> Statement<'static> {
    Statement::Accept(None)
}

fn drop() -> Statement<'static> {
    Statement::Drop(None)
}

fn count() -> Statement<'static> {
    Statement::Counter(Counter::Anonymous(Some(AnonymousCounter::default())))
}

fn jump(chain: &'static str) -> Statement<'static> {
    Statement::Jump(JumpTarget { target: chain.into() })
}
