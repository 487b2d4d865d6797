//! What the status says of which world.

use jiff::SignedDuration;

use super::event::About;
use super::*;
use crate::desired::SelfHeal;
use crate::error::Kind;
use crate::observe::{Observation, ObservedGuard, Process};
use crate::plan::step::{Action, Cause, Step};
use crate::plan::{Block, BlockReason, HoldReason, Wait, WaitReason};
use crate::rollout::Why;
use crate::{desired, export, firewall, health, observe, plan, rotation, status, tor};

#[path = "../../tests/it/world.rs"]
pub mod world;

#[path = "../../tests/it/committed.rs"]
mod committed;

pub use committed::generated;

use world::{World, noon, revision};

fn object(name: &str) -> Object {
    if name == "guard" { Object::Guard } else { Object::Instance(name.parse().unwrap()) }
}

fn start(name: &str, cause: Cause) -> Step {
    Step { object: object(name), cause, action: Action::StartInstance { torrc: String::new(), fresh: false } }
}

fn failure(attempts: u32, retry_at: Option<Timestamp>) -> Failure {
    Failure { message: "tor of eu-1 ended at its start: no space".to_owned(), kind: Kind::Tor, attempts, retry_at }
}

fn source_error(fault: Fault) -> SourceError {
    SourceError { fault, message: "pool.yaml:7:5: pools[0].size: 0 is below 1".to_owned() }
}

/// Bends a world of three nodes: `eu-0`, `eu-1`, `us-0`.
fn bent(bend: impl FnOnce(&mut World)) -> World {
    let mut world = World::healthy(3);
    bend(&mut world);
    world
}

fn verdict(world: &World, kind: ConditionType) -> Option<(ConditionStatus, Reason)> {
    world.status().condition(kind).map(|condition| (condition.status, condition.reason))
}

use ConditionStatus::{False, True, Unknown};
use ConditionType::{
    ArtifactOutdated, Drifted, FetchFailed, FirewallInSync, Healthy, Ready, Reconciling, SourceVerified, Stalled,
    Suspended,
};

#[test]
fn a_healthy_host_has_only_good_conditions() {
    let status = World::healthy(3).status();
    let bad: Vec<&Condition> = status.conditions.iter().filter(|condition| !condition.is_good()).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(status.condition(Ready).unwrap().message, "the host matches main@sha1:aaaaaaaaaaaa: 3 nodes ready");
    assert_eq!(status.condition(SourceVerified), None, "nobody asked for signatures");
}

#[test]
fn ready_is_true_false_or_unknown() {
    type Bend = fn(&mut World);
    let table: [(&str, Bend, ConditionStatus, Reason); 9] = [
        ("nothing is wrong", |_| {}, True, Reason::ReconciliationSucceeded),
        ("no revision", |world| *world = World::without_revision(), Unknown, Reason::Progressing),
        (
            "the first revision is invalid",
            |world| {
                *world = World::without_revision();
                world.source.error = Some(source_error(Fault::Malformed));
            },
            False,
            Reason::BuildFailed,
        ),
        (
            "a step failed",
            |world| drop(world.failures.insert(object("eu-1"), failure(2, Some(noon())))),
            False,
            Reason::ReconciliationFailed,
        ),
        (
            "no exits",
            |world| {
                let reason = BlockReason::NoExits { countries: vec!["de".parse().unwrap()] };
                world.plan.blocked.push(Block { object: object("eu-1"), reason });
            },
            False,
            Reason::NoExits,
        ),
        (
            "the guard cannot be read",
            |world| world.observed.guard = Observation::Unknown("nft crashed".to_owned()),
            Unknown,
            Reason::ObservationFailed,
        ),
        (
            "a control socket does not answer",
            |world| world.instance("eu-1").control = Observation::Unknown("no answer within 5 s".to_owned()),
            Unknown,
            Reason::ObservationFailed,
        ),
        ("a step is left", |world| world.plan.steps.push(start("eu-1", Cause::Change)), False, Reason::Progressing),
        ("drift is left", |world| world.plan.steps.push(start("eu-1", Cause::Drift)), False, Reason::DriftDetected),
    ];
    for (name, bend, status, reason) in table {
        assert_eq!(verdict(&bent(bend), Ready), Some((status, reason)), "{name}");
    }
}

