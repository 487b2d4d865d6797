//! What is true of every plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use exitpool::desired::{
    Access, Desired, DriverChoice, Fingerprint, FirewallPolicy, InstanceName, Pool, ReconcilePolicy,
};
use exitpool::observe::snapshot::{Place, Snapshot, VERSION};
use exitpool::observe::{Observation, ObservedGuard, Stranger, overlap};
use exitpool::plan::{Action, Block, BlockReason, Cause, Mark, Object, Plan, Step};
use exitpool::tor::options::digest::TorrcDigest;
use proptest::prelude::*;

use super::world::{World, layout};

const COUNTRIES: [&str; 6] = ["us", "us", "de", "de", "nl", "fr"];

pub fn pool(name: &str, size: u16, first_port: u16, countries: &[&str], reachable: bool) -> Pool {
    Pool {
        name: name.parse().unwrap(),
        size,
        countries: Arc::new(countries.iter().map(|code| code.parse().unwrap()).collect()),
        listen: if reachable { [0, 0, 0, 0].into() } else { [127, 0, 0, 1].into() },
        socks_port: first_port,
        rotate_every: None,
        nodes_per_instance: NonZeroU16::MIN,
        exits: <_>::default(),
        torrc: <_>::default(),
    }
}

prop_compose! {
    fn any_pool(name: &'static str, base: u16)(
        size in 0u16..9,
        together in 1u16..5,
        offset in 0u16..20,
        countries in proptest::sample::subsequence(vec!["us", "de", "nl", "fr", "va"], 0..3),
        reachable: bool,
        memory in proptest::option::of(1u16..4),
        sandbox: bool,
        own in proptest::sample::select(vec![None, None, Some(32u8), Some(31)]),
        bridges in 0usize..3,
    ) -> Pool {
        let mut pool = pool(name, size, base + offset, &countries, reachable);
        // Who wants an exit for itself has a tor for itself: validation sees to it.
        pool.nodes_per_instance = NonZeroU16::new(if own.is_some() { 1 } else { together }).unwrap();
        if let Some(memory) = memory {
            Arc::make_mut(&mut pool.torrc).insert("MaxMemInQueues".to_owned(), vec![format!("{}00 MB", memory)]);
        }
        let exits = Arc::make_mut(&mut pool.exits);
        exits.distinct = own == Some(32);
        exits.avoid_shared_subnet = own.filter(|prefix| *prefix < 32);
        if sandbox {
            Arc::make_mut(&mut pool.torrc).insert("HardwareAccel".to_owned(), vec!["1".to_owned()]);
        }
        if bridges > 0 {
            let bridge = |number| format!("obfs4 192.0.2.{number}:443 cert=hunter2");
            Arc::make_mut(&mut pool.torrc).insert("Bridge".to_owned(), (0..bridges).map(bridge).collect());
            Arc::make_mut(&mut pool.torrc).insert("HTTPSProxyAuthenticator".to_owned(), vec!["ada:hunter2".to_owned()]);
        }
        pool
    }
}

prop_compose! {
    fn any_desired()(
        eu in any_pool("eu", 30_000),
        us in any_pool("us", 30_100),
        socks in proptest::collection::btree_set(0u8..4, 0..3),
        guarded in proptest::bool::weighted(0.8),
    ) -> Desired {
        Desired {
            pools: vec![eu, us],
            access: Access {
                socks: Arc::new(socks.into_iter().map(|byte| format!("203.0.{byte}.0/24").parse().unwrap()).collect()),
                panel: BTreeSet::new(),
                ..Access::default()
            },
            firewall: FirewallPolicy {
                driver: if guarded { DriverChoice::Nftables } else { DriverChoice::None },
                ..FirewallPolicy::default()
            },
            // What is held for an operator is another law's business.
            reconcile: ReconcilePolicy { max_delete_percent: 100, ..ReconcilePolicy::default() },
            ..Desired::default()
        }
    }
}

/// Ways in which the world moves by itself.
#[derive(Debug, Clone, Copy)]
enum Tamper {
    Kill,
    EditTorrc,
    SetOption,
    CloseSocks,
    FlushGuard,
    AlterGuard,
}

