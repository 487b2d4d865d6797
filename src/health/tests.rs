use std::net::IpAddr;
use std::num::NonZeroU16;

use jiff::SignedDuration;

use super::*;
use crate::desired::Pool;
use crate::observe::{Bootstrap, Control, Observation, Process};
use crate::plan::Rung;
use crate::tor::options::EXIT_NODES;

/// A pool that serves, to be bent, with a clock of its own.
struct Ward {
    desired: Desired,
    observed: Observed,
    probes: Probes,
    settling: BTreeMap<InstanceName, Timestamp>,
    health: Health,
    now: Timestamp,
}

impl Ward {
    fn of(size: u16) -> Self {
        let pool = Pool {
            name: "eu".parse().unwrap(),
            size,
            countries: <_>::default(),
            listen: IpAddr::from([127, 0, 0, 1]),
            socks_port: 30_000,
            rotate_every: None,
            nodes_per_instance: NonZeroU16::MIN,
            exits: <_>::default(),
            torrc: <_>::default(),
        };
        let desired = Desired { pools: vec![pool], ..Desired::default() };
        let serving = |wanted: Instance| (wanted.name.clone(), serving(&wanted));
        let instances = desired.instances().into_iter().map(serving).collect();
        let observed = Observed { instances, ..Observed::default() };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        Self { desired, observed, probes: Probes::new(), settling: BTreeMap::new(), health: Health::default(), now }
    }

    fn examine(&mut self) -> Care {
        let Self { desired, observed, probes, settling, now, .. } = self;
        self.health.examine(&Examination { desired, observed, probes, settling, now: *now });
        self.health.care(desired, *now)
    }

    /// Examines after a time; gives the rungs that are asked for.
    fn after(&mut self, seconds: i64) -> Vec<(String, Rung)> {
        self.now += SignedDuration::from_secs(seconds);
        let care = self.examine();
        care.repairs.into_iter().map(|(name, repair)| (name.to_string(), repair.rung)).collect()
    }

    fn instance(&mut self, node: usize) -> &mut observe::Instance {
        self.observed.instances.values_mut().nth(node).unwrap()
    }

    fn control(&mut self, node: usize) -> &mut Control {
        match &mut self.instance(node).control {
            Observation::Present(control) => Arc::make_mut(control),
            other => panic!("{other:?}"),
        }
    }

    fn restarted(&mut self, node: usize) {
        let wanted = self.desired.instances().remove(node);
        self.health.restarted(&wanted, self.now);
    }

    fn probe(&mut self, node: usize, outcome: Result<(), &str>) {
        let answer = |()| Answer { latency_ms: 300, address: None };
        let failed = |why: &str| Failed { why: why.to_owned(), suspect: Suspect::Node };
        let probed = Probed { at: self.now, outcome: outcome.map(answer).map_err(failed) };
        self.probes.insert(format!("eu-{node}").parse().unwrap(), probed);
    }
}

fn serving(wanted: &Instance) -> observe::Instance {
    observe::Instance {
        process: Observation::Present(Process { pid: 7, started: 1 }),
        control: Observation::Present(Arc::new(Control {
            bootstrap: Bootstrap { progress: 100, ..Bootstrap::default() },
            circuit_established: true,
            network_live: Some(true),
            socks_listeners: wanted.nodes.iter().map(|node| node.socks).collect(),
            ..Control::default()
        })),
        ..observe::Instance::default()
    }
}

fn asked(name: &str, rung: Rung) -> Vec<(String, Rung)> {
    vec![(name.to_owned(), rung)]
}

#[test]
fn a_pool_that_serves_needs_nothing_and_wakes_nobody() {
    let mut ward = Ward::of(3);
    assert_eq!((ward.examine(), ward.health.next(ward.now)), (Care::default(), None));
    assert!(ward.health.findings(&ward.desired).is_empty() && ward.health.incident().is_none());
}