#[test]
fn ready_waits_for_every_node_to_serve() {
    let world = bent(|world| world.control("us-0").circuit_established = false);
    assert_eq!(verdict(&world, Ready), Some((False, Reason::HealthCheckFailed)));
    let message = world.status().condition(Ready).unwrap().message.clone();
    assert_eq!(message, "node us-0 is bootstrapping: it has no circuit yet");
}

#[test]
fn ready_does_not_depend_on_whether_the_source_can_be_read() {
    let world = bent(|world| world.source.error = Some(source_error(Fault::Unreachable)));
    assert_eq!(verdict(&world, Ready), Some((True, Reason::ReconciliationSucceeded)));
}

#[test]
fn reconciling_says_that_work_is_left() {
    assert_eq!(verdict(&World::healthy(3), Reconciling), Some((False, Reason::Succeeded)));
    let wait = |world: &mut World| {
        world.plan.waiting.push(Wait { object: object("eu-1"), reason: WaitReason::Circuit });
    };
    assert_eq!(verdict(&bent(wait), Reconciling), Some((True, Reason::Progressing)));
    let mut young = World::without_revision();
    assert_eq!(verdict(&young, Reconciling), Some((True, Reason::Progressing)), "it waits for a revision");
    young.source.error = Some(source_error(Fault::Malformed));
    assert_eq!(verdict(&young, Reconciling), Some((False, Reason::BuildFailed)), "and for somebody to correct it");
    let retried = bent(|world| {
        world.plan.steps.push(start("eu-1", Cause::Change));
        world.failures.insert(object("eu-1"), failure(2, Some(noon())));
    });
    assert_eq!(verdict(&retried, Reconciling), Some((True, Reason::ProgressingWithRetry)));
}

#[test]
fn drift_that_is_only_reported_is_no_work() {
    let world = bent(|world| {
        world.desired.as_mut().unwrap().reconcile.self_heal = SelfHeal::Report;
        world.plan.steps.push(start("eu-1", Cause::Drift));
    });
    assert_eq!(verdict(&world, Reconciling), Some((False, Reason::Succeeded)));
    assert_eq!(verdict(&world, Drifted), Some((True, Reason::DriftDetected)));
    assert_eq!(world.status().healing, Healing::Reports);
}

#[test]
fn stalled_says_that_somebody_has_to_do_something() {
    assert_eq!(verdict(&World::healthy(3), Stalled), Some((False, Reason::Succeeded)));
    let invalid = bent(|world| world.source.error = Some(source_error(Fault::Malformed)));
    assert_eq!(verdict(&invalid, Stalled), Some((True, Reason::BuildFailed)));
    assert_eq!(verdict(&invalid, Ready), Some((True, Reason::ReconciliationSucceeded)), "the host matches what it has");
    let unreachable = bent(|world| world.source.error = Some(source_error(Fault::Unreachable)));
    assert_eq!(verdict(&unreachable, Stalled), Some((False, Reason::Succeeded)));
    let final_failure = bent(|world| drop(world.failures.insert(object("eu-1"), failure(1, None))));
    assert_eq!(verdict(&final_failure, Stalled), Some((True, Reason::ReconciliationFailed)));
    let retried = bent(|world| drop(world.failures.insert(object("eu-1"), failure(1, Some(noon())))));
    assert_eq!(verdict(&retried, Stalled), Some((False, Reason::Succeeded)));
    let taken = BlockReason::PortTaken { address: "0.0.0.0:30001".parse().unwrap(), holder: "nginx (7)".to_owned() };
    let blocked = bent(|world| world.plan.blocked.push(Block { object: object("eu-1"), reason: taken }));
    assert_eq!(verdict(&blocked, Stalled), Some((True, Reason::PortTaken)));
    let unguarded =
        bent(|world| world.plan.blocked.push(Block { object: object("eu-1"), reason: BlockReason::Unguarded }));
    assert_eq!(verdict(&unguarded, Stalled), Some((False, Reason::Succeeded)));
}

