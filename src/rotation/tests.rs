use super::*;
use crate::desired::{Fingerprint, Pool};
use crate::observe::{Bootstrap, Control, Instance, Observation, ObservedExit, Renewal};

const HOUR: Duration = Duration::from_secs(3_600);

fn desired(size: u16, rotate_every: Option<Duration>) -> Desired {
    let pool = Pool {
        name: "eu".parse().unwrap(),
        size,
        countries: <_>::default(),
        listen: [127, 0, 0, 1].into(),
        socks_port: 30_000,
        rotate_every,
        nodes_per_instance: std::num::NonZeroU16::MIN,
        exits: <_>::default(),
        torrc: <_>::default(),
    };
    Desired { pools: vec![pool], ..Desired::default() }
}

fn name(index: u16) -> InstanceName {
    format!("eu-{index}").parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint::from_bytes([number; 20])
}

/// So many instances that serve, with the exit of that number.
fn world(size: u16, exit: Option<u8>, renewals: u64) -> Observed {
    let control = Control {
        bootstrap: Bootstrap { progress: 100, ..Bootstrap::default() },
        exit: exit.map(|exit| ObservedExit { fingerprint: fingerprint(exit), confirmed: false }),
        renewal: Renewal { done: renewals, ..Renewal::default() },
        ..Control::default()
    };
    let instance = Instance { control: Observation::Present(Arc::new(control)), ..Instance::default() };
    Observed { instances: (0..size).map(|index| (name(index), instance.clone())).collect(), ..Observed::default() }
}

#[expect(clippy::unnecessary_wraps, reason = "that is how one is asked who may")]
fn anybody(_: &InstanceName, _: u64) -> Result<(), Paced> {
    Ok(())
}

fn nobody(_: &InstanceName) -> bool {
    false
}

fn mandate(rotations: &Rotations) -> Mandate {
    let mut mandate = Mandate::default();
    rotations.instruct(&mut mandate);
    mandate
}

#[test]
fn a_rotation_counts_when_tor_has_done_it_and_the_exit_was_read() {
    let desired = desired(1, None);
    let mut rotations = Rotations::default();
    rotations.follow(&desired, &world(1, Some(1), 4), at(0));
    assert_eq!(rotations.order(&name(0), at(0)), Answer::Begins);
    rotations.begin(&desired, nobody, anybody, at(0));
    assert_eq!(rotations.order(&name(0), at(0)), Answer::UnderWay);
    let told = mandate(&rotations);
    assert_eq!(told.renew, BTreeMap::from([(name(0), 4)]));
    assert_eq!(told.avoid, BTreeMap::from([(name(0), BTreeSet::from([fingerprint(1)]))]));

    for (renewals, exit) in [(4, Some(1)), (5, None)] {
        assert_eq!(rotations.follow(&desired, &world(1, exit, renewals), at(1)), []);
    }
    let ended = rotations.follow(&desired, &world(1, Some(2), 5), at(2));
    assert_eq!(ended, [(name(0), Ended::Elsewhere)]);
    let last = Rotation { at: at(2), from: Some(fingerprint(1)), to: fingerprint(2), confirmed: false };
    assert_eq!((rotations.last(&name(0)), rotations.count(&name(0))), (Some(&last), 1));
    // What it has left is left alone until the next time.
    let told = mandate(&rotations);
    assert!(told.renew.is_empty() && told.avoid[&name(0)].contains(&fingerprint(1)));
}

#[test]
fn tors_own_limit_is_kept_and_told() {
    let desired = desired(1, None);
    let mut rotations = Rotations::default();
    rotations.follow(&desired, &world(1, Some(1), 0), at(0));
    // Somebody else has told tor.
    rotations.follow(&desired, &world(1, Some(1), 1), at(100));
    assert_eq!(rotations.order(&name(0), at(103)), Answer::Waits(Duration::from_secs(7)));
    rotations.begin(&desired, nobody, anybody, at(103));
    assert!(mandate(&rotations).renew.is_empty());
    assert_eq!(rotations.next(&desired, at(103)), Some(at(110)));
    rotations.begin(&desired, nobody, anybody, at(110));
    assert_eq!(mandate(&rotations).renew.len(), 1);
}