#[test]
fn each_failed_check_tries_something_else() {
    let mut ward = Ward::of(2);
    ward.control(0).circuit_established = false;
    ward.control(0).renewal.done = 7;
    assert_eq!(ward.after(0), []);
    assert_eq!(ward.health.next(ward.now), Some(ward.now + Duration::from_secs(10)));
    assert_eq!(ward.after(10), [], "two looks close together are one check");
    assert_eq!(ward.health.renewals().count(), 0);
    assert_eq!(ward.after(5), asked("eu-0", Rung::NewCircuits));
    assert_eq!(ward.health.renewals().map(|(_, before)| before).collect::<Vec<_>>(), [7]);
    assert_eq!(ward.after(15), asked("eu-0", Rung::Reconnect), "it has no exit that could be left alone");
    assert_eq!(ward.after(15), asked("eu-0", Rung::Restart));
    ward.restarted(0);
    assert_eq!(ward.after(15), asked("eu-0", Rung::NewCircuits));
    assert_eq!(ward.after(15), asked("eu-0", Rung::Reconnect));
    assert_eq!(ward.after(15), [], "it was restarted just now");
    assert_eq!(ward.after(15), asked("eu-0", Rung::RestartAfresh));
    let finding = &ward.health.findings(&ward.desired)[&"eu-0".parse().unwrap()];
    assert!(finding.to_string().starts_with("it can build no circuit; 7 checks have failed"), "{finding}");
    ward.control(0).circuit_established = true;
    assert_eq!(ward.after(1), []);
    assert!(ward.health.findings(&ward.desired).is_empty());
}

#[test]
fn an_exit_that_does_not_serve_is_left_alone_for_a_while() {
    let mut ward = Ward::of(2);
    let fingerprint = Fingerprint::from_bytes([7; 20]);
    ward.control(0).exit = Some(observe::ObservedExit { fingerprint, confirmed: true });
    for rung in [Rung::NewCircuits, Rung::AvoidExit] {
        ward.now += SignedDuration::from_secs(60);
        ward.probe(0, Err("no answer"));
        ward.probe(1, Ok(()));
        assert_eq!(ward.after(0), asked("eu-0", rung));
    }
    let avoided = |ward: &Ward| ward.health.avoided(ward.now).map(|(_, exits)| exits).collect::<Vec<_>>();
    assert_eq!(avoided(&ward), [BTreeSet::from([fingerprint])]);
    ward.probes.clear();
    ward.after(29 * 60);
    assert_eq!(avoided(&ward), [BTreeSet::from([fingerprint])], "also after it is well");
    ward.after(60);
    assert_eq!(avoided(&ward), [BTreeSet::new()], "its options are taken back");
    ward.after(600);
    assert!(avoided(&ward).is_empty());
}

/// A dead exit takes every circuit with it, so that none is left to tell which exit it was.
#[test]
fn the_only_exit_of_an_instance_is_left_alone_when_no_circuit_can_be_built() {
    let mut ward = Ward::of(2);
    let fingerprint = Fingerprint::from_bytes([7; 20]);
    let control = ward.control(0);
    control.options.set(EXIT_NODES, [format!("${fingerprint}").as_str()]);
    (control.circuit_established, control.exit) = (false, None);
    ward.after(0);
    assert_eq!(ward.after(15), asked("eu-0", Rung::NewCircuits));
    assert_eq!(ward.after(15), asked("eu-0", Rung::AvoidExit));
    let avoided: Vec<_> = ward.health.avoided(ward.now).collect();
    assert_eq!(avoided, [(&"eu-0".parse().unwrap(), BTreeSet::from([fingerprint]))]);
}

#[test]
fn a_bootstrap_fails_no_check_while_it_goes_on_or_tor_says_that_it_will() {
    let mut ward = Ward::of(2);
    for progress in [10, 30, 50, 60] {
        ward.control(0).bootstrap.progress = progress;
        assert_eq!(ward.after(100), [], "at {progress} %");
    }
    ward.control(0).bootstrap.ignorable = true;
    assert_eq!([ward.after(100), ward.after(100), ward.after(100), ward.after(100)], [const { Vec::new() }; 4]);
    ward.control(0).bootstrap.ignorable = false;
    assert_eq!(ward.after(1), []);
    assert_eq!([ward.after(45), ward.after(45)], [vec![], vec![]]);
    assert_eq!(ward.health.stuck(ward.now), [&"eu-0".parse().unwrap()].into());
    assert_eq!(ward.after(45), asked("eu-0", Rung::Restart));
    ward.restarted(0);
    assert_eq!([ward.after(45), ward.after(45)], [vec![], vec![]]);
    assert_eq!(ward.after(45), asked("eu-0", Rung::RestartAfresh));
}