fn any_tamper() -> impl Strategy<Value = (Tamper, prop::sample::Index)> {
    let kinds = prop_oneof![
        Just(Tamper::Kill),
        Just(Tamper::EditTorrc),
        Just(Tamper::SetOption),
        Just(Tamper::CloseSocks),
        Just(Tamper::FlushGuard),
        Just(Tamper::AlterGuard),
    ];
    (kinds, any::<prop::sample::Index>())
}

impl World {
    fn tamper(&mut self, tamper: Tamper, which: prop::sample::Index) {
        let names: Vec<InstanceName> = self.observed.instances.keys().cloned().collect();
        let guarded = !self.observed.guard.is_absent();
        match tamper {
            Tamper::FlushGuard => self.observed.guard = Observation::Absent,
            Tamper::AlterGuard if guarded => {
                self.observed.guard =
                    Observation::Present(ObservedGuard::Altered(vec!["a rule is not ours".to_owned()]));
            }
            Tamper::AlterGuard => {}
            _ if names.is_empty() => {}
            Tamper::Kill => self.kill(which.get(&names)),
            Tamper::EditTorrc => {
                self.instance(which.get(&names)).torrc = Observation::Present(TorrcDigest::of("SocksPort 9050\n"));
            }
            Tamper::SetOption if self.instance(which.get(&names)).control.present().is_some() => {
                let options = &mut self.control(which.get(&names)).options;
                options.set("ExcludeNodes", ["{de}"]);
                options.set("HTTPSProxyAuthenticator", ["eve:hunter2"]);
            }
            Tamper::CloseSocks if self.instance(which.get(&names)).control.present().is_some() => {
                let control = self.control(which.get(&names));
                control.options.set("SocksPort", ["0"]);
                control.socks_listeners.clear();
            }
            Tamper::SetOption | Tamper::CloseSocks => {}
        }
    }
}

/// Whether an instance is started by a step, or may open a port.
fn opens(step: &Step) -> bool {
    match &step.action {
        Action::StartInstance { .. } | Action::ReplaceInstance { .. } => true,
        Action::SetOptions { changes } => changes.iter().any(|change| {
            let is_new = |port: &String| port != "0" && !change.from.contains(port);
            change.name != "SocksPort" || change.to.iter().any(is_new)
        }),
        _ => false,
    }
}