#[test]
fn a_rotation_without_an_exit_ends_uncounted() {
    let desired = desired(1, None);
    let mut rotations = Rotations::default();
    assert_eq!(rotations.order(&name(0), at(0)), Answer::NotServing);
    rotations.follow(&desired, &world(1, Some(1), 0), at(0));
    rotations.begin(&desired, nobody, anybody, at(0));
    assert_eq!(rotations.next(&desired, at(0)), Some(at(120)));
    assert_eq!(rotations.follow(&desired, &world(1, None, 1), at(119)), []);
    assert_eq!(rotations.follow(&desired, &world(1, None, 1), at(120)), [(name(0), Ended::Unread)]);
    assert_eq!((rotations.count(&name(0)), rotations.last(&name(0))), (0, None));
}

#[test]
fn the_exit_that_is_left_is_looked_for_once_more() {
    let desired = desired(1, None);
    let mut rotations = Rotations::default();
    rotations.follow(&desired, &world(1, None, 0), at(0));
    for exit in [Some(1), None] {
        let mut rotations = rotations.clone();
        rotations.order(&name(0), at(0));
        rotations.begin(&desired, nobody, anybody, at(0));
        assert!(mandate(&rotations).renew.is_empty());
        assert!(rotations.next(&desired, at(0)).unwrap() < at(1));
        rotations.follow(&desired, &world(1, exit, 0), at(1));
        rotations.begin(&desired, nobody, anybody, at(1));
        let told = mandate(&rotations);
        assert_eq!((told.renew.len(), told.avoid[&name(0)].len()), (1, usize::from(exit.is_some())));
    }
}

#[test]
fn nodes_of_a_pool_do_not_rotate_together() {
    const SIZE: u16 = 100;
    let desired = desired(SIZE, Some(HOUR));
    let mut rotations = Rotations::default();
    rotations.follow(&desired, &world(SIZE, Some(1), 0), at(0));
    let mut most = 0;
    for minute in 0..60 {
        rotations.begin(&desired, nobody, anybody, at(minute * 60));
        most = most.max(rotations.under_way());
        rotations.follow(&desired, &world(SIZE, Some(2), 1), at(minute * 60 + 30));
        for entry in rotations.instances.values_mut() {
            // In this world one renewal is as good as many.
            let exit = Some(ObservedExit { fingerprint: fingerprint(2), confirmed: false });
            entry.live.seen = Seen::Serving { exit, only: None, renewals: 0 };
        }
    }
    rotations.begin(&desired, nobody, anybody, at(3_600));
    rotations.follow(&desired, &world(SIZE, Some(2), 1), at(3_630));
    let counts: Vec<u64> = (0..SIZE).map(|index| rotations.count(&name(index))).collect();
    assert!(counts.iter().all(|count| (1..=2).contains(count)), "{counts:?}");
    assert!((2..=8).contains(&most), "{most} in one minute of sixty");
}

#[test]
fn an_order_for_all_is_paced() {
    let desired = desired(40, None);
    let mut rotations = Rotations::default();
    rotations.follow(&desired, &world(40, Some(1), 0), at(0));
    let answers: Vec<Answer> = (0..40).map(|index| rotations.order(&name(index), at(0))).collect();
    let of = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
    assert_eq!((of(Answer::Begins), of(Answer::Queued)), (MOST_AT_ONCE, 40 - MOST_AT_ONCE));
    for round in 1..=3 {
        rotations.begin(&desired, nobody, anybody, at(round * 20));
        assert!(mandate(&rotations).renew.len() <= MOST_AT_ONCE);
        // In this world whoever waits uses new circuits as well.
        rotations.follow(&desired, &world(40, Some(2), 1), at(round * 20));
        rotations.follow(&desired, &world(40, Some(2), 0), at(round * 20));
    }
    assert!((0..40).all(|index| rotations.count(&name(index)) == 1));
}