#[test]
fn one_that_gives_no_answer_is_restarted_after_so_many_looks_in_a_row() {
    let mut ward = Ward::of(2);
    let hung = observe::Instance {
        control: Observation::Unknown("no answer".to_owned()),
        hangs: true,
        ..ward.instance(1).clone()
    };
    let answering = std::mem::replace(ward.instance(1), hung.clone());
    assert_eq!([ward.after(0), ward.after(15)], [vec![], vec![]]);
    *ward.instance(1) = answering;
    assert_eq!([ward.after(15), ward.after(61)], [vec![], vec![]], "it has answered again");
    *ward.instance(1) = hung.clone();
    assert_eq!([ward.after(15), ward.after(15)], [vec![], vec![]]);
    assert_eq!(ward.after(15), asked("eu-1", Rung::Restart));
    *ward.instance(1) = observe::Instance { hangs: false, ..hung };
    assert_eq!(ward.after(100), [], "what cannot be observed for another reason is left alone");
}

#[test]
fn a_network_that_is_down_is_one_incident_and_nobody_is_restarted() {
    let mut ward = Ward::of(3);
    for node in 0..3 {
        ward.control(node).circuit_established = false;
        ward.control(node).network_live = Some(false);
    }
    for _ in 0..20 {
        assert_eq!(ward.after(60), []);
    }
    let incident = ward.health.incident().unwrap();
    assert_eq!((incident.cause, incident.instances), (Outage::NetworkDown, 3));
    assert_eq!(ward.now.duration_since(incident.since), SignedDuration::from_secs(19 * 60));
    for node in 0..3 {
        *ward.control(node) = (**serving(&ward.desired.instances()[node]).control.present().unwrap()).clone();
    }
    ward.after(1);
    assert!(ward.health.incident().is_none());
}

#[test]
fn one_that_fails_first_is_not_restarted_before_another_one_was_asked() {
    let mut ward = Ward::of(3);
    ward.probe(1, Ok(()));
    ward.probe(2, Ok(()));
    for _ in 0..9 {
        ward.now += SignedDuration::from_secs(20);
        ward.probe(0, Err("no answer"));
        assert_eq!(ward.after(1), [], "the others passed before it failed");
    }
    ward.probe(2, Ok(()));
    ward.now += SignedDuration::from_secs(20);
    ward.probe(0, Err("no answer"));
    assert_eq!(ward.after(1), asked("eu-0", Rung::NewCircuits));

    // Without a probe, tor's own word that the network is down is believed.
    let mut ward = Ward::of(3);
    ward.control(0).circuit_established = false;
    ward.control(0).network_live = Some(false);
    assert!((0..9).all(|_| ward.after(60).is_empty()));
    ward.control(0).network_live = Some(true);
    assert_eq!(ward.after(15), asked("eu-0", Rung::NewCircuits));
}

#[test]
fn a_trouble_that_all_have_is_no_ones_own_and_one_that_few_have_is() {
    let mut ward = Ward::of(4);
    (0..4).for_each(|node| ward.control(node).circuit_established = false);
    ward.after(0);
    assert!(ward.health.incident().is_none(), "circuits come and go");
    for _ in 0..5 {
        assert_eq!(ward.after(15), []);
        assert_eq!(ward.health.incident().unwrap().cause, Outage::NoneServes);
    }
    ward.control(3).circuit_established = true;
    ward.after(15);
    assert!(ward.health.incident().is_none());
    assert_eq!(ward.after(15).len(), 3);
}