#[test]
fn source_verified_exists_only_where_signatures_are_required() {
    let required = |world: &mut World| world.source.signatures = Signatures::Required;
    assert_eq!(verdict(&bent(required), SourceVerified), Some((True, Reason::Succeeded)));
    let unsigned = bent(|world| {
        required(world);
        world.source.error = Some(source_error(Fault::Unsigned));
    });
    assert_eq!(verdict(&unsigned, SourceVerified), Some((False, Reason::VerificationError)));
    let none = bent(|world| {
        *world = World::without_revision();
        required(world);
    });
    assert_eq!(verdict(&none, SourceVerified), Some((Unknown, Reason::Progressing)));
}

#[test]
fn fetch_failed_and_artifact_outdated_follow_the_source() {
    assert_eq!(verdict(&World::healthy(3), FetchFailed), Some((False, Reason::GitOperationSucceeded)));
    assert_eq!(verdict(&World::healthy(3), ArtifactOutdated), Some((False, Reason::ArtifactUpToDate)));
    let newer = bent(|world| world.source.offered = Some(revision('b')));
    assert_eq!(verdict(&newer, ArtifactOutdated), Some((True, Reason::NewRevision)));
    let faults = [
        (Fault::Unreachable, Reason::GitOperationFailed),
        (Fault::Unauthenticated, Reason::AuthenticationFailed),
        (Fault::Missing, Reason::InvalidPath),
    ];
    for (fault, reason) in faults {
        let world = bent(|world| world.source.error = Some(source_error(fault)));
        assert_eq!(verdict(&world, FetchFailed), Some((True, reason)));
        assert_eq!(verdict(&world, ArtifactOutdated), Some((Unknown, reason)), "nobody knows what the source has");
    }
    let never_read = World::without_revision();
    assert_eq!(verdict(&never_read, FetchFailed), Some((Unknown, Reason::Progressing)));
    assert_eq!(verdict(&never_read, ArtifactOutdated), Some((Unknown, Reason::Progressing)));
}

#[test]
fn healthy_is_unknown_on_the_way_and_false_when_broken() {
    assert_eq!(verdict(&World::healthy(3), Healthy), Some((True, Reason::Succeeded)));
    let young = bent(|world| world.control("eu-1").bootstrap.progress = 40);
    assert_eq!(verdict(&young, Healthy), Some((Unknown, Reason::Progressing)));
    let broken = bent(|world| drop(world.failures.insert(object("eu-1"), failure(1, Some(noon())))));
    assert_eq!(verdict(&broken, Healthy), Some((False, Reason::HealthCheckFailed)));
    let unseen = bent(|world| world.instance("eu-1").process = Observation::Unknown("permission denied".to_owned()));
    assert_eq!(verdict(&unseen, Healthy), Some((Unknown, Reason::ObservationFailed)));
}

#[test]
fn drifted_is_unknown_when_somebody_could_have_changed_what_cannot_be_seen() {
    assert_eq!(verdict(&World::healthy(3), Drifted), Some((False, Reason::NoDriftDetected)));
    let blind = bent(|world| world.instance("eu-1").torrc = Observation::Unknown("permission denied".to_owned()));
    assert_eq!(verdict(&blind, Drifted), Some((Unknown, Reason::ObservationFailed)));
    let repaired = bent(|world| world.pass.as_mut().unwrap().applied = vec![start("eu-1", Cause::Drift)]);
    assert_eq!(verdict(&repaired, Drifted), Some((False, Reason::DriftCorrected)));
    let message = repaired.status().condition(Drifted).unwrap().message.clone();
    assert_eq!(message, "1 difference was removed in the last pass");
}