proptest! {
    // A failure prints its smallest input, which belongs into a test of its own rather than into a file of seeds.
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_that_is_carried_out_leads_to_an_empty_one(first in any_desired(), second in any_desired()) {
        let mut world = World::new(&COUNTRIES);
        for desired in [&first, &second] {
            world.converge(desired);
            let left = world.plan(desired);
            // A rolling change that makes a node fail stops there, and the others wait.
            let settled = left.waiting.is_empty() || !left.blocked.is_empty();
            prop_assert!(left.steps.is_empty() && settled, "{left:#?}");
        }
    }

    #[test]
    fn the_same_world_gives_the_same_plan(desired in any_desired()) {
        let world = World::new(&COUNTRIES);
        prop_assert_eq!(world.plan(&desired), world.plan(&desired));
    }

    #[test]
    fn drift_is_called_drift_and_heals(desired in any_desired(), tampers in proptest::collection::vec(any_tamper(), 1..5)) {
        let mut world = World::new(&COUNTRIES);
        world.converge(&desired);
        // An instance that never became what was wished cannot drift from it.
        let blocked: Vec<Object> = world.plan(&desired).blocked.into_iter().map(|block| block.object).collect();
        let before = world.pids();
        for (tamper, which) in tampers {
            world.tamper(tamper, which);
        }
        for step in world.plan(&desired).steps {
            let other = blocked.contains(&step.object) || step.action == Action::RemoveGuard;
            prop_assert!(other || step.cause == Cause::Drift, "{step:?}");
        }
        world.converge(&desired);
        prop_assert!(world.plan(&desired).steps.is_empty());
        let after = world.pids();
        prop_assert!(before.keys().eq(after.keys()));
    }

    #[test]
    fn it_closes_before_it_opens(first in any_desired(), second in any_desired()) {
        let mut world = World::new(&COUNTRIES);
        world.converge(&first);
        for _ in 0..8 {
            let plan = world.plan(&second);
            let guards: Vec<usize> = (0..plan.steps.len()).filter(|at| plan.steps[*at].object == Object::Guard).collect();
            prop_assert!(guards.iter().all(|at| *at == 0 || *at == plan.steps.len() - 1), "{:#?}", plan.steps);
            let first_open = plan.steps.iter().position(opens).unwrap_or(usize::MAX);
            let last_destroy = plan.steps.iter().rposition(|step| step.object != Object::Guard && step.mark() == Mark::Destroy);
            prop_assert!(last_destroy.is_none_or(|at| at < first_open), "{:#?}", plan.steps);
            for step in &plan.steps {
                world.carry_out(step);
                prop_assert!(world.is_guarded(&second), "after {step}: {:#?}", world.observed.guard);
            }
        }
    }

    #[test]
    fn no_node_listens_whose_wish_no_exit_fits(first in any_desired(), second in any_desired()) {
        let mut world = World::new(&COUNTRIES);
        world.converge(&first);
        world.converge(&second);
        for block in world.plan(&second).blocked {
            let (Object::Instance(name), BlockReason::NoExits { .. } | BlockReason::TooFewExits { .. }) =
                (&block.object, &block.reason)
            else {
                continue;
            };
            prop_assert!(world.control(name).socks_listeners.is_empty(), "{name} listens");
        }
    }

    #[test]
    fn no_two_nodes_have_one_exit_where_both_want_one_for_themselves(
        first in any_desired(),
        second in any_desired(),
        rotated in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        lost in proptest::option::of(1u8..6),
    ) {
        let mut world = World::new(&COUNTRIES);
        world.converge(&first);
        prop_assert!(world.shared(&first).is_none(), "{:?}", world.shared(&first));
        let names: Vec<InstanceName> = world.observed.instances.keys().cloned().collect();
        for which in rotated.iter().filter(|_| !names.is_empty()) {
            let name = which.get(&names);
            let exit = world.control(name).options.values("ExitNodes").first().and_then(|exit| exit.parse().ok());
            world.mandate.avoid.insert(name.clone(), exit.into_iter().collect());
            *world.mandate.turns.entry(name.clone()).or_default() += 1;
        }
        if let (Observation::Present(relays), Some(lost)) = (&mut world.observed.relays, lost) {
            Arc::make_mut(relays).exits_mut().remove(&Fingerprint::from_bytes([lost; 20]));
        }
        // With the same wish none is shared at any moment, and with another one not in the end.
        for _ in 0..8 {
            for step in world.plan(&first).steps {
                world.carry_out(&step);
                prop_assert!(world.shared(&first).is_none(), "after {step}: {:?}", world.shared(&first));
            }
        }
        world.converge(&second);
        prop_assert!(world.shared(&second).is_none(), "{:?}", world.shared(&second));
    }

    #[test]
    fn nobody_waits_for_a_node_that_lacks_an_exit_of_its_own(first in any_desired(), second in any_desired()) {
        let mut world = World::new(&COUNTRIES);
        world.converge(&first);
        // Where ports go to another pool, its budget is asked for by an instance that goes.
        let mut second = second;
        let [eu, us] = second.pools.as_mut_slice() else { unreachable!() };
        std::mem::swap(&mut eu.socks_port, &mut us.socks_port);
        world.converge(&second);
        let left = world.plan(&second);
        let lacks = |block: &Block| matches!(block.reason, BlockReason::TooFewExits { .. });
        prop_assert!(!left.blocked.iter().all(lacks) || left.waiting.is_empty(), "{left:#?}");
    }

    #[test]
    fn f26_what_is_unknown_is_in_no_step(desired in any_desired(), which: prop::sample::Index, part in 0..4usize) {
        let mut world = World::new(&COUNTRIES);
        world.converge(&desired);
        let unknown = || "it does not answer".to_owned();
        let names: Vec<InstanceName> = world.observed.instances.keys().cloned().collect();
        prop_assume!(!names.is_empty());
        let name = which.get(&names);
        let object = match part {
            0 => { world.instance(name).process = Observation::Unknown(unknown()); Object::Instance(name.clone()) }
            1 => { world.instance(name).torrc = Observation::Unknown(unknown()); Object::Instance(name.clone()) }
            2 => { world.instance(name).control = Observation::Unknown(unknown()); Object::Instance(name.clone()) }
            _ => { world.observed.guard = Observation::Unknown(unknown()); Object::Guard }
        };
        // Also when nobody wants the object any more.
        let nothing = Desired { firewall: desired.firewall.clone(), ..Desired::default() };
        for desired in [&desired, &nothing] {
            let plan = world.plan(desired);
            prop_assert!(plan.steps.iter().all(|step| step.object != object), "{:#?}", plan.steps);
        }
    }

    #[test]
    fn a_plan_for_a_snapshot_is_the_plan_for_the_host(
        first in any_desired(),
        second in any_desired(),
        tampers in proptest::collection::vec(any_tamper(), 0..5),
        ports in proptest::collection::btree_set(30_000u16..30_140, 0..20),
    ) {
        let mut world = World::new(&COUNTRIES);
        world.converge(&first);
        for (tamper, which) in tampers {
            world.tamper(tamper, which);
        }
        let stranger = |port| Stranger { listens_on: ([0, 0, 0, 0], port).into(), process: Some((7, "nginx".to_owned())) };
        let listeners: Vec<Stranger> = ports.into_iter().map(stranger).collect();
        let written = serde_json::to_string(&world.snapshot(&listeners)).unwrap();
        prop_assert!(!written.contains("hunter2") && !written.contains("192.0.2.0"), "{written}");
        let snapshot = Snapshot::read(written.as_bytes()).unwrap();
        for desired in [&first, &second] {
            world.meet(desired, &listeners);
            let plan = world.plan(desired);
            let told: String = plan.steps.iter().map(ToString::to_string).collect();
            prop_assert!(!told.contains("hunter2"), "{told}");
            prop_assert_eq!(snapshot.plan(desired), plan);
        }
    }

    #[test]
    fn strangers_are_in_no_step(desired in any_desired(), which: prop::sample::Index) {
        let mut world = World::new(&COUNTRIES);
        let nodes: Vec<_> = desired.pools.iter().flat_map(Pool::nodes).collect();
        prop_assume!(!nodes.is_empty());
        let node = which.get(&nodes);
        let stranger = Stranger { listens_on: node.socks, process: Some((4_242, "nginx".to_owned())) };
        world.observed.strangers.insert(node.socks, stranger);
        world.converge(&desired);
        let serves = |instance: &exitpool::desired::Instance| instance.nodes.contains(node);
        let instance = desired.instances().into_iter().find(serves).unwrap();
        let name = instance.name.clone();
        let plan = world.plan(&desired);
        let blocked = |block: &Block| matches!(block.reason, BlockReason::PortTaken { .. });
        if plan.blocked.iter().all(blocked) {
            let open = &world.control(&name).socks_listeners;
            prop_assert!(!open.contains(&node.socks), "it must not fight for the port");
            prop_assert_eq!(open.len(), instance.nodes.len() - 1, "the others serve");
        }
        prop_assert!(plan.blocked.iter().any(|block| block.object == Object::Instance(name.clone())));
        world.observed.strangers.clear();
        world.converge(&desired);
    }
}

