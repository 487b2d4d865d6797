use proptest::prelude::*;

use super::*;

const RULE: RuleName = RuleName::Drift;

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// The same moment on both clocks; `jump` is by how much somebody has set the clock of the day.
fn at(second: u64, jump: i64) -> Now {
    let of_day = Timestamp::from_second(1_772_366_400 + i64::try_from(second).unwrap() + jump).unwrap();
    Now { since_boot: seconds(1_000 + second), of_day }
}

fn found(mark: &str) -> Found {
    Found::Findings(vec![Finding {
        about: "host".to_owned(),
        severity: Severity::Warning,
        summary: "x".to_owned(),
        details: Vec::new(),
        mark: mark.to_owned(),
    }])
}

fn nothing() -> Found {
    Found::Findings(Vec::new())
}

fn judged(lasting: u64, found: Found) -> Vec<Judgement> {
    vec![Judgement { rule: RULE, lasting: seconds(lasting), found }]
}

fn alerts(repeat_every: u64) -> Alerts {
    Alerts { repeat_every: seconds(repeat_every), ..Alerts::default() }
}

/// Steps at seconds, with what is found at each, and says what was told when.
fn told(lasting: u64, repeat_every: u64, steps: impl IntoIterator<Item = (u64, Found)>) -> Vec<(u64, Happened)> {
    let (mut engine, alerts) = (Engine::default(), alerts(repeat_every));
    let mut told = Vec::new();
    for (second, found) in steps {
        let transitions = engine.step(&judged(lasting, found), &alerts, at(second, 0));
        told.extend(transitions.into_iter().map(|transition| (second, transition.happened)));
    }
    told
}

use Happened::{Raised, Repeated, Resolved};

#[test]
fn it_fires_once_it_has_lasted_and_is_over_once_it_has_stayed_away() {
    let here = |seconds: std::ops::Range<u64>| seconds.map(|second| (second, found("")));
    let gone = |seconds: std::ops::Range<u64>| seconds.map(|second| (second, nothing()));
    assert_eq!(told(60, 9_999, here(0..60)), [], "not yet");
    assert_eq!(told(60, 9_999, here(0..61)), [(60, Raised)]);
    assert_eq!(told(60, 9_999, here(0..300).chain(gone(300..600))), [(60, Raised), (360, Resolved)]);
    assert_eq!(told(0, 9_999, here(0..2).chain(gone(2..30))), [(0, Raised), (12, Resolved)]);
}

#[test]
fn a_blip_is_no_message_and_one_within_an_incident_none_either() {
    let blip = [(0, found("")), (59, found("")), (60, nothing()), (61, found("")), (120, found(""))];
    assert_eq!(told(60, 9_999, blip), []);
    let within =
        [(0, found("")), (60, found("")), (61, nothing()), (119, nothing()), (120, found("")), (999, found(""))];
    assert_eq!(told(60, 9_999, within), [(60, Raised)]);
}

#[test]
fn it_is_repeated_for_as_long_as_it_goes_on() {
    let steps = (0..100).map(|step| (step * 10, found("")));
    assert_eq!(told(0, 300, steps), [(0, Raised), (300, Repeated), (600, Repeated), (900, Repeated)]);
}

#[test]
fn what_nobody_knows_raises_and_ends_nothing() {
    let steps = [(0, found("")), (30, Found::Unknown), (60, Found::Unknown)];
    assert_eq!(told(60, 9_999, steps), []);
    let steps = [(0, found("")), (60, Found::Unknown), (61, found("")), (99, Found::Unknown), (9_000, Found::Unknown)];
    assert_eq!(told(60, 9_999, steps), [(61, Raised)]);
}

#[test]
fn another_mark_is_another_incident() {
    let fresh = (0..100).map(|step| (step * 10, found(&format!("read at {step}"))));
    assert_eq!(told(60, 9_999, fresh), [], "what is always renewed never lasts");
    let stale = (0..20).map(|step| (step * 10, found("long ago")));
    let again = (20..60).map(|step| (step * 10, found(&format!("read at {step}"))));
    assert_eq!(told(60, 9_999, stale.chain(again)), [(60, Raised), (260, Resolved)]);
}

