use std::sync::Arc;

use super::*;
use crate::desired::{Country, Desired, ExitPolicy, Pool};
use crate::observe::{Bootstrap, Control, Observation};
use crate::plan::{Applied, Mandate};
use crate::tor::layout::Layout;
use crate::tor::options::EXIT_NODES;
use crate::tor::options::RunningOptions;

/// A pool's wish: its name, its size, its countries, and whether addresses or subnets have to differ.
type Wished<'a> = (&'a str, u16, &'a [&'a str], ExitPolicy);

fn distinct() -> ExitPolicy {
    ExitPolicy { distinct: true, ..ExitPolicy::default() }
}

fn subnets(prefix: u8) -> ExitPolicy {
    ExitPolicy { avoid_shared_subnet: Some(prefix), ..ExitPolicy::default() }
}

fn desired(pools: &[Wished<'_>]) -> Desired {
    let pool = |(name, size, countries, exits): &Wished<'_>| Pool {
        name: name.parse().unwrap(),
        size: *size,
        countries: Arc::new(countries.iter().map(|code| code.parse().unwrap()).collect()),
        listen: [127, 0, 0, 1].into(),
        socks_port: 30_000,
        rotate_every: None,
        nodes_per_instance: std::num::NonZeroU16::MIN,
        exits: exits.clone().into(),
        torrc: <_>::default(),
    };
    Desired { pools: pools.iter().map(pool).collect(), ..Desired::default() }
}

fn fingerprint(number: u16) -> Fingerprint {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    Fingerprint::from_bytes(bytes)
}

/// Exits with these addresses, countries and weights.
fn relays(exits: &[(&str, &str, u64)]) -> Relays {
    let exit = |(number, (address, code, bandwidth)): (u16, &(&str, &str, u64))| {
        let country: Option<Country> = code.parse().ok();
        (fingerprint(number), Exit { address: address.parse().unwrap(), country, bandwidth: *bandwidth })
    };
    Relays::new(String::new(), (0..).zip(exits).map(exit).collect())
}

/// What runs, with the exit that each has so far.
struct Host {
    desired: Desired,
    relays: Relays,
    mandate: Mandate,
    runs_with: BTreeMap<InstanceName, Option<Fingerprint>>,
}

