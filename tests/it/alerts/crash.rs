//! What a crash, a storm and a clock that is set do to alerts: nothing.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::desk::{Desk, FIRES, RESTS};
use super::endpoint::{Endpoint, ok};
use crate::support::skip;

/// The library that gives a program another clock of the day; the clock since the boot stays the host's.
fn libfaketime() -> Option<String> {
    let places = fs::read_dir("/usr/lib").unwrap().flatten().map(|it| it.path().join("faketime/libfaketimeMT.so.1"));
    places.into_iter().find(|path| path.exists()).map(|path| path.display().to_string())
}

fn hook(name: &str, endpoint: &Endpoint) -> String {
    format!("{{name: {name}, webhook: {{url: '{}'}}}}", endpoint.url())
}

#[test]
fn what_was_decided_before_a_kill_is_delivered_after_it_and_decided_once() {
    let Some(mut desk) = Desk::new() else { return };
    let endpoint = Endpoint::new(&desk.host.netns);
    endpoint.answer(|_| ("503 Down", "", String::new()));
    desk.desire(&hook("hook", &endpoint), FIRES);
    desk.start();
    let refused = endpoint.wait(1).remove(0);
    kill_process(Pid::from_raw(desk.host.pid().try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    desk.host.stop();

    endpoint.answer(|_| ok());
    let before = endpoint.kept().len();
    desk.start();
    let taken = endpoint.wait(before + 1).remove(before);
    assert_eq!(taken.header("idempotency-key"), refused.header("idempotency-key"));
    assert_eq!(taken.body, refused.body);
    desk.says("nothing waits", |alerts| {
        alerts["channels"][0]["waiting"] == 0 && Desk::fires(alerts, "state_directory_full")
    });

    // The incident goes on over another kill, and its end is told.
    kill_process(Pid::from_raw(desk.host.pid().try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    desk.host.stop();
    desk.desire(&hook("hook", &endpoint), RESTS);
    desk.start();
    let over = endpoint.wait(before + 2).remove(before + 1).json();
    assert_eq!((over["happened"].as_str(), &over["incident"]), (Some("resolved"), &taken.json()["incident"]));
    let keys: Vec<_> = endpoint.kept()[before..].iter().map(|it| it.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "nothing came twice: {keys:?}");
}

/// All rules look, at once, and every tor dies again and again: that is one incident.
#[test]
fn a_storm_is_one_message_a_channel() {
    let Some(mut desk) = Desk::new() else { return };
    let endpoints = [Endpoint::new(&desk.host.netns), Endpoint::new(&desk.host.netns)];
    let channels = [hook("one", &endpoints[0]), hook("other", &endpoints[1])].join(", ");
    let rules = "node_failure_rate: {for: 3s}, firewall_apply_failed: {}, certificate_expiry: {}, brute_force: {}, \
                 drift: {for: 0s}, source_stale: {after: 10m}, revision_stalled: {for: 0s}, rolled_back: {}, \
                 rotation_failed: {}, exits_short: {for: 0s}, tor_update_pending: {for: 0s}, channel_failing: {}";
    desk.write(&format!(
        "pools: [{{name: eu, size: 6, socks_port: 30000}}]\nalerts:\n  channels: [{channels}]\n  rules: {{{rules}}}\n"
    ));
    desk.start();
    endpoints.iter().for_each(|endpoint| _ = endpoint.wait(1));
    for _ in 0..3 {
        crate::support::end_tors_in(&desk.at(""));
        std::thread::sleep(Duration::from_secs(3));
    }
    for endpoint in &endpoints {
        let kept: Vec<_> = endpoint.kept().iter().map(|request| request.json()).collect();
        assert_eq!(kept.len(), 1, "{kept:#?}");
        assert_eq!(kept[0]["rule"], "node_failure_rate");
    }
}

#[test]
fn a_clock_that_is_set_repeats_nothing_and_keeps_nothing_back() {
    let Some(mut desk) = Desk::new() else { return };
    let Some(library) = libfaketime() else {
        return skip("there is no libfaketime (Debian: apt install libfaketime)");
    };
    let clock = desk.file("clock", "+0");
    let environment = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", clock),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let endpoint = Endpoint::new(&desk.host.netns);
    desk.desire(&hook("hook", &endpoint), FIRES);
    let path = desk.at("clock");
    let set = |offset: &str| fs::write(&path, offset).unwrap();
    desk.host.environment = environment.to_vec();
    desk.start();
    let raised = endpoint.wait(1).remove(0).json();
    let passes = |desk: &Desk| desk.host.metric("exitpool_reconcile_total{result=\"success\"}");
    for offset in ["+400d", "-400d", "+10y", "+0"] {
        set(offset);
        let before = passes(&desk);
        crate::support::eventually(|| (passes(&desk) >= before + 2.0).then_some(())).expect("the daemon stands still");
        assert_eq!(endpoint.kept().len(), 1, "{offset}: {:#?}", endpoint.kept());
    }
    // It was really set: what people read says so.
    set("-400d");
    desk.desire(&hook("hook", &endpoint), RESTS);
    let over = endpoint.wait(2).remove(1).json();
    assert_eq!((over["happened"].as_str(), &over["incident"]), (Some("resolved"), &raised["incident"]));
    assert!(over["at"].as_str().unwrap() < raised["began"].as_str().unwrap(), "{over} {raised}");
}
