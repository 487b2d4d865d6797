use super::*;
use crate::alert::HostFacts;
use crate::alert::facts::Disk;
use crate::desired::Alerts;
use crate::health::{Incident, Outage as Gone};
use crate::observe;
use crate::plan::step::{Action, Cause, Step};
use crate::status::node::InstanceStatus;
use crate::status::tests::world::{World, noon, revision};
use crate::status::{Failure, Fault, SourceError};

fn judged(status: &Status, host: &HostFacts) -> Vec<Judgement> {
    judge(&Facts { status, host }, &Alerts::default(), noon())
}

/// What a rule finds, as its sentences; `None` where it cannot know.
fn says(rule: RuleName, status: &Status, host: &HostFacts) -> Option<Vec<String>> {
    let judgement = judged(status, host).into_iter().find(|judgement| judgement.rule == rule).unwrap();
    match judgement.found {
        Found::Findings(findings) => Some(findings.into_iter().map(|finding| finding.summary).collect()),
        Found::Unknown => None,
    }
}

fn of_status(rule: RuleName, status: &Status) -> Option<Vec<String>> {
    says(rule, status, &HostFacts::default())
}

fn none() -> Option<Vec<String>> {
    Some(Vec::new())
}

/// A world in which some nodes have no process.
fn broken(nodes: u16, down: &[&str]) -> World {
    let mut world = World::healthy(nodes);
    for name in down {
        *world.instance(name) = observe::Instance::default();
    }
    world
}

#[test]
fn a_healthy_host_is_worth_no_alert() {
    let status = World::healthy(10).status();
    let host = HostFacts {
        tor_installed: status.nodes[0].instance.version.clone(),
        state_directory: Some(Disk { used_percent: 90, free_mib: 10 }),
        ..HostFacts::default()
    };
    for judgement in judged(&status, &host) {
        // The source is always so and so old.
        let expected = usize::from(judgement.rule == RuleName::SourceStale);
        assert!(matches!(&judgement.found, Found::Findings(it) if it.len() == expected), "{judgement:?}");
    }
    assert_eq!(judged(&status, &host).len(), 13, "and by default every rule looks");
}

#[test]
fn nodes_that_do_not_serve_are_told_above_the_share() {
    let rate = RuleName::NodeFailureRate;
    assert_eq!(of_status(rate, &broken(10, &["eu-0", "eu-1"]).status()), none(), "20 % is not above 20 %");
    let status = broken(10, &["eu-0", "eu-1", "eu-2"]).status();
    assert_eq!(of_status(rate, &status).unwrap(), ["3 of 10 nodes do not serve"]);
    let host = HostFacts::default();
    let judgement = judged(&status, &host).remove(0);
    let Found::Findings(findings) = judgement.found else { panic!() };
    assert_eq!(findings[0].details.len(), 3);
    assert!(findings[0].details[0].starts_with("eu-0: "), "{:?}", findings[0].details);
}

#[test]
fn more_details_than_are_told_are_counted() {
    let told = Finding::of(RuleName::Drift, "x", String::new()).with((0..14).map(|it| it.to_string()));
    assert_eq!(told.details.len(), MOST_DETAILS + 1);
    assert_eq!(told.details[MOST_DETAILS], "and 4 more");
}

#[test]
fn a_network_that_is_gone_is_one_alert_and_what_follows_from_it_none() {
    let mut world = World::healthy(10);
    world.incident = Some(Incident { since: noon(), cause: Gone::NetworkDown, instances: 10 });
    let status = world.status();
    let told = of_status(RuleName::NodeFailureRate, &status).unwrap();
    assert!(told.len() == 1 && told[0].contains("the network is down"), "{told:?}");
    for rule in [RuleName::SourceStale, RuleName::ExitsShort, RuleName::RotationFailed] {
        assert_eq!(of_status(rule, &status), None, "{rule:?}");
    }
}

#[test]
fn before_the_first_pass_nobody_knows() {
    let status = Status::starting(noon(), "nftables", Vec::new());
    for rule in [RuleName::NodeFailureRate, RuleName::Drift, RuleName::RevisionStalled, RuleName::FirewallApplyFailed] {
        assert_eq!(of_status(rule, &status), None, "{rule:?}");
    }
}

#[test]
fn a_firewall_that_cannot_be_put_in_place_is_told() {
    let mut world = World::healthy(3);
    let failure =
        Failure { message: "nft crashed".to_owned(), kind: crate::error::Kind::Firewall, attempts: 1, retry_at: None };
    world.failures.insert(Object::Guard, failure);
    let told = of_status(RuleName::FirewallApplyFailed, &world.status()).unwrap();
    assert_eq!(told, ["the firewall could not be put in place: nft crashed"]);
}