#[test]
fn a_restart_keeps_the_schedule_and_spreads_what_became_due_meanwhile() {
    let desired = desired(8, Some(HOUR));
    let mut rotations = Rotations::default();
    rotations.follow(&desired, &world(8, Some(1), 0), at(0));
    let next = rotations.next(&desired, at(0)).unwrap();
    let written = serde_json::to_vec(&rotations).unwrap();
    let recall = || serde_json::from_slice::<Rotations>(&written).unwrap();

    let mut soon = recall();
    soon.follow(&desired, &world(8, Some(1), 0), at(1));
    assert_eq!(soon.next(&desired, at(1)), Some(next));

    let mut late = recall();
    late.follow(&desired, &world(8, Some(1), 0), at(86_400));
    late.begin(&desired, nobody, anybody, at(86_400));
    assert!(mandate(&late).renew.is_empty(), "all at once");
    assert!(late.next(&desired, at(86_400)).unwrap() < at(86_400 + 3_600));
}

#[test]
fn who_is_left_alone_or_wanted_no_more_does_not_rotate() {
    let mut rotations = Rotations::default();
    let both = desired(2, Some(HOUR));
    rotations.follow(&both, &world(2, Some(1), 0), at(0));
    rotations.begin(&both, |_| true, anybody, at(7_200));
    assert!(mandate(&rotations).renew.is_empty());
    let one = desired(1, Some(HOUR));
    rotations.follow(&one, &world(2, Some(1), 0), at(7_200));
    rotations.begin(&one, nobody, anybody, at(7_200));
    assert_eq!(mandate(&rotations).renew.into_keys().collect::<Vec<_>>(), [name(0)]);
}

/// What the next daemon makes of what was written down last.
fn next_daemon(written: &[u8]) -> (Rotations, Vec<InstanceName>) {
    let mut rotations: Rotations = serde_json::from_slice(written).unwrap();
    let owing = rotations.resume();
    (rotations, owing)
}

#[test]
fn a_rotation_that_a_restart_interrupts_begins_again_and_leaves_the_same_exit() {
    let desired = desired(3, None);
    let mut rotations = Rotations::default();
    rotations.follow(&desired, &world(3, Some(1), 7), at(0));
    rotations.order(&name(0), at(0));
    rotations.begin(&desired, nobody, anybody, at(0));
    let begun = serde_json::to_vec(&rotations).unwrap();
    let before = rotations.changes();
    rotations.order(&name(1), at(1));
    assert_ne!(rotations.changes(), before, "an order has to be written down");
    for (written, owing) in [(begun, vec![name(0)]), (serde_json::to_vec(&rotations).unwrap(), vec![name(0), name(1)])]
    {
        let (mut next, told) = next_daemon(&written);
        assert_eq!(told, owing);
        assert!(mandate(&next).renew.is_empty(), "by the same door as all others");
        // tor had taken new circuits already, and this daemon does not know which these are.
        next.follow(&desired, &world(3, Some(2), 0), at(500));
        next.begin(&desired, nobody, anybody, at(500));
        let now = mandate(&next);
        assert_eq!(now.renew.into_keys().collect::<Vec<_>>(), owing);
        assert_eq!((&now.avoid[&name(0)], now.turns[&name(0)]), (&BTreeSet::from([fingerprint(1)]), 1));
        assert_eq!(next.follow(&desired, &world(3, Some(3), 1), at(501)).len(), owing.len());
        let last = next.last(&name(0)).unwrap();
        assert_eq!((last.from, last.to), (Some(fingerprint(1)), fingerprint(3)));
        assert_eq!((next.count(&name(0)), next.count(&name(2))), (1, 0));
        next.begin(&desired, nobody, anybody, at(600));
        assert!(mandate(&next).renew.is_empty() && next_daemon(&serde_json::to_vec(&next).unwrap()).1.is_empty());
    }
}