#[test]
fn a_pool_that_starts_is_no_incident() {
    let mut ward = Ward::of(3);
    for progress in [10, 20, 30, 50, 60, 75, 90, 95] {
        (0..3).for_each(|node| ward.control(node).bootstrap.progress = progress);
        assert_eq!(ward.after(20), []);
        ward.after(1);
        assert!(ward.health.incident().is_none(), "at {progress} %");
    }
    (0..3).for_each(|node| {
        ward.control(node).bootstrap.progress = 100;
        ward.control(node).circuit_established = false;
    });
    ward.after(1);
    ward.after(5);
    assert!(ward.health.incident().is_none(), "the first circuits take a moment");
}

#[test]
fn restarts_are_few_at_once() {
    let mut ward = Ward::of(12);
    (0..8).for_each(|node| ward.control(node).circuit_established = false);
    ward.after(0);
    ward.after(15);
    ward.after(15);
    let restarts = ward.after(15);
    assert_eq!(restarts.len(), RESTARTS_AT_ONCE, "{restarts:?}");
    assert_eq!(most_unavailable(&ward.desired, &"eu".parse().unwrap()), 3);
    ward.desired.reconcile.max_unavailable_percent = 1;
    assert_eq!(ward.after(0).len(), 1, "and no more than may be unavailable");
}

#[test]
fn one_that_ends_over_and_over_is_held_down_longer_each_time() {
    let mut ward = Ward::of(2);
    let name: InstanceName = "eu-0".parse().unwrap();
    for _ in 0..4 {
        ward.restarted(0);
        assert_eq!(ward.examine().held_down, BTreeMap::new());
        ward.now += SignedDuration::from_secs(2);
    }
    for minutes in [5, 10, 20, 40, 60, 60] {
        ward.restarted(0);
        let held = ward.examine().held_down[&name].clone();
        assert_eq!(held.until, ward.now + SignedDuration::from_mins(minutes));
        ward.after(minutes * 60);
        assert_eq!(ward.examine().held_down, BTreeMap::new());
    }
    ward.after(2 * 3_600 + 1);
    ward.restarted(0);
    assert_eq!(ward.examine().held_down, BTreeMap::new(), "it stayed up");
}

#[test]
fn who_has_mended_what_was_wrong_need_not_wait() {
    let mut ward = Ward::of(2);
    let name: InstanceName = "eu-0".parse().unwrap();
    (0..6).for_each(|_| ward.restarted(0));
    assert_eq!(ward.health.reset(ward.now), [name]);
    assert!(ward.examine().held_down.is_empty() && ward.health.restarts().is_empty());
    assert_eq!(ward.health.reset(ward.now), []);
    ward.restarted(0);
    assert!(ward.examine().held_down.is_empty(), "counting begins anew");
}

#[test]
fn another_wish_is_another_case() {
    let mut ward = Ward::of(2);
    (0..6).for_each(|_| ward.restarted(0));
    ward.control(0).circuit_established = false;
    assert!(!ward.examine().held_down.is_empty());
    Arc::make_mut(&mut ward.desired.pools[0].torrc).insert("NumCPUs".to_owned(), vec!["1".to_owned()]);
    assert!(ward.examine().held_down.is_empty());
}

#[test]
fn each_probe_that_fails_is_a_check_and_one_that_passes_clears_the_record() {
    let mut ward = Ward::of(2);
    for expected in [1, 2] {
        ward.now += SignedDuration::from_secs(60);
        ward.probe(0, Err("no answer"));
        ward.probe(1, Ok(()));
        ward.examine();
        ward.after(20);
        let finding = ward.health.findings(&ward.desired)[&"eu-0".parse().unwrap()].clone();
        assert_eq!(finding.failures, expected, "a look is not a probe");
    }
    ward.now += SignedDuration::from_secs(60);
    ward.probe(0, Err("no answer"));
    assert_eq!(ward.after(0), asked("eu-0", Rung::Restart));
    ward.probe(0, Ok(()));
    ward.after(1);
    ward.probe(0, Ok(()));
    ward.after(1);
    ward.probe(0, Err("no answer"));
    ward.probe(1, Ok(()));
    ward.after(0);
    assert_eq!(ward.health.findings(&ward.desired)[&"eu-0".parse().unwrap()].failures, 1);
    for _ in 0..9 {
        ward.probe(0, Err("no answer"));
        ward.probe(1, Err("no answer"));
        assert_eq!(ward.after(20), []);
    }
    assert_eq!(ward.health.incident().unwrap().cause, Outage::ProbeFails);
}