#[test]
fn suspended_says_who_and_why() {
    assert_eq!(verdict(&World::healthy(3), Suspended), Some((False, Reason::NotSuspended)));
    let world = bent(|world| {
        let reason = "moving racks".to_owned();
        world.suspended = Some(Suspension { reason, until: None, by: "ada".to_owned() });
        world.plan.steps.push(start("eu-1", Cause::Change));
    });
    assert_eq!(verdict(&world, Suspended), Some((True, Reason::Suspended)));
    assert_eq!(verdict(&world, Reconciling), Some((False, Reason::Suspended)));
    let message = world.status().condition(Suspended).unwrap().message.clone();
    assert_eq!(message, "suspended by ada until it is resumed: moving racks");
}

#[test]
fn f5_what_is_held_needs_an_operator() {
    let held = |reason: HoldReason| {
        let step = Step { object: object("eu-9"), cause: Cause::Change, action: Action::DestroyInstance };
        bent(|world| world.plan.held.push(Held { step, reason }))
    };
    let limit = held(HoldReason::MaxDelete { nodes: 6, existing: 9, percent: 50 });
    for kind in [Ready, Stalled] {
        assert_eq!(verdict(&limit, kind).unwrap().1, Reason::MaxDeleteLimitReached);
    }
    let message = limit.status().condition(Stalled).unwrap().message.clone();
    assert!(message.starts_with("6 of 9 nodes would be destroyed, and reconcile.max_delete is 50%: "), "{message}");
    assert_eq!(limit.status().held.len(), 1);
    let unconfirmed = held(HoldReason::Unconfirmed);
    assert_eq!(verdict(&unconfirmed, Stalled), Some((True, Reason::ConfirmationNeeded)));
    let suspended = held(HoldReason::Suspended);
    assert_eq!(verdict(&suspended, Ready), Some((False, Reason::Suspended)));
    assert_eq!(verdict(&suspended, Stalled), Some((False, Reason::Succeeded)));
}

#[test]
fn drift_says_who_did_it_and_since_when_and_with_whom_it_is_a_fight() {
    let step = || Step { object: object("guard"), cause: Cause::Drift, action: Action::RemoveGuard };
    let author = |pid| Author { pid: Some(pid), name: Some("nft".to_owned()), at: noon() };
    let told = |status: &Status| status.condition(FirewallInSync).unwrap().message.clone();

    let unknown = bent(|world| world.plan.steps.push(step()));
    let first = unknown.status();
    assert_eq!(told(&first), "- firewall guard will be destroyed; by whom it was changed is not known");
    let mut known = unknown.later(5);
    known.observed.guard_author = Some(author(7));
    let second = known.status_after(&first);
    assert_eq!(told(&second), "- firewall guard will be destroyed; changed by nft (pid 7) at 2026-03-01T12:00:00Z");
    assert_eq!((second.drift.items[0].since, second.firewall.changed_by.clone()), (noon(), Some(author(7))));

    let mut contested = known.later(5);
    contested.observed.guard_author = None;
    let fight = |author| Fight { repairs: 9, over: Duration::from_secs(150), next_at: noon(), author };
    contested.fights.insert(object("guard"), fight(Some(author(8))));
    let third = contested.status_after(&second);
    let sentence = "nft (pid 8) keeps changing it: firewall guard was repaired 9 times in 2 min; the next repair is at \
                    2026-03-01T12:00:00Z";
    assert_eq!(told(&third), format!("- firewall guard will be destroyed; {sentence}"));
    assert_eq!(third.drift.items[0].author, Some(author(7)), "it is remembered while the difference is there");

    // Repaired: it is no fight any more, and who it was is still known.
    let mut repaired = World::healthy(3);
    let pass = repaired.pass.as_mut().unwrap();
    (pass.applied, pass.guard_author) = (vec![step()], Some(author(9)));
    let fourth = repaired.later(60).status_after(&third);
    assert_eq!(fourth.firewall.changed_by, None, "this pass has repaired nothing");
    let mut repaired = repaired.later(60);
    let pass = repaired.pass.as_mut().unwrap();
    (pass.applied, pass.guard_author) = (vec![step()], Some(author(9)));
    let fifth = repaired.status_after(&third);
    assert_eq!(fifth.firewall.changed_by, Some(author(9)));
    let event = "- firewall guard will be destroyed (drift, changed by nft (pid 9) at 2026-03-01T12:00:00Z): done";
    assert!(fifth.events.iter().any(|it| it.message == event), "{:#?}", fifth.events);

    let instance = bent(|world| {
        world.plan.steps.push(start("eu-1", Cause::Drift));
        world.fights.insert(object("eu-1"), fight(None));
    });
    let told = instance.status().condition(Drifted).unwrap().message.clone();
    assert!(
        told.ends_with("; node eu-1 was repaired 9 times in 2 min; the next repair is at 2026-03-01T12:00:00Z"),
        "{told}"
    );
}

