use std::sync::Arc;

use super::*;
use crate::desired::{InstanceName, Node, NodeName};

fn running(options: &[(&str, &[&str])]) -> RunningOptions {
    let mut running = RunningOptions::default();
    options.iter().for_each(|(name, values)| running.set(name, values.iter().copied()));
    running
}

fn instance(socks_allow: Option<&[&str]>) -> Instance {
    let node: NodeName = "eu-0".parse().unwrap();
    Instance {
        name: InstanceName::from_first_node(&node),
        pool: node.pool().clone(),
        nodes: vec![Node { name: node, socks: "[::]:30000".parse().unwrap() }],
        countries: <_>::default(),
        exits: <_>::default(),
        torrc: <_>::default(),
        socks_allow: socks_allow.map(|nets| Arc::new(nets.iter().map(|net| net.parse().unwrap()).collect())),
    }
}

#[test]
fn values_are_written_as_tor_gives_them_back() {
    // Each pair was set on and read from tor 0.4.9.11.
    for (name, written, canonical) in [
        ("MaxMemInQueues", "256 MB", "268435456"),
        ("maxmeminqueues", "1 gbyte", "1073741824"),
        ("BandwidthRate", "1.5 MB", "1572864"),
        ("BandwidthBurst", "12 mbits", "1572864"),
        ("ConstrainedSockSize", "3 KB", "3072"),
        ("KeepalivePeriod", "3 minutes", "180"),
        ("MaxCircuitDirtiness", "100 days", "2592000"),
        ("MaxCircuitDirtiness", "1", "10"),
        ("HeartbeatPeriod", "60", "1800"),
        ("HeartbeatPeriod", "0", "0"),
        ("LogTimeGranularity", "2 seconds", "2000"),
        ("CircuitPriorityHalflife", "0.5", "0.500000"),
        ("NumEntryGuards", "007", "7"),
        ("TrackHostExits", " a.com ,  b.com", "a.com,b.com"),
        ("LongLivedPorts", "21, 22", "21,22"),
        ("ExcludeNodes", "{de}, {fr},{??}", "{de},{fr}"),
        ("KeepalivePeriod", "3 min", "3 min"),
    ] {
        assert_eq!(canonical::values(name, [written]), [canonical], "{name} {written}");
        assert_eq!(canonical::values(name, [canonical]), [canonical], "{name} {canonical}");
    }
}

#[test]
fn exits_are_compared_as_a_set() {
    let (a, b) = ("$000102030405060708090a0b0c0d0e0f10111213", "$00000000000000000000000000000000000000AB");
    let one = running(&[("ExitNodes", &[&format!("{a}, {b}")])]);
    let other = running(&[("ExitNodes", &[&format!("{b},{}", a.to_uppercase())])]);
    assert_eq!(one, other);
    assert_eq!(difference(&one, &other), []);
}

#[test]
fn ports_open_only_with_the_exits() {
    let torrc = "SocksPort 0\nClientOnly 1\n";
    let unresolved = wanted(&instance(None), &ExitChoice::Unresolved, torrc);
    for ports in [&["0"], &["[::]:30000"]] {
        let is = running(&[("SocksPort", ports), ("ExitNodes", &["{de}"]), ("ClientOnly", &["1"])]);
        assert_eq!(difference(&unresolved, &is), []);
    }
    let exit: Fingerprint = "000102030405060708090a0b0c0d0e0f10111213".parse().unwrap();
    let resolved = wanted(&instance(None), &ExitChoice::Only(ExitNodes::of([exit].into()).unwrap()), torrc);
    let fresh = running(&[("SocksPort", &["0"]), ("ClientOnly", &["1"])]);
    let changes = difference(&resolved, &fresh);
    assert_eq!(
        set_command(&changes, &RunningOptions::default()),
        "RESETCONF ExitNodes=\"$000102030405060708090A0B0C0D0E0F10111213\" SocksPort=\"[::]:30000\""
    );
    let any = wanted(&instance(None), &ExitChoice::Any, torrc);
    let strict = running(&[("SocksPort", &["[::]:30000"]), ("ExitNodes", &["{de}"]), ("ClientOnly", &["1"])]);
    assert_eq!(set_command(&difference(&any, &strict), &RunningOptions::default()), "RESETCONF ExitNodes");
}

#[test]
fn the_whitelist_is_repeated_and_this_host_is_always_in_it() {
    let of = |allow| wanted(&instance(allow), &ExitChoice::Any, "").values("SocksPolicy").to_vec();
    assert_eq!(
        of(Some(&["203.0.113.0/24", "2001:db8::/32"])),
        ["accept 127.0.0.0/8,accept [::1]/128,accept 203.0.113.0/24,accept [2001:db8::]/32,reject *:*"]
    );
    assert_eq!(of(Some(&[])), ["accept 127.0.0.0/8,accept [::1]/128,reject *:*"]);
    assert!(of(None).is_empty());
}

#[test]
fn what_nobody_wants_is_reset_to_the_default_that_applies() {
    let is = running(&[("ConnLimit", &["700"]), ("StrictNodes", &["1"])]);
    let changes = difference(&RunningOptions::default(), &is);
    let defaults = RunningOptions::parse("ConnLimit 500\n");
    assert_eq!(set_command(&changes, &defaults), "RESETCONF ConnLimit=\"500\" StrictNodes");
}

#[test]
fn names_are_compared_in_any_case_and_by_their_alias() {
    let is = running(&[("MaxMemInQueues", &["268435456"]), ("ExcludeNodes", &["a"])]);
    assert_eq!(difference(&RunningOptions::parse("maxmeminqueues 256 MB\nexcludenode a\n"), &is), []);
    let changes = difference(&RunningOptions::parse("maxmemincellqueues 1 GB\nExcludeNodes a\n"), &is);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].to_string(), "MaxMemInQueues: 268435456 → 1073741824");
}

#[test]
fn an_option_that_is_given_several_times_is_set_several_times() {
    let want = RunningOptions::parse("MapAddress a b\nMapAddress c d\n");
    let changes = difference(&want, &RunningOptions::default());
    let command = set_command(&changes, &RunningOptions::default());
    assert_eq!(command, "RESETCONF MapAddress=\"a b\" MapAddress=\"c d\"");
}

#[test]
fn answers_by_name_replace_what_was_known() {
    let mut options = RunningOptions::parse("SocksPort 0\nContactInfo x\n");
    options.take_answers(["SocksPort=9050", "SocksPort=9051", "ExitNodes=", "ContactInfo=\"\\303\\251 \\\"q\\\" #\""]);
    assert_eq!(options, running(&[("SocksPort", &["9050", "9051"]), ("ContactInfo", &["é \"q\" #"])]));
}

#[test]
fn what_a_running_tor_refuses_needs_a_start() {
    assert_eq!(settable("sandbox"), Settable::AtStart);
    assert_eq!(settable("DataDirectory"), Settable::AtStart);
    assert_eq!(settable("MaxMemInQueues"), Settable::AtRuntime);
}

#[test]
fn no_value_can_leave_its_quotes() {
    let changes = [OptionChange { name: "ContactInfo".into(), from: vec![], to: vec!["a\"\r\nSIGNAL HALT\\".into()] }];
    let command = set_command(&changes, &RunningOptions::default());
    assert_eq!(command, r#"RESETCONF ContactInfo="a\"\r\nSIGNAL HALT\\""#);
}
