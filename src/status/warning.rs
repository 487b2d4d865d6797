//! Warnings: what is weaker than it should be, while every node may serve all the same. They change no condition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::describe::{count, listing};
use super::{Inputs, NodeStatus, Reason};
use crate::desired::{Fingerprint, NodeName};
use crate::observe::GuardRelay;

/// So many tors of one host at one guard relay are too many.
///
/// A guard relay takes all of them for one client, since they have one address. The Tor network's consensus has it allow
/// such a client 60 circuits at once and two more each second (`DoSCircuitCreationBurst`, `DoSCircuitCreationRate`), and
/// beyond that it refuses all of them for one to two hours. After a start and after a rotation a tor begins some six
/// within as many seconds (measured on 0.4.9.11: three for exits, three of its own).
pub const CROWD: usize = 10;
/// A crowd that was warned of is one until fewer than this are left: a tor that is started again leaves for a moment.
const STILL_A_CROWD: usize = 8;

/// So long after the latest unsafe connection it is still warned of.
const WARNED_OF_FOR: Duration = Duration::from_secs(3_600);

/// Something that is weaker than it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Why, in one word.
    pub reason: Reason,
    /// The nodes that it concerns.
    pub nodes: Vec<NodeName>,
    /// The guard relay that it concerns, where it is one's.
    pub relay: Option<Fingerprint>,
    /// What, where, and what to do about it.
    pub message: String,
}

impl Warning {
    /// The reasons of warnings.
    pub const REASONS: [Reason; 4] =
        [Reason::CrowdedGuardRelay, Reason::UnsafeSocks, Reason::AuditNotWritten, Reason::PasswordsInTheClear];
}

/// The guard relays of the host, with the nodes whose connections begin at each.
pub(super) fn by_guard_relay(nodes: &[NodeStatus]) -> Vec<(&GuardRelay, Vec<&NodeStatus>)> {
    let mut found: BTreeMap<Fingerprint, (&GuardRelay, Vec<&NodeStatus>)> = BTreeMap::new();
    for node in nodes {
        for relay in &node.instance.guard_relays {
            found.entry(relay.fingerprint).or_insert((relay, Vec::new())).1.push(node);
        }
    }
    found.into_values().collect()
}

/// Finds what is to be warned of.
pub(super) fn warnings(inputs: &Inputs<'_>, nodes: &[NodeStatus]) -> Vec<Warning> {
    let of_nodes = crowds(inputs, nodes).into_iter().chain(unsafe_socks(inputs, nodes));
    of_nodes.chain(audit_not_written(inputs)).chain(passwords_in_the_clear(inputs)).collect()
}

/// A proxy that is named is taken to speak TLS with its clients: that cannot be seen from here.
fn passwords_in_the_clear(inputs: &Inputs<'_>) -> Option<Warning> {
    let access = &inputs.desired?.access;
    let is_one = inputs.page_in_the_clear && access.sign_in.is_some() && access.trusted_proxies.is_empty();
    is_one.then(|| Warning {
        reason: Reason::PasswordsInTheClear,
        nodes: Vec::new(),
        relay: None,
        message: "`access.sign_in` asks for passwords, and the page is served over plain HTTP: whoever is on the way reads \
                  them. Name a certificate (`--tls-cert`, `--tls-key`), or a proxy with TLS in `access.trusted_proxies`, or \
                  `--listen` on this host alone"
            .to_owned(),
    })
}

fn audit_not_written(inputs: &Inputs<'_>) -> Option<Warning> {
    inputs.audit.trouble.as_ref().map(|trouble| Warning {
        reason: Reason::AuditNotWritten,
        nodes: Vec::new(),
        relay: None,
        message: format!(
            "records of the audit trail cannot be written, and those of now are lost: {trouble}; once this is mended, the \
             trail says how many are missing"
        ),
    })
}

fn crowds(inputs: &Inputs<'_>, nodes: &[NodeStatus]) -> Vec<Warning> {
    let before = inputs.previous.map_or(&[][..], |previous| &previous.warnings);
    let enough = |relay: &GuardRelay| {
        let was_one = before.iter().any(|warning| warning.relay == Some(relay.fingerprint));
        if was_one { STILL_A_CROWD } else { CROWD }
    };
    let crowd = |(relay, at_it): (&GuardRelay, Vec<&NodeStatus>)| {
        let tors: BTreeSet<u32> = at_it.iter().filter_map(|node| node.instance.pid).collect();
        (tors.len() >= enough(relay)).then(|| Warning {
            reason: Reason::CrowdedGuardRelay,
            nodes: at_it.iter().map(|node| node.name.clone()).collect(),
            relay: Some(relay.fingerprint),
            message: format!(
                "{} of {} ({} tors) enter Tor by one guard relay, {relay}: it takes them for one client, and refuses a \
                 client that builds circuits too fast for an hour or two; let more nodes share a tor \
                 (`nodes_per_instance`), or where they use bridges, give the pools several",
                at_it.len(),
                count(nodes.len(), "node"),
                tors.len()
            ),
        })
    };
    by_guard_relay(nodes).into_iter().filter_map(crowd).collect()
}