impl World {
    /// The world on paper.
    pub fn snapshot(&self, listeners: &[Stranger]) -> Snapshot {
        let layout = layout();
        let snapshot = Snapshot {
            version: VERSION,
            taken_at: "2026-11-01T12:00:00Z".parse().unwrap(),
            exitpool: "0.1.0".to_owned(),
            revision: format!("main@sha1:{}", "a".repeat(40)).parse().unwrap(),
            driver: DriverChoice::Auto,
            host: Place { runtime_dir: layout.runtime_dir, state_dir: layout.state_dir, panel_port: Some(8080) },
            applied: self.applied.clone(),
            suspended: self.mandate.suspended.clone(),
            avoid: self.mandate.avoid.clone(),
            turns: self.mandate.turns.clone(),
            listeners: listeners.to_vec(),
            observed: self.observed.clone(),
        };
        snapshot.redacted()
    }

    /// Lets others listen, as far as a look for these pools would see them.
    fn meet(&mut self, desired: &Desired, listeners: &[Stranger]) {
        let ours: BTreeSet<_> = self.observed.instances.values().flat_map(|it| it.listeners()).collect();
        let wanted = desired.pools.iter().flat_map(Pool::nodes).map(|node| node.socks);
        let met = wanted.filter(|wanted| !ours.contains(wanted)).filter_map(|wanted| {
            let other = listeners.iter().find(|other| overlap(other.listens_on, wanted))?;
            Some((wanted, other.clone()))
        });
        self.observed.strangers = met.collect();
    }

