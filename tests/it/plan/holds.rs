//! What a plan holds back until an operator says so.

use std::collections::BTreeSet;

use exitpool::desired::{Desired, Lockout, Prune, ReconcilePolicy, SshAccess};
use exitpool::observe::{Door, Observation, ObservedGuard, Visitor};
use exitpool::plan::{Action, Deletions, HoldReason, Mandate, Mark, Object, Suspended, TakeBack, TakenBack};

use super::laws::pool;
use super::world::World;

fn sized(size: u16, reconcile: ReconcilePolicy) -> Desired {
    Desired { pools: vec![pool("eu", size, 30_000, &["de"], true)], reconcile, ..Desired::default() }
}

/// A host that matches nine nodes.
fn nine() -> World {
    let mut world = World::new(&["de", "de", "us"]);
    world.converge(&sized(9, ReconcilePolicy::default()));
    world
}

fn limited(percent: u8) -> ReconcilePolicy {
    ReconcilePolicy { max_delete_percent: percent, ..ReconcilePolicy::default() }
}

fn destroys(world: &World, desired: &Desired) -> usize {
    world.plan(desired).steps.iter().filter(|step| step.mark() == Mark::Destroy && step.object != Object::Guard).count()
}

#[test]
fn f5_too_many_deletions_at_once_are_held() {
    let world = nine();
    let table =
        [(5, 50, 4), (4, 50, 0), (4, 55, 0), (4, 56, 5), (0, 99, 0), (0, 100, 9), (8, 11, 0), (8, 12, 1), (8, 0, 0)];
    for (size, percent, destroyed) in table {
        assert_eq!(destroys(&world, &sized(size, limited(percent))), destroyed, "9 → {size} at {percent}%");
    }
    let plan = world.plan(&sized(4, limited(50)));
    let reason = HoldReason::MaxDelete { nodes: 5, existing: 9, percent: 50 };
    assert!(plan.held.len() == 5 && plan.held.iter().all(|held| held.reason == reason), "{:#?}", plan.held);
    assert_eq!(
        reason.advice(5),
        "5 of 9 nodes would be destroyed, and reconcile.max_delete is 50%: `exitpool apply --allow-delete` lets this \
         revision through"
    );
    assert_eq!(plan.held[0].to_string(), "- node eu-4 will be destroyed when that is allowed (reconcile.max_delete)");
}

#[test]
fn f5_the_constructive_part_goes_on_and_the_guard_covers_what_stays() {
    let mut world = nine();
    let mut renamed = sized(9, ReconcilePolicy::default());
    renamed.pools = vec![pool("us", 2, 31_000, &["us"], true)];
    world.converge(&renamed);
    let names: Vec<String> = world.pids().keys().map(ToString::to_string).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("eu-")).count(), 9, "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("us-")).count(), 2, "{names:?}");
    assert!(world.is_guarded(&renamed), "{:#?}", world.observed.guard);
    assert!(world.plan(&renamed).needs_an_operator());

    world.mandate = Mandate { deletions: Deletions::Allowed, ..Mandate::default() };
    world.converge(&renamed);
    assert_eq!(world.pids().len(), 2);
    assert!(world.plan(&renamed).is_converged());
}

#[test]
fn f5_what_is_not_confirmed_is_held_and_counts_for_no_limit() {
    let mut world = nine();
    let desired = sized(3, ReconcilePolicy { prune: Prune::Confirm, ..limited(50) });
    let plan = world.plan(&desired);
    assert!(plan.steps.is_empty() && plan.held.iter().all(|held| held.reason == HoldReason::Unconfirmed));
    assert_eq!(
        plan.held[0].reason.advice(6),
        "6 nodes wait to be destroyed: `exitpool confirm` does it (reconcile.prune)"
    );

    let confirmed = ["eu-3", "eu-5"].map(|name| name.parse().unwrap());
    world.mandate = Mandate { confirmed: BTreeSet::from(confirmed), ..Mandate::default() };
    assert_eq!(destroys(&world, &desired), 2, "exactly what was confirmed");
    world.converge(&desired);
    assert_eq!((world.pids().len(), world.plan(&desired).held.len()), (7, 4));
}