fn unsafe_socks(inputs: &Inputs<'_>, nodes: &[NodeStatus]) -> Option<Warning> {
    let is_recent = |node: &&NodeStatus| {
        let last = node.instance.unsafe_socks.last;
        last.is_some_and(|last| inputs.now.duration_since(last).unsigned_abs() < WARNED_OF_FOR)
    };
    let names: Vec<NodeName> = nodes.iter().filter(is_recent).map(|node| node.name.clone()).collect();
    let told: Vec<String> = names.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| Warning {
        reason: Reason::UnsafeSocks,
        relay: None,
        message: format!(
            "clients of {} connect to addresses and not to names, so they may look names up outside of Tor, where \
             others see them: let them hand the name over (`socks5h://`, `--socks5-hostname`); `torrc: {{SafeSocks: 1}}` \
             refuses such connections",
            listing(&told)
        ),
        nodes: names,
    })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::observe::UnsafeSocks;
    use crate::status::tests::world::{World, noon};
    use crate::status::{ConditionType, Status};

    fn relay(digit: char) -> GuardRelay {
        GuardRelay { fingerprint: digit.to_string().repeat(40).parse().unwrap(), nickname: format!("relay{digit}") }
    }

    /// The world of twelve nodes, of which so many enter Tor by one guard relay, and the others by another one each.
    fn crowded(crowd: usize) -> World {
        let mut world = World::healthy(12);
        let names: Vec<String> = world.observed.instances.keys().map(ToString::to_string).collect();
        for (index, name) in names.iter().enumerate() {
            let digit = "0123456789AB".chars().nth(if index < crowd { 0 } else { index }).unwrap();
            world.control(name).guard_relays = BTreeSet::from([relay(digit)]);
        }
        world
    }

    #[test]
    fn a_guard_relay_of_many_tors_is_warned_of() {
        assert_eq!(crowded(CROWD - 1).status().warnings, []);
        let status = crowded(CROWD).status();
        let [warning] = status.warnings.as_slice() else { panic!("{:?}", status.warnings) };
        assert_eq!((warning.reason, warning.nodes.len()), (Reason::CrowdedGuardRelay, CROWD));
        let says = format!("10 of 12 nodes (10 tors) enter Tor by one guard relay, relay0 ({})", "0".repeat(40));
        assert!(warning.message.starts_with(&says), "{}", warning.message);
        assert!(status.condition(ConditionType::Ready).unwrap().is_good(), "the nodes serve all the same");
        let event = status.events.iter().find(|event| event.reason == Reason::CrowdedGuardRelay).unwrap();
        assert_eq!(event.message, warning.message);

        // It does not come and go with every tor that is started again.
        let fewer = crowded(STILL_A_CROWD).status_after(&status);
        assert!(fewer.warnings[0].message.starts_with("8 of 12 nodes (8 tors)"), "{:?}", fewer.warnings);
        assert_eq!(crowded(STILL_A_CROWD - 1).status_after(&fewer).warnings, []);
    }

    #[test]
    fn an_audit_trail_that_is_not_written_is_warned_of_until_it_is() {
        let mut world = World::healthy(3);
        world.audit.trouble = Some("disk full".to_owned());
        let broken = world.status();
        let [warning] = broken.warnings.as_slice() else { panic!("{:?}", broken.warnings) };
        assert_eq!((warning.reason, warning.nodes.len()), (Reason::AuditNotWritten, 0));
        assert!(warning.message.contains("disk full"), "{}", warning.message);
        world.audit.trouble = None;
        assert_eq!(world.status_after(&broken).warnings, []);
    }

    #[test]
    fn passwords_are_not_asked_for_in_the_clear_without_a_word() {
        let mut world = World::healthy(3);
        world.page_in_the_clear = true;
        assert_eq!(world.status().warnings, [], "nobody asks for one");
        world.desired.as_mut().unwrap().access.sign_in = Some(Default::default());
        let [warning] = &world.status().warnings[..] else { panic!("{:?}", world.status().warnings) };
        assert_eq!(warning.reason, Reason::PasswordsInTheClear);
        let behind_a_proxy = {
            let mut world = world.clone();
            world.desired.as_mut().unwrap().access.trusted_proxies.insert("10.0.0.1/32".parse().unwrap());
            world
        };
        assert_eq!(behind_a_proxy.status().warnings, []);
        world.page_in_the_clear = false;
        assert_eq!(world.status().warnings, []);
    }

    #[test]
    fn connections_to_addresses_are_warned_of_for_an_hour_and_counted_once() {
        let mut world = World::healthy(3);
        let first = world.status();
        world.control("eu-1").unsafe_socks = UnsafeSocks { count: 3, last: Some(noon()) };
        let second = world.status_after(&first);
        let [warning] = second.warnings.as_slice() else { panic!("{:?}", second.warnings) };
        assert_eq!((warning.reason, warning.nodes.as_slice()), (Reason::UnsafeSocks, &["eu-1".parse().unwrap()][..]));
        assert_eq!(second.totals.unsafe_socks, 3);

        world.control("eu-1").unsafe_socks.count = 4;
        let third = world.status_after(&second);
        assert_eq!(third.totals.unsafe_socks, 4);
        let of = |status: &Status| status.events.iter().filter(|event| event.reason == Reason::UnsafeSocks).count();
        assert_eq!(of(&third), 1, "it is told when it begins");

        let before = noon().checked_sub(SignedDuration::from_secs(3_601)).unwrap();
        world.control("eu-1").unsafe_socks = UnsafeSocks { count: 4, last: Some(before) };
        let fourth = world.status_after(&third);
        assert_eq!((fourth.warnings.as_slice(), of(&fourth)), (&[][..], 2));
    }
}