#[test]
fn drift_that_is_left_alone_is_drift() {
    let world = bent(|world| {
        let held = Held { step: start("eu-1", Cause::Drift), reason: HoldReason::Suspended };
        world.plan.held.push(held);
        let order = Suspension { reason: "moving racks".to_owned(), until: None, by: "ada".to_owned() };
        world.suspended_pools.insert("eu".parse().unwrap(), order);
        *world.instance("eu-1") = observe::Instance::default();
    });
    let status = world.status();
    assert_eq!((status.drift.items.len(), status.held.len()), (1, 0));
    assert_eq!(verdict(&world, Drifted), Some((True, Reason::DriftDetected)));
    assert_eq!(status.node(&"eu-1".parse().unwrap()).unwrap().state, NodeState::Suspended);
    let message = status.condition(Suspended).unwrap().message.clone();
    assert_eq!(message, "pool eu is suspended by ada until it is resumed: moving racks");
}

#[test]
fn who_waits_for_a_guard_relay_says_so() {
    let paced = || plan::Paced { relay: "guard1 (AB)".to_owned(), circuits: 24, seconds: 30 };
    let ready = |world: &World, name: &str| {
        let status = world.status();
        let node = status.node(&name.parse().unwrap()).unwrap();
        let Condition { status, reason, message, .. } = node.ready().unwrap().clone();
        (node.state, status, reason, message)
    };
    let is_told = |told: &(NodeState, ConditionStatus, Reason, String), state, status| {
        (told.0, told.1, told.2) == (state, status, Reason::GuardRelayLimitReached)
            && told.3.contains("waiting for its turn at guard relay guard1 (AB)")
    };
    let mut world = bent(|world| {
        *world.instance("eu-1") = observe::Instance::default();
        world.plan.steps.push(start("eu-1", Cause::Change));
        world.plan.waiting.push(Wait { object: object("eu-1"), reason: WaitReason::GuardRelay(paced()) });
    });
    let told = ready(&world, "eu-1");
    assert!(is_told(&told, NodeState::Pending, False), "{told:?}");

    // A rotation that waits leaves the host as desired.
    let desired = world.desired.clone().unwrap();
    world.rotations.follow(&desired, &world.observed, noon());
    world.rotations.order(&"eu-0".parse().unwrap(), noon());
    world.rotations.begin(&desired, |_| false, |_, _| Err(paced()), noon());
    let told = ready(&world, "eu-0");
    assert!(is_told(&told, NodeState::Ready, True) && told.3.starts_with("it serves, and its rotation is"), "{told:?}");
    assert_eq!(world.status().paced, 2);
    *world.instance("eu-1") = world.instance("eu-0").clone();
    world.plan = plan::Plan::default();
    assert_eq!(world.status().paced, 1);
    assert!(world.status().condition(Reconciling).unwrap().is_good());

    world.rotations.begin(&desired, |_| false, |_, _| Ok(()), noon());
    assert_eq!((world.status().paced, ready(&world, "eu-0").2), (0, Reason::Succeeded));
}