    /// Two nodes that listen with one exit, where both want one for themselves.
    fn shared(&self, desired: &Desired) -> Option<(InstanceName, InstanceName)> {
        let relays = self.observed.relays.present().unwrap();
        let own = |instance: &exitpool::desired::Instance| {
            let prefix = instance.exits.own_prefix()?;
            let seen = self.observed.instances.get(&instance.name)?.control.present()?;
            let exit = seen.options.values("ExitNodes").first()?.parse::<Fingerprint>().ok()?;
            let IpAddr::V4(address) = relays.exits().get(&exit)?.address else { return None };
            (!seen.socks_listeners.is_empty()).then(|| (instance.name.clone(), prefix, address.to_bits()))
        };
        let all: Vec<_> = desired.instances().iter().filter_map(own).collect();
        let is_shared = |(one, (left, left_prefix, left_address)): (usize, &(InstanceName, u8, u32))| {
            let same = |(_, prefix, address): &&(InstanceName, u8, u32)| {
                (left_address ^ address).leading_zeros() >= u32::from(*left_prefix.max(prefix))
            };
            all[one + 1..].iter().find(same).map(|(right, ..)| (left.clone(), right.clone()))
        };
        all.iter().enumerate().find_map(is_shared)
    }

    /// Whether every port that others can reach is covered by the guard, where one is wished.
    pub fn is_guarded(&self, desired: &Desired) -> bool {
        let mut reachable = self
            .observed
            .instances
            .values()
            .flat_map(|instance| instance.listeners())
            .filter(|address| !address.ip().is_loopback());
        if desired.firewall.driver == DriverChoice::None {
            return true;
        }
        match &self.observed.guard {
            Observation::Present(ObservedGuard::Exact(guard)) => {
                reachable.all(|address| guard.socks_ports.iter().any(|ports| ports.contains(address.port())))
            }
            _ => reachable.next().is_none(),
        }
    }
}

#[test]
fn scaling_keeps_what_stays_and_prunes_what_goes() {
    let reconcile = ReconcilePolicy { max_delete_percent: 100, ..ReconcilePolicy::default() };
    let desired = |size| Desired {
        pools: vec![pool("eu", size, 30_000, &["de"], true)],
        reconcile: reconcile.clone(),
        ..Desired::default()
    };
    let mut world = World::new(&COUNTRIES);
    world.converge(&desired(9));
    let nine = world.pids();
    world.converge(&desired(3));
    let three = world.pids();
    assert_eq!(three.len(), 3);
    assert!(three.iter().all(|(name, pid)| nine[name] == *pid), "what stays keeps its pid");
    world.converge(&desired(9));
    assert!(three.iter().all(|(name, pid)| world.pids()[name] == *pid));
}

#[test]
fn a_rolling_replacement_leaves_enough_of_a_pool() {
    let mut desired = Desired { pools: vec![pool("eu", 8, 30_000, &["de"], true)], ..Desired::default() };
    let mut world = World::new(&COUNTRIES);
    world.converge(&desired);
    Arc::make_mut(&mut desired.pools[0].torrc).insert("HardwareAccel".to_owned(), vec!["1".to_owned()]);
    let names = |plan: &Plan| -> Vec<Object> {
        plan.steps.iter().filter(|step| step.mark() == Mark::Replace).map(|step| step.object.clone()).collect()
    };
    let plan = world.plan(&desired);
    let drained = names(&plan);
    assert_eq!((drained.len(), plan.waiting.len()), (2, 6), "a quarter of eight at a time");
    plan.steps.iter().for_each(|step| world.carry_out(step));
    let Object::Instance(first) = drained[0].clone() else { panic!("{drained:?}") };
    world.control(&first).connections = 1;
    let next = world.plan(&desired);
    assert_eq!((names(&next), next.waiting.len()), (drained[1..].to_vec(), 7), "the first one has a connection still");
    next.steps.iter().for_each(|step| world.carry_out(step));
    assert_eq!(names(&world.plan(&desired)), [], "neither serves yet");
    world.mandate.care.drained.insert(first.clone());
    assert_eq!(names(&world.plan(&desired)), drained[..1], "its time is over");
    world.mandate.care.drained.clear();
    world.control(&first).connections = 0;
    world.converge(&desired);
}

