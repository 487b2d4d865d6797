//! Laws and examples of the budget.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use proptest::prelude::*;

use super::*;
use crate::desired::{Fingerprint, Pool};
use crate::observe::{Bootstrap, Control, GuardRelay, Instance, Observation, Process, Renewal};
use crate::tor::relays::Relays;

fn name(number: usize) -> InstanceName {
    format!("eu-{number}").parse().unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn renewal(before: u64) -> Occasion {
    Occasion::Renewal { before }
}

/// So many instances, with options that name guard relays.
fn desired(size: usize, options: &[(&str, &str)]) -> Desired {
    let torrc = options.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
    let pool = Pool {
        name: "eu".parse().unwrap(),
        size: size.try_into().unwrap(),
        countries: <_>::default(),
        listen: [127, 0, 0, 1].into(),
        socks_port: 30_000,
        rotate_every: None,
        nodes_per_instance: NonZeroU16::MIN,
        exits: <_>::default(),
        torrc: Arc::new(torrc),
    };
    Desired { pools: vec![pool], ..Desired::default() }
}

fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint::from_bytes([number; 20])
}

/// An instance that was seen at a guard relay, and has used new circuits so often.
fn instance(relay: u8, done: u64) -> Instance {
    let relay = GuardRelay { fingerprint: fingerprint(relay), nickname: format!("guard{relay}") };
    let renewal = Renewal { done, ..Renewal::default() };
    let bootstrap = Bootstrap { progress: 100, ..Bootstrap::default() };
    let control = Control { guard_relays: [relay].into(), renewal, bootstrap, ..Control::default() };
    let process = Observation::Present(Process { pid: 1, started: 1 });
    Instance { control: Observation::Present(Arc::new(control)), process, ..Instance::default() }
}

/// A world with these limits, of instances that were seen at these guard relays, and have used new circuits so often.
fn world(limits: Option<CircuitLimits>, relays: &[u8], done: u64) -> Observed {
    let mut known = Relays::new("2026-03-01 12:00:00".to_owned(), BTreeMap::new());
    known.circuit_limits = limits;
    let instances = relays.iter().enumerate().map(|(number, relay)| (name(number), instance(*relay, done))).collect();
    Observed { instances, relays: Observation::Present(Arc::new(known)), ..Observed::default() }
}

/// A budget of instances with these guard relays.
fn budget(limits: Option<CircuitLimits>, relays: &[u8]) -> Budget {
    let mut budget = Budget::default();
    follow(&mut budget, &desired(relays.len(), &[]), &world(limits, relays, 0), 0);
    budget
}

/// Lets a budget see a world in which nobody is told to use new circuits, and nobody is stuck.
fn follow(budget: &mut Budget, desired: &Desired, observed: &Observed, second: i64) {
    let seen = Seen { desired, observed, renew: &BTreeMap::new(), stuck: &BTreeSet::new() };
    budget.follow(&seen, at(second));
}

/// How many of so many instances may start at once.
fn starts(budget: &mut Budget, size: usize) -> usize {
    (0..size).filter(|number| budget.admit(&name(*number), Occasion::Start, at(0)).is_ok()).count()
}

fn waits(word: &Word) -> bool {
    matches!(word, Word::Wait(_))
}

#[test]
fn a_crowd_waits_at_its_guard_relay_and_nobody_else_does() {
    let mut relays = vec![1; 12];
    relays.push(2);
    let mut crowd = budget(Some(USUAL), &relays);
    let words: Vec<Word> = (0..13).map(|number| crowd.ask(&name(number), Occasion::Start, at(0))).collect();
    let begin = words.iter().filter(|word| **word == Word::Begin).count();
    assert_eq!(
        begin, 3,
        "60 less 12 for consumers and 36 that twelve tors begin by themselves; and who has a relay for itself"
    );
    let relay = format!("guard1 ({})", fingerprint(1));
    assert_eq!((&words[12], &words[2]), (&Word::Begin, &Word::Wait(Paced { relay, circuits: 12, seconds: 30 })));
    follow(&mut crowd, &desired(13, &[]), &world(Some(USUAL), &relays, 0), 0);
    assert_eq!(crowd.next(), Some(at(30)));
    assert!(waits(&crowd.ask(&name(2), Occasion::Start, at(29))));
    assert_eq!(crowd.ask(&name(2), Occasion::Start, at(30)), Word::Begin);
}