#[test]
fn an_offered_revision_says_what_it_waits_for() {
    let table = [
        (Why::Manual, Reason::NewRevision),
        (Why::Suspended, Reason::Suspended),
        (Why::RolledBack, Reason::RolledBack),
    ];
    for (why, reason) in table {
        let world = bent(|world| {
            world.source.offered = Some(revision('b'));
            world.source.withheld = Some(why);
        });
        assert_eq!(verdict(&world, ArtifactOutdated), Some((True, reason)));
        let message = world.status().condition(ArtifactOutdated).unwrap().message.clone();
        assert!(message.contains(&why.to_string()) && message.contains(&revision('b').to_string()), "{message}");
    }
}

#[test]
fn the_firewall_is_in_sync_only_when_it_was_read_back_as_desired() {
    let update = |cause| {
        let action =
            Action::UpdateGuard { guard: Default::default(), differences: vec!["port 30000 is open".to_owned()] };
        Step { object: Object::Guard, cause, action }
    };
    let altered = Observation::Present(ObservedGuard::Altered(vec!["port 30000 is open".to_owned()]));
    let table: [(&str, World, ConditionStatus, Reason); 8] = [
        ("exact", World::healthy(3), True, Reason::InSync),
        ("altered", bent(|world| world.observed.guard = altered), False, Reason::OutOfSync),
        ("drift left", bent(|world| world.plan.steps.push(update(Cause::Drift))), False, Reason::DriftDetected),
        ("change left", bent(|world| world.plan.steps.push(update(Cause::Change))), False, Reason::OutOfSync),
        (
            "failed",
            bent(|world| drop(world.failures.insert(Object::Guard, failure(1, Some(noon()))))),
            False,
            Reason::FirewallApplyFailed,
        ),
        (
            "unknown",
            bent(|world| world.observed.guard = Observation::Unknown("nft crashed".to_owned())),
            Unknown,
            Reason::ObservationFailed,
        ),
        ("driver none", bent(|world| world.driver = "none"), True, Reason::FirewallDisabled),
        ("no revision", World::without_revision(), Unknown, Reason::Progressing),
    ];
    for (name, world, status, reason) in table {
        assert_eq!(verdict(&world, FirewallInSync), Some((status, reason)), "{name}");
        assert_eq!(world.status().firewall.in_sync, status, "{name}");
    }
}

#[test]
fn every_state_of_a_node_has_its_world() {
    let block = |reason| move |world: &mut World| world.plan.blocked.push(Block { object: object("eu-1"), reason });
    let absent = |world: &mut World| *world.instance("eu-1") = observe::Instance::default();
    let suspension = || Some(Suspension { reason: "x".to_owned(), until: None, by: "ada".to_owned() });
    let table: [(&str, World, NodeState, ConditionStatus); 13] = [
        ("serves", World::healthy(3), NodeState::Ready, True),
        (
            "its change waits",
            bent(|world| world.plan.waiting.push(Wait { object: object("eu-1"), reason: WaitReason::MaxUnavailable })),
            NodeState::Ready,
            True,
        ),
        (
            "a new consensus has other exits",
            bent(|world| world.plan.steps.push(start("eu-1", Cause::Consensus))),
            NodeState::Ready,
            True,
        ),
        ("half way", bent(|world| world.control("eu-1").bootstrap.progress = 40), NodeState::Bootstrapping, False),
        (
            "no circuit",
            bent(|world| world.control("eu-1").circuit_established = false),
            NodeState::Bootstrapping,
            False,
        ),
        ("closed", bent(|world| world.control("eu-1").socks_listeners.clear()), NodeState::Bootstrapping, False),
        ("silent", bent(|world| world.instance("eu-1").control = Observation::Absent), NodeState::Bootstrapping, False),
        ("not started", bent(absent), NodeState::Pending, False),
        (
            "not started, suspended",
            bent(|world| {
                absent(world);
                world.suspended = suspension();
            }),
            NodeState::Suspended,
            False,
        ),
        ("drifted", bent(|world| world.plan.steps.push(start("eu-1", Cause::Drift))), NodeState::Degraded, False),
        (
            "unseen",
            bent(|world| world.instance("eu-1").control = Observation::Unknown("no answer".to_owned())),
            NodeState::Degraded,
            Unknown,
        ),
        (
            "a step failed",
            bent(|world| drop(world.failures.insert(object("eu-1"), failure(1, None)))),
            NodeState::Failed,
            False,
        ),
        ("no exits", bent(block(BlockReason::NoExits { countries: Vec::new() })), NodeState::Failed, False),
    ];
    for (name, world, state, ready) in table {
        let status = world.status();
        let node = status.node(&"eu-1".parse().unwrap()).unwrap();
        assert_eq!((node.state, node.ready().unwrap().status), (state, ready), "{name}");
        let others: Vec<NodeState> =
            status.nodes.iter().filter(|other| other.name != node.name).map(|o| o.state).collect();
        assert_eq!(others, [NodeState::Ready; 2], "{name}: the others are left out of it");
    }
}