#[test]
fn a_new_consensus_is_not_drift() {
    let desired = Desired { pools: vec![pool("eu", 1, 30_000, &["de"], true)], ..Desired::default() };
    let mut world = World::new(&COUNTRIES);
    world.converge(&desired);
    let moved = World::new(&["us", "us", "us", "de", "nl", "de"]);
    world.observed.relays = moved.observed.relays;
    let causes: Vec<Cause> = world.plan(&desired).steps.iter().map(|step| step.cause).collect();
    // One running exit is now in another country: that is not fit any more, and so it is drift.
    assert_eq!(causes, [Cause::Drift]);
    world.converge(&desired);
    if let Observation::Present(relays) = &mut world.observed.relays {
        let gone = *relays.exits().keys().next_back().unwrap();
        Arc::make_mut(relays).exits_mut().remove(&gone);
    }
    let causes: Vec<Cause> = world.plan(&desired).steps.iter().map(|step| step.cause).collect();
    assert_eq!(causes, [Cause::Consensus]);
}

#[test]
fn an_exit_is_avoided_as_long_as_another_one_fits_and_new_circuits_come_after_it() {
    let desired = Desired { pools: vec![pool("eu", 2, 30_000, &["de"], true)], ..Desired::default() };
    let mut world = World::new(&COUNTRIES);
    world.converge(&desired);
    let name: InstanceName = "eu-0".parse().unwrap();
    let fit: Vec<_> =
        world.control(&name).options.values("ExitNodes")[0].split(',').map(|it| it.parse().unwrap()).collect();
    let steps = |world: &mut World| {
        let steps = world.converge(&desired);
        assert!(steps.iter().all(|step| step.object == Object::Instance("eu-0".parse().unwrap())));
        steps.iter().map(|step| (step.cause, step.action == Action::NewCircuits)).collect::<Vec<_>>()
    };
    world.mandate.avoid = BTreeMap::from([(name.clone(), BTreeSet::from([fit[0]]))]);
    world.mandate.renew = BTreeMap::from([(name.clone(), 0)]);
    assert_eq!(steps(&mut world), [(Cause::Rotation, false), (Cause::Rotation, true)]);
    assert_eq!(world.control(&name).options.values("ExcludeExitNodes"), [format!("${}", fit[0])]);

    // Without any exit it would serve nobody.
    world.mandate.avoid = BTreeMap::from([(name.clone(), fit.into_iter().collect())]);
    assert_eq!(steps(&mut world), [(Cause::Rotation, false)]);
    assert!(world.control(&name).options.values("ExcludeExitNodes").is_empty());

    // What nobody has asked for is drift.
    world.mandate.avoid.clear();
    world.control(&name).options.set("ExcludeExitNodes", ["{de}"]);
    assert_eq!(steps(&mut world), [(Cause::Drift, false)]);
}

#[test]
fn exits_that_are_all_lost_close_a_node_and_open_it_again_when_they_are_back() {
    let desired = Desired { pools: vec![pool("eu", 1, 30_000, &["de"], true)], ..Desired::default() };
    let mut world = World::new(&COUNTRIES);
    world.converge(&desired);
    let before = world.observed.relays.clone();
    world.observed.relays = World::new(&["us"]).observed.relays;
    for relays in [world.observed.relays.clone(), before] {
        world.observed.relays = relays;
        let steps = world.converge(&desired);
        assert_eq!(steps.iter().map(|step| step.cause).collect::<Vec<_>>(), [Cause::Consensus], "{steps:#?}");
    }
    assert_eq!(world.control(&"eu-0".parse().unwrap()).socks_listeners.len(), 1);
}