/// A site that answers wrongly, or a file of this host's that cannot be read, is no reason to restart a tor: not even the only
/// one, of which no other can tell that it is not its fault.
#[test]
fn nobody_is_restarted_for_what_a_site_has_answered_or_what_this_host_lacks() {
    let site = [Some(Rung::NewCircuits), Some(Rung::AvoidExit), None, None, None, None];
    for (suspect, rungs) in [(Suspect::Site, site), (Suspect::Host, [None; 6])] {
        let mut ward = Ward::of(1);
        ward.control(0).exit =
            Some(observe::ObservedExit { fingerprint: Fingerprint::from_bytes([7; 20]), confirmed: true });
        for (checks, rung) in (1..).zip(rungs) {
            ward.now += SignedDuration::from_secs(60);
            let failed = Failed { why: "certificate expired".to_owned(), suspect };
            ward.probes.insert("eu-0".parse().unwrap(), Probed { at: ward.now, outcome: Err(failed) });
            let asked = ward.after(0);
            assert_eq!(asked.first().map(|(_, rung)| *rung), rung, "{suspect:?} at {checks} checks");
        }
        let finding = &ward.health.findings(&ward.desired)[&"eu-0".parse().unwrap()];
        assert!(finding.to_string().starts_with("its probe fails: certificate expired; 6 checks"), "{finding}");
    }
}

/// tor goes on to say that it can build circuits for as long as its directory would do.
#[test]
fn a_tor_whose_circuits_all_fail_is_in_trouble_whatever_it_says() {
    let mut ward = Ward::of(2);
    ward.control(0).begun = Begun { built: 9, failed: FAILED_IN_A_ROW - 1 };
    assert_eq!((ward.after(60), ward.after(60)), (vec![], vec![]));
    assert_eq!(ward.health.in_trouble().count(), 0, "some always fail");
    ward.control(0).begun.failed = FAILED_IN_A_ROW;
    assert_eq!(ward.after(0), []);
    assert_eq!(ward.health.renewals().count(), 1, "it is asked for a circuit first");
    assert_eq!((ward.after(15), ward.after(600)), (vec![], vec![]), "and no check fails before that has failed");
    for rung in [Rung::NewCircuits, Rung::Reconnect, Rung::Restart] {
        ward.control(0).begun.failed += 1;
        assert_eq!(ward.after(15), asked("eu-0", rung));
    }
    let finding = &ward.health.findings(&ward.desired)[&"eu-0".parse().unwrap()];
    assert!(finding.to_string().starts_with("the last 8 circuits that it began have failed; 3 checks"), "{finding}");
    ward.control(0).begun = Begun { built: 10, failed: 0 };
    ward.after(1);
    assert_eq!(ward.health.in_trouble().count(), 0);
}

#[test]
fn after_a_change_one_circuit_that_fails_is_enough_and_none_is_as_well_when_it_is_late() {
    for (failed, at_once) in [(1, true), (0, false)] {
        let mut ward = Ward::of(2);
        ward.settling.insert("eu-0".parse().unwrap(), ward.now + SignedDuration::from_secs(15));
        ward.control(0).begun = Begun { built: 0, failed };
        ward.after(0);
        assert_eq!(ward.health.in_trouble().count(), usize::from(at_once));
        ward.after(15);
        let finding = &ward.health.findings(&ward.desired)[&"eu-0".parse().unwrap()];
        assert!(finding.to_string().starts_with("it has built no circuit since its options were changed"), "{finding}");
        ward.control(0).begun.failed += 1;
        assert_eq!(ward.after(15), asked("eu-0", Rung::NewCircuits));
        ward.control(0).begun.built = 1;
        ward.control(0).begun.failed = 0;
        ward.after(1);
        assert_eq!(ward.health.in_trouble().count(), 0);
    }
}