#[test]
fn a_node_that_is_on_its_way_passes_on_what_tor_warns_of() {
    let world = bent(|world| {
        world.control("eu-1").bootstrap.progress = 10;
        world.control("eu-1").bootstrap.warning = Some("Connection refused".to_owned());
    });
    let status = world.status();
    let trouble = status.node(&"eu-1".parse().unwrap()).unwrap().trouble();
    assert_eq!(trouble, Some("bootstrapping, 10 %: Done; tor warns: Connection refused"));
}

#[test]
fn a_node_says_where_it_leaves_from() {
    let mut world = World::healthy(3);
    let node = |world: &World| world.status().nodes[0].clone();
    let exit = node(&world).exit.unwrap();
    assert_eq!(exit.ip, Some("198.51.100.0".parse().unwrap()));
    assert_eq!(exit.country, Some("de".parse().unwrap()));
    world.observed.relays = Observation::Absent;
    let exit = node(&world).exit.unwrap();
    assert_eq!((exit.ip, exit.country), (None, None), "without a consensus only the fingerprint is known");
    world.control("eu-0").exit = None;
    assert_eq!(node(&world).exit, None);
}

#[test]
fn times_of_transition_move_only_with_the_status() {
    let first = World::healthy(3).status();
    let second = World::healthy(3).later(30).status_after(&first);
    assert_eq!(second.condition(Ready).unwrap().last_transition_time, noon());
    let mut broken = World::healthy(3).later(60);
    broken.plan.steps.push(start("eu-1", Cause::Drift));
    let third = broken.status_after(&second);
    assert_eq!(third.condition(Ready).unwrap().last_transition_time, noon() + SignedDuration::from_secs(60));
    let fourth = broken.later(30).status_after(&third);
    assert_eq!(fourth.condition(Ready).unwrap().last_transition_time, noon() + SignedDuration::from_secs(60));
    assert_eq!(fourth.drift.items[0].since, noon() + SignedDuration::from_secs(60));
}

#[test]
fn another_process_is_a_restart_even_when_it_was_gone_between() {
    let first = World::healthy(3).status();
    let gone = bent(|world| *world.instance("eu-1") = observe::Instance::default()).later(30).status_after(&first);
    assert_eq!(gone.node(&"eu-1".parse().unwrap()).unwrap().restarts, 0);
    let back = bent(|world| world.instance("eu-1").process = Observation::Present(Process { pid: 9, started: 99 }));
    let back = back.later(60).status_after(&gone);
    let restarts: Vec<u64> = back.nodes.iter().map(|node| node.restarts).collect();
    assert_eq!(restarts, [0, 1, 0]);
    let calm = World {
        observed: bent(|world| {
            world.instance("eu-1").process = Observation::Present(Process { pid: 9, started: 99 });
        })
        .observed,
        ..World::healthy(3)
    };
    assert_eq!(calm.later(90).status_after(&back).nodes[1].restarts, 1);
}