#[test]
fn a_pool_is_shared_out_anew_without_losing_more_of_it_than_it_may() {
    let desired = |together: u16| {
        let mut pool = pool("eu", 12, 30_000, &["de"], true);
        pool.nodes_per_instance = NonZeroU16::new(together).unwrap();
        Desired { pools: vec![pool], ..Desired::default() }
    };
    let mut world = World::new(&COUNTRIES);
    world.converge(&desired(1));
    for together in [12, 1, 5, 4, 1] {
        let desired = desired(together);
        let serves = |world: &World| {
            let nodes = desired.pools[0].nodes();
            let served = |socks| {
                world.observed.instances.values().any(|it| it.control.present().is_some_and(|tor| tor.serves_at(socks)))
            };
            nodes.iter().filter(|node| served(node.socks)).count()
        };
        for round in 0.. {
            assert!(round < 40, "not converged: {:#?}", world.plan(&desired));
            let plan = world.plan(&desired);
            assert!(plan.held.is_empty(), "no node goes, so that nothing waits for an operator: {:#?}", plan.held);
            for step in &plan.steps {
                assert_ne!(step.action, Action::DestroyInstance, "no node goes");
                world.carry_out(step);
                assert!(serves(&world) >= 9, "{} of 12 serve after {step}", serves(&world));
            }
            world.settle(&desired);
            if plan.is_converged() {
                break;
            }
        }
        assert_eq!(world.observed.instances.len(), 12usize.div_ceil(together.into()));
        assert_eq!(serves(&world), 12);
    }
}

#[test]
fn two_pools_swap_their_ports() {
    // Where one of them listens on this host alone, an address of it is a part of one of the other's.
    for is_public in [true, false] {
        let desired = |eu, us| Desired {
            pools: vec![pool("eu", 3, eu, &["de"], is_public), pool("us", 3, us, &["us"], true)],
            ..Desired::default()
        };
        let mut world = World::new(&COUNTRIES);
        world.converge(&desired(30_000, 30_010));
        let pids = world.pids();
        world.converge(&desired(30_010, 30_000));
        assert_eq!(world.pids(), pids);
        let left = world.plan(&desired(30_010, 30_000));
        assert!(left.is_converged(), "{left:?}");
    }
}

#[test]
fn another_torrc_is_tried_on_a_few_also_where_tor_takes_it_at_run_time() {
    let mut desired = Desired { pools: vec![pool("eu", 8, 30_000, &["de"], true)], ..Desired::default() };
    let mut world = World::new(&COUNTRIES);
    world.converge(&desired);
    Arc::make_mut(&mut desired.pools[0].torrc).insert("MaxCircuitDirtiness".to_owned(), vec!["60".to_owned()]);
    let (touched, waiting) = touched(&world.plan(&desired));
    assert_eq!((touched.len(), waiting), (2, 6));
    world.plan(&desired).steps.iter().for_each(|step| world.carry_out(step));
    world.mandate.care.unproven = touched;
    assert_eq!(self::touched(&world.plan(&desired)), (BTreeSet::new(), 6), "nobody can tell yet whether they serve");
    world.mandate.care.unproven.clear();
    assert_eq!(self::touched(&world.plan(&desired)).1, 4);
    world.converge(&desired);

    // Who may come in is not left open until its turn.
    Arc::make_mut(&mut desired.pools[0].torrc).insert("MaxCircuitDirtiness".to_owned(), vec!["90".to_owned()]);
    desired.access.socks = Arc::new(["198.51.100.0/24".parse().unwrap()].into());
    let plan = world.plan(&desired);
    let closes = plan.steps.iter().filter(|step| step.to_string().contains("SocksPolicy")).count();
    assert_eq!((closes, self::touched(&plan).1), (8, 6), "{plan:#?}");
}

/// The instances that a plan has steps for, and how many wait for their turn.
fn touched(plan: &Plan) -> (BTreeSet<InstanceName>, usize) {
    let name = |step: &Step| match &step.object {
        Object::Instance(name) => Some(name.clone()),
        Object::Guard => None,
    };
    (plan.steps.iter().filter_map(name).collect(), plan.waiting.len())
}

#[test]
fn another_tor_program_is_rolled_over_a_pool() {
    let desired = Desired { pools: vec![pool("eu", 8, 30_000, &["de"], true)], ..Desired::default() };
    let mut world = World::new(&COUNTRIES);
    world.converge(&desired);
    let Observation::Present(program) = &mut world.observed.tor else { panic!("there is one") };
    program.version = "0.4.9.12".to_owned();
    let plan = world.plan(&desired);
    assert_eq!(touched(&plan).0.len(), 2);
    let words = "it runs tor 0.4.9.11, and 0.4.9.12 is installed";
    assert!(plan.steps.iter().all(|step| step.cause == Cause::Drift && step.to_string().contains(words)), "{plan:#?}");
    world.observed.tor = Observation::Unknown("it is too old".to_owned());
    assert!(world.plan(&desired).is_converged(), "what runs is left alone while nothing better is there");
}