#[test]
fn what_a_daemon_before_has_begun_is_waited_for() {
    let relays = [1; 12];
    let mut crowd = budget(Some(USUAL), &relays);
    assert_eq!(starts(&mut crowd, 12), 2);
    crowd.spent.push(Spent { at: at(0), name: name(9), occasion: Occasion::Probe, is_open: false });
    let written = serde_json::to_vec(&crowd.kept()).unwrap();
    let read: Vec<Spent> = serde_json::from_slice(&written).unwrap();
    assert_eq!((read.len(), &read), (2, &crowd.kept()), "without the probe");
    // Another daemon reckons an hour ahead, and comes ten seconds later.
    let hour = 3_600;
    let mut next = Budget::recall(&read, |time| time + Duration::from_secs(3_600));
    follow(&mut next, &desired(12, &[]), &world(Some(USUAL), &relays, 0), hour + 10);
    for (second, is_free) in [(11, false), (39, false), (40, true)] {
        assert_eq!(next.ask(&name(5), Occasion::Start, at(hour + second)) == Word::Begin, is_free, "{second}");
    }
    assert!(read[0].is_as(&crowd.kept()[0]) && !read[0].is_as(&next.kept()[0]));
}

#[test]
fn what_takes_several_steps_takes_its_circuits_once() {
    let relays = [1; 12];
    let wish = desired(12, &[]);
    let mut crowd = budget(Some(USUAL), &relays);
    let renew = BTreeMap::from([(name(0), 0)]);
    let see = |crowd: &mut Budget, done, second| {
        let seen = Seen {
            desired: &wish,
            observed: &world(Some(USUAL), &relays, done),
            renew: &renew,
            stuck: &BTreeSet::new(),
        };
        crowd.follow(&seen, at(second));
    };
    let ask = |crowd: &mut Budget, number, before, second| crowd.ask(&name(number), renewal(before), at(second));
    assert_eq!([0, 1].map(|number| ask(&mut crowd, number, 0, 0)), [Word::Begin, Word::Begin]);
    assert!(waits(&ask(&mut crowd, 2, 0, 0)));
    see(&mut crowd, 0, 10);
    assert_eq!(ask(&mut crowd, 0, 0, 100), Word::GoOn, "however late its next step is");
    assert_eq!(ask(&mut crowd, 2, 0, 100), Word::Begin, "nobody goes on with the other one, so its place was free");
    assert!(waits(&ask(&mut crowd, 3, 0, 100)));
    // It is done: its circuits count from now, and the next time is another one, however soon it comes.
    see(&mut crowd, 1, 110);
    assert!(waits(&ask(&mut crowd, 0, 1, 111)));
    assert!(waits(&ask(&mut crowd, 0, 0, 111)), "a new process counts from the beginning");
    assert!(ask(&mut crowd, 0, 1, 139) != Word::GoOn && waits(&ask(&mut crowd, 3, 0, 139)));
    assert_eq!(ask(&mut crowd, 3, 0, 140), Word::Begin);
}

#[test]
fn the_circuits_of_a_start_count_from_when_the_tor_has_bootstrapped() {
    let wish = desired(12, &[]);
    let usual = world(Some(USUAL), &[1; 12], 0);
    let mut slow = usual.clone();
    let starting = Instance { control: Observation::Absent, ..instance(1, 0) };
    slow.instances.insert(name(0), starting.clone());
    let mut crowd = budget(Some(USUAL), &[1; 12]);
    assert_eq!(crowd.ask(&name(0), Occasion::Start, at(0)), Word::Begin);
    assert_eq!(crowd.ask(&name(1), Occasion::Start, at(0)), Word::Begin);
    follow(&mut crowd, &wish, &slow, 20);
    follow(&mut crowd, &wish, &slow, 60);
    assert_eq!(crowd.ask(&name(2), Occasion::Start, at(60)), Word::Begin, "the other one is up since 20 s");
    assert!(waits(&crowd.ask(&name(3), Occasion::Start, at(60))), "one starts still");
    follow(&mut crowd, &wish, &usual, 70);
    assert!(waits(&crowd.ask(&name(3), Occasion::Start, at(99))));
    assert_eq!(crowd.ask(&name(3), Occasion::Start, at(100)), Word::Begin);

    // For one whose bootstrap does not go on nobody waits.
    slow.instances.insert(name(3), starting);
    let (three, nobody) = (name(3), BTreeMap::new());
    let stuck = Seen { desired: &wish, observed: &slow, renew: &nobody, stuck: &BTreeSet::from([&three]) };
    crowd.follow(&stuck, at(110));
    assert!(crowd.spent.iter().all(|spent| !spent.is_open));
}