#[test]
fn the_generation_counts_revisions_and_is_observed_at_their_end() {
    let first = World::healthy(3).status();
    assert_eq!((first.generation, first.observed_generation), (1, 1));
    let moving = bent(|world| {
        world.source.accepted = Some(revision('b'));
        world.source.offered = Some(revision('b'));
        world.plan.steps.push(start("eu-1", Cause::Change));
    });
    let second = moving.later(30).status_after(&first);
    assert_eq!((second.generation, second.observed_generation), (2, 1), "it is not at its end yet");
    let done = World { source: moving.source.clone(), ..World::healthy(3) };
    let third = done.later(60).status_after(&second);
    assert_eq!((third.generation, third.observed_generation), (2, 2));
    assert_eq!(third.accepted_since, second.accepted_since);
}

#[test]
fn sums_count_each_thing_once() {
    let world = bent(|world| {
        world.pass.as_mut().unwrap().applied = vec![start("eu-1", Cause::Drift)];
        world.plan.steps.push(start("eu-0", Cause::Drift));
        world.source.error = Some(source_error(Fault::Malformed));
        world.failures.insert(Object::Guard, failure(2, Some(noon())));
    });
    let first = world.status();
    let expected = |totals: &Totals| {
        assert_eq!(totals.passes[&PassResult::Success], 1);
        assert_eq!(totals.drift_detected[&plan::step::ObjectKind::Instance], 2);
        assert_eq!(totals.rejected[&Fault::Malformed], 1);
        assert_eq!(totals.firewall_applies[&("nftables", totals::Outcome::Error)], 2);
    };
    expected(&first.totals);
    expected(&world.status_after(&first).totals);
}

#[test]
fn events_tell_a_break_and_a_recovery_once() {
    let first = World::healthy(3).status();
    let broken = bent(|world| drop(world.failures.insert(object("eu-1"), failure(1, Some(noon())))));
    let second = broken.later(30).status_after(&first);
    let third = broken.later(60).status_after(&second);
    let fourth = World::healthy(3).later(90).status_after(&third);
    let about_eu_1 = |status: &Status, previous: &Status| -> Vec<(Severity, String)> {
        let last = previous.events.back().map_or(0, |event| event.id);
        let new = status.events.iter().filter(|event| event.id > last);
        new.filter(|event| event.about == About::Node("eu-1".parse().unwrap()))
            .map(|event| (event.severity, event.message.clone()))
            .collect()
    };
    let broke = about_eu_1(&second, &first);
    assert_eq!(broke.len(), 1);
    assert!(broke[0].0 == Severity::Error && broke[0].1.starts_with("is failed: tor of eu-1 ended"), "{broke:?}");
    assert_eq!(about_eu_1(&third, &second), []);
    assert_eq!(about_eu_1(&fourth, &third), [(Severity::Info, "is ready".to_owned())]);
    let ids: Vec<u64> = fourth.events.iter().map(|event| event.id).collect();
    assert!(ids.is_sorted_by(|left, right| left < right), "{ids:?}");
}

#[test]
fn events_are_bounded() {
    let mut status = World::healthy(3).status();
    for round in 0..u32::try_from(event::KEPT).unwrap() {
        let world = bent(|world| drop(world.failures.insert(object("eu-1"), failure(round, Some(noon())))));
        status = world.status_after(&status);
    }
    assert_eq!(status.events.len(), event::KEPT);
}

#[test]
fn reasons_are_camel_case() {
    for reason in Reason::ALL {
        let word = reason.to_string();
        assert!(word.starts_with(|first: char| first.is_ascii_uppercase()), "{word}");
        assert!(word.chars().all(|letter| letter.is_ascii_alphanumeric()), "{word}");
    }
}