#[test]
fn an_order_for_what_is_gone_is_dropped_and_told() {
    let mut rotations = Rotations::default();
    let four = desired(4, None);
    rotations.follow(&four, &world(4, Some(1), 0), at(0));
    for index in [0, 1, 3] {
        rotations.order(&name(index), at(0));
    }
    let (mut next, _) = next_daemon(&serde_json::to_vec(&rotations).unwrap());
    assert_eq!(next.follow(&desired(3, None), &world(4, Some(1), 0), at(1)), [(name(3), Ended::Gone)]);
    // Its node is served by another tor's now.
    let mut shared = desired(3, None);
    shared.pools[0].nodes_per_instance = std::num::NonZeroU16::new(2).unwrap();
    assert_eq!(next.follow(&shared, &world(3, Some(1), 0), at(2)), [(name(1), Ended::Gone)]);
    assert!(next.knows(&name(0)) && !next.knows(&name(1)));
}

/// A daemon with tors that outlive it: what they leave from, and how often they have renewed as the daemon counts.
struct Tors {
    exits: Vec<u8>,
    renewals: Vec<u64>,
}

impl Tors {
    fn observed(&self) -> Observed {
        let one = |index: usize| world(1, Some(self.exits[index]), self.renewals[index]).instances.remove(&name(0));
        let all = (0..self.exits.len()).map(|index| (name(u16::try_from(index).unwrap()), one(index).unwrap()));
        Observed { instances: all.collect(), ..Observed::default() }
    }

    fn obey(&mut self, told: &Mandate) {
        for (index, (exit, renewals)) in self.exits.iter_mut().zip(&mut self.renewals).enumerate() {
            let name = name(u16::try_from(index).unwrap());
            if told.renew.get(&name).is_some_and(|before| *renewals <= *before) {
                let avoided =
                    |exit: &u8| told.avoid.get(&name).is_some_and(|avoid| avoid.contains(&fingerprint(*exit)));
                *exit = (1..=3).map(|more| (*exit + more) % 3).find(|exit| !avoided(exit)).unwrap();
                *renewals += 1;
            }
        }
    }
}

proptest::proptest! {
    /// Wherever daemons die: what was ordered is done in the end, what was not is not, and the exit is another one.
    #[test]
    fn no_order_is_lost_or_made_up_by_daemons_that_die(
        deeds in proptest::collection::vec((0_usize..4, proptest::bool::ANY, 0_u8..5), 1..40),
    ) {
        let desired = desired(4, None);
        let mut tors = Tors { exits: vec![0; 4], renewals: vec![0; 4] };
        let mut rotations = Rotations::default();
        let mut left: Vec<Option<u8>> = vec![None; 4];
        let mut was_ordered = [false; 4];
        let quiet = std::iter::repeat_n((0, false, 0), 12);
        for (pass, (which, is_ordered, dies)) in (0_i64..).zip(deeds.into_iter().chain(quiet)) {
            let now = at(pass * 20);
            if is_ordered {
                rotations.order(&name(u16::try_from(which).unwrap()), now);
                left[which].get_or_insert(tors.exits[which]);
                was_ordered[which] = true;
            }
            rotations.begin(&desired, nobody, anybody, now);
            // Both an order and what has begun are written down before anything happens.
            let mut written = serde_json::to_vec(&rotations).unwrap();
            let told = mandate(&rotations);
            if dies != 1 {
                tors.obey(&told);
            }
            if !matches!(dies, 1 | 2) {
                for (ended, how) in rotations.follow(&desired, &tors.observed(), now) {
                    proptest::prop_assert_eq!(how, Ended::Elsewhere);
                    let index = usize::from(ended.index());
                    proptest::prop_assert_ne!(Some(tors.exits[index]), left[index]);
                    if dies == 0 {
                        left[index] = None;
                    }
                }
            }
            if dies == 0 {
                written = serde_json::to_vec(&rotations).unwrap();
            } else {
                rotations = next_daemon(&written).0;
                tors.renewals = vec![0; 4];
            }
            proptest::prop_assert!(next_daemon(&written).1.len() <= 4);
        }
        for index in 0..4 {
            proptest::prop_assert_eq!(left[index], None, "{} was ordered and never done", index);
            let last = rotations.last(&name(u16::try_from(index).unwrap()));
            proptest::prop_assert_eq!(last.is_some(), was_ordered[index]);
            proptest::prop_assert!(was_ordered[index] || tors.exits[index] == 0);
        }
    }
}