#[test]
fn drift_of_a_dead_tor_is_the_incident_of_its_node() {
    let action = || Action::StartInstance { torrc: String::new(), fresh: false };
    let object = || Object::Instance("eu-1".parse().unwrap());
    let drift = |world: &mut World| {
        world.plan.steps.push(Step { object: object(), cause: Cause::Drift, action: action() });
    };
    let mut drifted = World::healthy(3);
    drift(&mut drifted);
    assert_eq!(of_status(RuleName::Drift, &drifted.status()).unwrap().len(), 1);
    let mut dead = broken(3, &["eu-1"]);
    drift(&mut dead);
    assert_eq!(of_status(RuleName::Drift, &dead.status()), none());
}

#[test]
fn the_age_of_the_source_is_known_by_its_mark() {
    let mark = |status: &Status| {
        let host = HostFacts::default();
        let judgement = judged(status, &host).into_iter().find(|it| it.rule == RuleName::SourceStale).unwrap();
        let Found::Findings(findings) = judgement.found else { panic!() };
        (findings[0].mark.clone(), findings[0].details.clone())
    };
    let status = World::healthy(3).status();
    assert_eq!(mark(&status).0, status.source.last_success.unwrap().to_string());
    let mut world = World::healthy(3);
    world.source.error = Some(SourceError { fault: Fault::Unreachable, message: "no route".to_owned() });
    assert_eq!(mark(&world.status()).1, ["no route"]);
}

#[test]
fn somebody_who_is_needed_and_a_rollback_are_told() {
    let mut world = World::healthy(3);
    world.source.error = Some(SourceError { fault: Fault::Malformed, message: "line 3".to_owned() });
    let told = of_status(RuleName::RevisionStalled, &world.status()).unwrap();
    assert!(told[0].contains("line 3"), "{told:?}");
    let mut world = World::healthy(3);
    world.source.offered = Some(revision('9'));
    world.source.withheld = Some(Why::RolledBack);
    assert_eq!(of_status(RuleName::RolledBack, &world.status()).unwrap().len(), 1);
}

#[test]
fn rotations_that_fail_twice_and_exits_that_are_short_are_told() {
    let mut status = World::healthy(10).status();
    status.nodes[0].failed_rotations = 1;
    assert_eq!(of_status(RuleName::RotationFailed, &status), none());
    status.nodes[0].failed_rotations = 2;
    assert_eq!(of_status(RuleName::RotationFailed, &status).unwrap(), ["nodes get no other exit: 1"]);
    for node in [1, 9] {
        status.nodes[node].conditions[0].reason = Reason::NoExits;
    }
    let told = of_status(RuleName::ExitsShort, &status).unwrap();
    assert_eq!(told.len(), 2, "one for each pool: {told:?}");
}

#[test]
fn certificates_disks_updates_tokens_and_channels_are_told() {
    let status = World::healthy(3).status();
    let ends = |days: i64| Ok(noon() + SignedDuration::from_hours(24 * days));
    let certificate = |path: &str, ends| Certificate { path: path.into(), ends };
    let host = HostFacts {
        certificates: vec![
            certificate("/a", ends(31)),
            certificate("/b", ends(29)),
            certificate("/c", ends(-1)),
            certificate("/d", Err("no".to_owned())),
        ],
        refusals: [("192.0.2.1".parse().unwrap(), 5), ("192.0.2.2".parse().unwrap(), 4)].into(),
        state_directory: Some(Disk { used_percent: 91, free_mib: 12 }),
        tor_installed: Some("0.4.9.99".to_owned()),
        failing_channels: vec![("mail".to_owned(), "no route".to_owned())],
    };
    let told = says(RuleName::CertificateExpiry, &status, &host).unwrap();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0], "the certificate /b runs out in 29 days, on 2026-03-30T12:00:00Z");
    assert!(told[1].contains("has run out") && told[2].contains("cannot be read: no"), "{told:?}");
    assert_eq!(says(RuleName::BruteForce, &status, &host).unwrap(), ["192.0.2.1 tried tokens: 5 were refused"]);
    let disk = says(RuleName::StateDirectoryFull, &status, &host).unwrap();
    assert_eq!(disk, ["the disk of the state directory is 91 % full, 12 MiB are free"]);
    let update = says(RuleName::TorUpdatePending, &status, &host).unwrap();
    assert!(update[0].starts_with("tor 0.4.9.99 is installed, and nodes run another one, as "), "{update:?}");
    assert_eq!(says(RuleName::ChannelFailing, &status, &host).unwrap(), ["the channel mail takes no alerts: no route"]);
    let unknown = HostFacts::default();
    assert_eq!(says(RuleName::StateDirectoryFull, &status, &unknown), None);
    assert_eq!(says(RuleName::TorUpdatePending, &status, &unknown), None);
}

#[test]
fn a_tor_that_does_not_answer_runs_no_other_version() {
    let mut status = World::healthy(1).status();
    status.nodes[0].instance = InstanceStatus::default();
    let host = HostFacts { tor_installed: Some("0.4.9.99".to_owned()), ..HostFacts::default() };
    assert_eq!(says(RuleName::TorUpdatePending, &status, &host), none());
}