#[test]
fn what_flaps_has_to_stay_away_longer_each_time() {
    assert_eq!([1, 2, 3].map(|raised| calm(seconds(60), raised).as_secs()), [60, 120, 240]);
    assert_eq!(calm(seconds(0), 1), SHORTEST_CALM);
    assert_eq!([calm(seconds(86_400), 1), calm(seconds(60), 99)], [LONGEST_FIRST_CALM, LONGEST_CALM]);
    // It comes and goes every 15 s for two hours.
    let flapping = (0..480).map(|step| (step * 15, if step % 2 == 0 { found("") } else { nothing() }));
    let told = told(0, 99_999, flapping);
    assert!(told.len() <= 4, "{told:?}");
}

#[test]
fn a_silence_keeps_it_back_until_it_ends() {
    let mut engine = Engine::default();
    let until = at(100, 0).of_day;
    let silence = crate::desired::alerts::Silence { rule: RULE, about: None, until };
    let alerts = Alerts { silences: vec![silence], ..alerts(9_999) };
    let step = |engine: &mut Engine, second, found| engine.step(&judged(0, found), &alerts, at(second, 0));
    assert_eq!(step(&mut engine, 0, found("")), []);
    assert_eq!(engine.shown(&alerts, at(1, 0))[0].state, State::Silenced);
    assert_eq!(step(&mut engine, 99, found("")), []);
    let raised = step(&mut engine, 100, found(""));
    assert_eq!((raised[0].happened, raised[0].began), (Raised, at(0, 0).of_day));
    assert_eq!(engine.shown(&alerts, at(101, 0))[0].state, State::Firing);
}

#[test]
fn what_was_silenced_to_its_end_is_never_told() {
    let mut engine = Engine::default();
    let silence = crate::desired::alerts::Silence { rule: RULE, about: Some("host".to_owned()), until: Timestamp::MAX };
    let alerts = Alerts { silences: vec![silence], ..alerts(9_999) };
    for second in 0..200 {
        let found = if second < 100 { found("") } else { nothing() };
        assert_eq!(engine.step(&judged(0, found), &alerts, at(second, 0)), []);
    }
}

#[test]
fn a_rule_that_is_taken_out_ends_what_it_has_raised() {
    let (mut engine, alerts) = (Engine::default(), alerts(9_999));
    let raised = engine.step(&judged(0, found("")), &alerts, at(0, 0)).remove(0);
    let ended = engine.step(&[], &alerts, at(1, 0)).remove(0);
    assert_eq!((ended.happened, ended.incident, ended.sequence), (Resolved, raised.incident, 1));
    assert_eq!(engine, Engine::default());
}

#[test]
fn a_restart_neither_repeats_an_incident_nor_forgets_it() {
    let alerts = alerts(300);
    let mut engine = Engine::default();
    let raised = engine.step(&judged(0, found("")), &alerts, at(0, 0)).remove(0);
    let kept: Vec<Kept> = serde_json::from_str(&serde_json::to_string(&engine.kept()).unwrap()).unwrap();
    for (boot, repeated) in [(Boot::Same, 300), (Boot::Another, 310)] {
        let mut engine = Engine::recall(kept.clone(), boot, at(10, 0));
        let mut told = Vec::new();
        for second in 10..400 {
            let transitions = engine.step(&judged(0, found("")), &alerts, at(second, 0));
            told.extend(transitions.into_iter().map(|it| (second, it.happened, it.sequence, it.incident)));
        }
        assert_eq!(told, [(repeated, Repeated, 1, raised.incident.clone())], "{boot:?}");
        let mut over = Vec::new();
        for second in 400..500 {
            over.extend(engine.step(&judged(0, nothing()), &alerts, at(second, 0)));
        }
        assert_eq!((over.len(), over[0].happened, over[0].sequence), (1, Resolved, 2), "{boot:?}");
    }
}