#[test]
fn a_start_is_a_start_each_time() {
    let mut crowd = budget(Some(USUAL), &[1; 12]);
    assert_eq!([(); 2].map(|()| crowd.ask(&name(0), Occasion::Start, at(0))), [Word::Begin, Word::Begin]);
    assert!(waits(&crowd.ask(&name(0), Occasion::Start, at(0))));
}

#[test]
fn without_a_limit_and_without_a_crowd_nobody_waits() {
    let tight = CircuitLimits { connections: 101, burst: 6, rate: 1 };
    for limits in [None, Some(tight)] {
        let mut free = budget(limits, &[1; 100]);
        assert_eq!(starts(&mut free, 100), 100);
        assert_eq!(free.next(), None);
    }
}

#[test]
fn a_limit_that_no_start_keeps_lets_one_begin_at_a_time() {
    let limits = CircuitLimits { connections: 2, burst: 3, rate: 1 };
    let mut tight = budget(Some(limits), &[1; 3]);
    let ask =
        |tight: &mut Budget, second| [0, 1].map(|number| tight.admit(&name(number), renewal(0), at(second)).is_ok());
    assert_eq!(ask(&mut tight, 0), [true, false]);
    assert_eq!(ask(&mut tight, 2), [true, false], "the one goes on");
    follow(&mut tight, &desired(3, &[]), &world(Some(limits), &[1; 3], 1), 2);
    assert_eq!(tight.next(), Some(at(5)));
    assert!(tight.admit(&name(1), renewal(0), at(5)).is_ok());
}

#[test]
fn an_instance_is_not_made_to_wait_for_a_guard_relay_that_is_not_known() {
    let mut crowd = budget(Some(USUAL), &[1; 12]);
    assert!((100..200).all(|number| crowd.admit(&name(number), Occasion::Start, at(0)).is_ok()));
}

#[test]
fn a_first_start_counts_where_the_options_say_that_it_enters() {
    let (one, other) = (fingerprint(1).to_string(), fingerprint(2).to_string());
    let both = format!("${one},${other}");
    let bridge = format!("192.0.2.1:9001 {one}");
    for (options, most) in [
        (&[("EntryNodes", one.as_str())][..], 3),
        (&[("EntryNodes", both.as_str())], 3),
        (&[("UseBridges", "1"), ("Bridge", bridge.as_str())], 3),
        (&[("UseBridges", "1"), ("Bridge", "192.0.2.1:9001")], 3),
        (&[("UseBridges", "0"), ("Bridge", bridge.as_str())], 10),
        (&[("EntryNodes", "{de}")], 10),
    ] {
        // Nobody has a consensus yet: what the Tor network's says holds.
        let mut fresh = Budget::default();
        follow(&mut fresh, &desired(10, options), &Observed::default(), 0);
        assert_eq!(starts(&mut fresh, 10), most, "{options:?}: 48 less three for each of ten");
    }
}

#[test]
fn of_many_guard_relays_that_are_named_each_tor_is_counted_at_two() {
    let all: Vec<String> = (0..20).map(|number| format!("${}", fingerprint(number))).collect();
    let mut fresh = Budget::default();
    follow(&mut fresh, &desired(20, &[("EntryNodes", &all.join(","))]), &Observed::default(), 0);
    assert_eq!(starts(&mut fresh, 20), 20, "two at each");
    let counted: Vec<usize> = (0..20).map(|number| fresh.doors.of(&name(number)).count()).collect();
    assert_eq!(counted, [2; 20]);
}