#[test]
fn what_is_suspended_is_seen_and_left_alone() {
    let mut world = nine();
    let mut desired = sized(9, ReconcilePolicy::default());
    desired.pools.push(pool("us", 1, 31_000, &["us"], true));
    world.kill(&"eu-3".parse().unwrap());
    world.mandate =
        Mandate { suspended: Suspended::Pools(BTreeSet::from(["eu".parse().unwrap()])), ..Mandate::default() };
    world.converge(&desired);
    let plan = world.plan(&desired);
    assert!(world.pids().len() == 9 && plan.steps.is_empty(), "us-0 was started, eu-3 was not: {plan:#?}");
    assert_eq!(plan.held.len(), 1);
    assert_eq!(plan.held[0].step.object, Object::Instance("eu-3".parse().unwrap()));
    assert_eq!(plan.drift().count(), 1, "it is reported");

    desired.pools[0].size = 2;
    let plan = world.plan(&desired);
    // The guard is the whole host's: it may give up the port of the one that is dead.
    let destroys_nothing = plan.steps.iter().all(|step| step.object == Object::Guard);
    assert!(destroys_nothing && plan.held.len() == 7, "{plan:#?}");

    world.mandate.suspended = Suspended::Everything;
    let before = world.observed.clone();
    desired.pools[1].size = 3;
    world.converge(&desired);
    assert_eq!(world.observed, before);
    assert!(world.plan(&desired).held.iter().all(|held| held.reason == HoldReason::Suspended));
}

/// A guarded host with one node, whose operator is inside by SSH.
fn visited() -> (World, Desired, Visitor) {
    let mut world = World::new(&["de"]);
    let desired = sized(1, ReconcilePolicy::default());
    world.converge(&desired);
    let visitor = Visitor { address: "198.51.100.7".parse().unwrap(), door: Door::Ssh(22) };
    world.observed.visitors.insert(visitor);
    (world, desired, visitor)
}

fn restricted(desired: &Desired, network: &str) -> Desired {
    let mut desired = desired.clone();
    let allow = BTreeSet::from([network.parse().unwrap()]);
    desired.access.ssh = Some(SshAccess { ports: BTreeSet::from([22]), allow });
    desired
}

#[test]
fn a_lockout_holds_its_list_and_nothing_else() {
    let (mut world, desired, visitor) = visited();
    assert!(world.plan(&restricted(&desired, "198.51.100.0/24")).held.is_empty(), "they are let in");
    let mut locking = restricted(&desired, "203.0.113.0/24");
    locking.pools.push(pool("us", 1, 31_000, &["de"], true));
    world.converge(&locking);
    let plan = world.plan(&locking);
    let [held] = &plan.held[..] else { panic!("{:#?}", plan.held) };
    assert!(matches!(&held.reason, HoldReason::Lockout { visitors, .. } if visitors.contains(&visitor)));
    assert_eq!(world.pids().len(), 2, "the new node is there");
    assert!(world.is_guarded(&locking), "{:#?}", world.observed.guard);

    // That they leave changes nothing, once it was seen; that it is meant does.
    world.observed.visitors.clear();
    world.mandate.endangered.insert(visitor);
    assert_eq!(world.plan(&locking).held.len(), 1);
    locking.access.lockout = Lockout::Allowed;
    world.converge(&locking);
    assert!(world.plan(&locking).is_converged());
    // A repair of it is not asked.
    locking.access.lockout = Lockout::Held;
    world.observed.guard = Observation::Absent;
    assert!(world.plan(&locking).held.is_empty());
}

#[test]
fn a_guard_that_was_taken_back_stays_and_covers_new_nodes() {
    let (mut world, desired, _) = visited();
    let fallback = match &world.observed.guard {
        Observation::Present(ObservedGuard::Exact(guard)) => guard.clone(),
        other => panic!("{other:?}"),
    };
    let wished = restricted(&desired, "203.0.113.0/24");
    let taken_back = TakenBack { fallback: fallback.clone(), cause: TakeBack::Unconfirmed, failed: None };
    world.mandate = Mandate { taken_back: Some(taken_back), ..Mandate::default() };
    let plan = world.plan(&wished);
    assert!(plan.steps.is_empty() && plan.held.len() == 1, "{plan:#?}");
    world.observed.guard = Observation::Absent;
    let plan = world.plan(&wished);
    assert_eq!(plan.steps[0].action, Action::InstallGuard { guard: fallback });
    assert_eq!(plan.steps[0].cause, exitpool::plan::Cause::Drift, "it is not tried again");
}