impl Host {
    fn of(pools: &[Wished<'_>], exits: &[(&str, &str, u64)]) -> Self {
        let desired = desired(pools);
        let runs_with = desired.instances().into_iter().map(|instance| (instance.name, None)).collect();
        Self { desired, relays: relays(exits), mandate: Mandate::default(), runs_with }
    }

    fn share_out(&self) -> BTreeMap<InstanceName, Lot> {
        let instance = |exit: &Option<Fingerprint>| {
            let mut options = RunningOptions::default();
            if let Some(exit) = exit {
                options.set(EXIT_NODES, [format!("${exit}").as_str()]);
            }
            let bootstrap = Bootstrap { progress: 100, ..Bootstrap::default() };
            let control = Observation::Present(Arc::new(Control { options, bootstrap, ..Control::default() }));
            Instance { control, ..Instance::default() }
        };
        let observed = Observed {
            instances: self.runs_with.iter().map(|(name, exit)| (name.clone(), instance(exit))).collect(),
            relays: Observation::Present(Arc::new(self.relays.clone())),
            ..Observed::default()
        };
        let layout = Layout { runtime_dir: "/r".into(), state_dir: "/s".into(), torrc_defaults: None };
        let (applied, mandate) = (Applied::default(), &self.mandate);
        let wish = Wish { desired: &self.desired, applied: &applied, layout: &layout, panel_port: None, mandate };
        let wanted = wish.wanted();
        let mut deciding = Deciding::new(&wish, &observed, &wanted);
        deciding.share_out();
        deciding.own
    }

    /// Shares out, and lets everybody run with what they were given; what they were not, they keep.
    fn settle(&mut self) -> BTreeMap<InstanceName, Lot> {
        let lots = self.share_out();
        for (name, lot) in &lots {
            if let Lot::Exit(exits) = lot {
                self.runs_with.insert(name.clone(), exits.only());
            }
        }
        lots
    }

    fn exit(&self, name: &str) -> Option<Fingerprint> {
        self.runs_with[&name.parse::<InstanceName>().unwrap()]
    }
}

fn sentences(lots: &BTreeMap<InstanceName, Lot>) -> BTreeSet<String> {
    let sentence = |lot: &Lot| match lot {
        Lot::Nothing(reason) => Some(reason.to_string()),
        _ => None,
    };
    lots.values().filter_map(sentence).collect()
}

const EIGHT: [(&str, &str, u64); 8] = [
    ("10.1.0.1", "de", 10),
    ("10.1.0.2", "de", 20),
    ("10.2.0.1", "de", 30),
    ("10.2.0.2", "fr", 40),
    ("10.3.0.1", "fr", 50),
    ("10.3.0.2", "nl", 60),
    ("10.4.0.1", "nl", 70),
    ("10.4.0.2", "nl", 80),
];

#[test]
fn more_exits_than_exist_are_refused_with_the_numbers_and_the_rest_is_served() {
    let mut host = Host::of(&[("eu", 20, &["de", "fr", "nl"], distinct())], &EIGHT);
    let lots = host.settle();
    let given: BTreeSet<_> = host.runs_with.values().flatten().collect();
    assert_eq!((given.len(), lots.values().filter(|lot| matches!(lot, Lot::Nothing(_))).count()), (8, 12));
    assert_eq!(sentences(&lots), ["eu: 20 distinct exits wished, 8 exist in de, fr, nl".to_owned()].into());
    assert_eq!(host.settle(), lots, "whoever has one keeps it");
}

#[test]
fn subnets_are_told_apart_by_their_prefix_and_two_exits_at_one_address_are_one() {
    let mut host = Host::of(&[("eu", 5, &[], subnets(16))], &EIGHT);
    let lots = host.settle();
    assert_eq!(host.runs_with.values().flatten().count(), 4);
    assert_eq!(sentences(&lots), ["eu: 5 exits in /16 subnets of their own wished, 4 exist".to_owned()].into());

    let mut host = Host::of(&[("eu", 2, &[], distinct())], &[("10.1.0.1", "de", 1), ("10.1.0.1", "de", 1)]);
    let lots = host.settle();
    assert_eq!(sentences(&lots), ["eu: 2 distinct exits wished, 1 exist".to_owned()].into());
}

#[test]
fn pools_that_both_ask_for_it_share_no_exit() {
    let pools: [Wished<'_>; 2] = [("any", 6, &[], distinct()), ("de", 3, &["de"], distinct())];
    let mut host = Host::of(&pools, &EIGHT);
    let lots = host.settle();
    // Who can have the German ones alone goes first.
    assert!(["de-0", "de-1", "de-2"].iter().all(|name| host.exit(name).is_some()), "{:?}", host.runs_with);
    assert_eq!(host.runs_with.values().flatten().collect::<BTreeSet<_>>().len(), 8);
    let expected = "any: 6 distinct exits wished, 8 exist, 3 of them used by other pools";
    assert_eq!(sentences(&lots), [expected.to_owned()].into());
}

#[test]
fn an_exit_that_leaves_or_is_avoided_is_drawn_anew_and_nobody_else_moves() {
    let mut host = Host::of(&[("eu", 4, &[], distinct())], &EIGHT);
    host.settle();
    let before = host.runs_with.clone();
    let left = host.exit("eu-2").unwrap();
    host.relays.exits_mut().remove(&left);
    host.settle();
    let moved = |host: &Host, before: &BTreeMap<InstanceName, Option<Fingerprint>>| -> Vec<String> {
        before.iter().filter(|(name, exit)| host.runs_with[*name] != **exit).map(|(name, _)| name.to_string()).collect()
    };
    assert_eq!(moved(&host, &before), ["eu-2"]);

    let before = host.runs_with.clone();
    let name: InstanceName = "eu-1".parse().unwrap();
    host.mandate.avoid.insert(name.clone(), [host.exit("eu-1").unwrap()].into());
    host.mandate.turns.insert(name, 1);
    host.settle();
    assert_eq!(moved(&host, &before), ["eu-1"]);
}

#[test]
fn what_another_one_still_runs_with_is_waited_for() {
    let two: [(&str, &str, u64); 2] = [("10.1.0.1", "de", 1), ("10.2.0.1", "de", 1)];
    let mut host = Host::of(&[("eu", 2, &[], distinct())], &two);
    // Somebody who is not wanted any more still runs with one of the two.
    host.runs_with.insert("old-0".parse().unwrap(), Some(fingerprint(0)));
    let lots = host.settle();
    assert_eq!(lots.values().filter(|lot| **lot == Lot::Later).count(), 1);
    host.runs_with.remove(&"old-0".parse::<InstanceName>().unwrap());
    host.settle();
    assert_eq!(host.runs_with.values().flatten().collect::<BTreeSet<_>>().len(), 2);
}

#[test]
fn who_has_no_other_exit_keeps_the_one_that_should_be_left_alone() {
    let two: [(&str, &str, u64); 2] = [("10.1.0.1", "de", 1), ("10.2.0.1", "de", 1)];
    let mut host = Host::of(&[("eu", 2, &[], distinct())], &two);
    host.settle();
    let before = host.runs_with.clone();
    for (name, exit) in &before {
        host.mandate.avoid.insert(name.clone(), exit.iter().copied().collect());
        host.mandate.turns.insert(name.clone(), 1);
    }
    host.settle();
    assert_eq!(host.runs_with, before);
}

#[test]
fn who_keeps_the_one_that_should_be_left_alone_is_waited_for_by_nobody() {
    let three: [(&str, &str, u64); 3] = [("10.1.0.1", "de", 1), ("10.2.0.1", "de", 1), ("10.1.0.2", "de", 1)];
    let mut host = Host::of(&[("eu", 3, &[], subnets(24))], &three);
    for number in 0..3 {
        let name: InstanceName = format!("eu-{number}").parse().unwrap();
        host.runs_with.insert(name.clone(), Some(fingerprint(number)));
        if number < 2 {
            host.mandate.avoid.insert(name, [fingerprint(number)].into());
        }
    }
    // The first shares its subnet with the third, and the second finds nothing better than what it has.
    let lots = host.settle();
    assert_eq!(sentences(&lots).len(), 1, "{lots:?}");
    assert!(lots.values().all(|lot| *lot != Lot::Later), "{lots:?}");
}

#[test]
fn exits_are_drawn_in_proportion_to_their_weights() {
    const NAMES: u16 = 4_000;
    let mut drawn = BTreeMap::<Fingerprint, u32>::new();
    for index in 0..NAMES {
        // Each alone with all exits.
        let mut host = Host::of(&[(&format!("p{index}"), 1, &[], distinct())], &EIGHT);
        host.settle();
        *drawn.entry(host.exit(&format!("p{index}-0")).unwrap()).or_default() += 1;
    }
    let weights: u64 = EIGHT.iter().map(|(.., weight)| weight).sum();
    for (number, (_, _, weight)) in (0..).zip(EIGHT) {
        let expected =
            f64::from(NAMES) * f64::from(u32::try_from(weight).unwrap()) / f64::from(u32::try_from(weights).unwrap());
        let seen = f64::from(drawn.get(&fingerprint(number)).copied().unwrap_or_default());
        // Four standard deviations.
        assert!((seen - expected).abs() < 4.0 * expected.sqrt(), "exit {number}: {seen} of {expected}");
    }
}

#[test]
fn turns_walk_over_all_exits() {
    let mut host = Host::of(&[("eu", 1, &[], distinct())], &EIGHT);
    let name: InstanceName = "eu-0".parse().unwrap();
    let mut seen = BTreeSet::new();
    for turn in 0..60 {
        host.mandate.turns.insert(name.clone(), turn);
        let before = host.exit("eu-0");
        host.mandate.avoid.insert(name.clone(), before.into_iter().collect());
        host.settle();
        assert_ne!(host.exit("eu-0"), before);
        seen.extend(host.exit("eu-0"));
    }
    assert!(seen.len() >= 7, "{}", seen.len());
}