#[test]
fn what_was_seen_counts_more_than_what_the_options_name_until_they_name_another() {
    let (first, second) = (fingerprint(1).to_string(), fingerprint(2).to_string());
    let mut budget = Budget::default();
    let two = format!("{first},{second}");
    let seen = world(Some(USUAL), &[1; 2], 0);
    follow(&mut budget, &desired(2, &[("EntryNodes", &two)]), &seen, 0);
    let of = |budget: &Budget| budget.doors.of(&name(0)).map(|door| door.to_string()).collect::<Vec<_>>();
    assert_eq!(of(&budget), std::slice::from_ref(&first));
    let mut stopped = seen.clone();
    stopped.instances.values_mut().for_each(|instance| instance.control = Observation::Absent);
    follow(&mut budget, &desired(2, &[("EntryNodes", &two)]), &stopped, 1);
    assert_eq!(of(&budget), std::slice::from_ref(&first), "it is down, and keeps it");
    follow(&mut budget, &desired(2, &[("EntryNodes", &second)]), &stopped, 2);
    assert_eq!(of(&budget), [second]);

    // A bridge whose line has no fingerprint is the relay at which its tor was seen, also for a tor that has just begun.
    let bridge = [("UseBridges", "1"), ("Bridge", "192.0.2.1:9001")];
    follow(&mut budget, &desired(2, &bridge), &seen, 3);
    follow(&mut budget, &desired(3, &bridge), &seen, 4);
    assert_eq!((of(&budget), budget.doors.users(Entrance::Relay(fingerprint(1)))), (vec![first], 3));
}

proptest! {
    /// Circuits count from the pass that finds them begun.
    #[test]
    fn no_guard_relay_gets_more_circuits_than_its_share(
        relays in proptest::collection::vec(0u8..4, 1..40),
        asked in proptest::collection::vec((0usize..40, 0usize..4, 0i64..4), 1..150),
    ) {
        let (wish, seen) = (desired(relays.len(), &[]), world(Some(USUAL), &relays, 0));
        let mut budget = budget(Some(USUAL), &relays);
        let mut begun: Vec<(i64, u8, Occasion)> = Vec::new();
        let (mut second, mut latest) = (0, None);
        for (which, occasion, pause) in asked {
            second += pause;
            follow(&mut budget, &wish, &seen, second);
            if let Some((at, _, Occasion::Start | Occasion::Renewal { .. })) = latest.and_then(|it| begun.get_mut(it)) {
                *at = second;
            }
            let which = which % relays.len();
            let occasion = [Occasion::Start, renewal(0), renewal(1), Occasion::Probe][occasion];
            let begins = budget.ask(&name(which), occasion, at(second)) == Word::Begin;
            latest = begins.then_some(begun.len());
            begun.extend(begins.then_some((second, relays[which], occasion)));
            let tors = relays.iter().filter(|relay| **relay == relays[which]).count();
            let lately = begun.iter().filter(|(at, relay, _)| *relay == relays[which] && second - at < 30);
            let sum: u32 = lately.map(|(.., occasion)| occasion.circuits()).sum();
            // One at a time begins where the share is less than that.
            let most = USUAL.share(u32::try_from(tors).unwrap()).max(Occasion::Start.circuits());
            prop_assert!(tors < 2 || sum <= most, "{sum} circuits within 30 s at one guard relay");
        }
    }

    /// Whoever waits is let begin at the time that is promised, or somebody who asked before has taken the place.
    #[test]
    fn the_budget_is_free_again_after_a_window(relays in proptest::collection::vec(0u8..2, 2..40)) {
        let (wish, seen) = (desired(relays.len(), &[]), world(Some(USUAL), &relays, 0));
        let mut budget = budget(Some(USUAL), &relays);
        let mut waiting: Vec<usize> = (0..relays.len()).collect();
        let mut rounds = 0;
        while !waiting.is_empty() {
            let (now, before) = (rounds * 31, waiting.len());
            waiting.retain(|number| budget.admit(&name(*number), Occasion::Start, at(now)).is_err());
            prop_assert!(waiting.len() < before, "somebody begins in each window");
            follow(&mut budget, &wish, &seen, now + 1);
            rounds += 1;
        }
        prop_assert!(rounds <= i64::try_from(relays.len()).unwrap());
    }
}