#[test]
fn it_says_when_to_look_again() {
    let (mut engine, alerts) = (Engine::default(), alerts(300));
    assert_eq!(engine.next(&alerts), None);
    engine.step(&judged(60, found("")), &alerts, at(0, 0));
    assert_eq!(engine.next(&alerts), Some(at(60, 0).since_boot));
    engine.step(&judged(60, found("")), &alerts, at(60, 0));
    assert_eq!(engine.next(&alerts), Some(at(360, 0).since_boot));
    engine.step(&judged(60, nothing()), &alerts, at(70, 0));
    assert_eq!(engine.next(&alerts), Some(at(130, 0).since_boot));
}

fn world() -> impl Strategy<Value = Vec<(u64, Option<bool>, i64)>> {
    let found = prop_oneof![5 => Just(Some(true)), 4 => Just(Some(false)), 1 => Just(None)];
    let jump = prop_oneof![4 => Just(0), 1 => -400_000_000_i64..400_000_000];
    proptest::collection::vec((1_u64..200, found, jump), 1..200)
}

/// Plays a world, with or without the jumps of its clock; says second, what happened, incident and sequence.
fn play(world: &[(u64, Option<bool>, i64)], lasting: u64, jumps: bool) -> Vec<(u64, Happened, u32)> {
    let (mut engine, alerts) = (Engine::default(), alerts(600));
    let (mut second, mut all) = (0, Vec::new());
    for (pause, found_now, jump) in world {
        second += pause;
        let found = match found_now {
            Some(true) => found(""),
            Some(false) => nothing(),
            None => Found::Unknown,
        };
        let now = at(second, if jumps { *jump } else { 0 });
        let told = engine.step(&judged(lasting, found), &alerts, now);
        all.extend(told.into_iter().map(|it| (second, it.happened, it.sequence)));
    }
    all
}

proptest! {
    /// Each incident is raised, then repeated, then over, with one number more each; and nothing is repeated too soon.
    #[test]
    fn messages_of_an_incident_come_in_order(world in world(), lasting in 0_u64..400) {
        let mut open: Option<(u32, u64)> = None;
        for (second, happened, sequence) in play(&world, lasting, false) {
            open = match (open, happened) {
                (None, Raised) => { prop_assert_eq!(sequence, 0); Some((0, second)) }
                (Some((before, since)), Repeated) => {
                    prop_assert_eq!(sequence, before + 1);
                    prop_assert!(second - since >= 600);
                    Some((sequence, second))
                }
                (Some((before, _)), Resolved) => { prop_assert_eq!(sequence, before + 1); None }
                (open, happened) => return Err(TestCaseError::fail(format!("{happened:?} after {open:?}"))),
            };
        }
    }

    /// Nothing fires that was not found, without a break, for as long as the rule says.
    #[test]
    fn nothing_fires_that_has_not_lasted(world in world(), lasting in 1_u64..400) {
        let raised = play(&world, lasting, false).into_iter().filter(|told| told.1 == Raised);
        for (at, _, _) in raised {
            let mut second = 0;
            let mut begun = None;
            for (pause, found, _) in &world {
                second += pause;
                if second > at { break; }
                match found {
                    Some(true) => begun = begun.or(Some(second)),
                    Some(false) => begun = None,
                    None => {}
                }
            }
            prop_assert!(begun.is_some_and(|begun| at - begun >= lasting), "{at} {begun:?}");
        }
    }

    /// However the clock of the day jumps, the same is told at the same time.
    #[test]
    fn no_jump_of_the_clock_repeats_anything_or_keeps_it_back(world in world(), lasting in 0_u64..400) {
        prop_assert_eq!(play(&world, lasting, true), play(&world, lasting, false));
    }
}
