//! Tests of the driver that need no firewall: the laws of compiling, listings of real nfts, and a broken tool.

use std::fs;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::firewall::model::Ports;
use crate::firewall::tests::{guards, scripted};

const LISTED: &str = include_str!("../../../tests/fixtures/nftables/listed-by-1.0.6.json");
const DORMANT: &str = include_str!("../../../tests/fixtures/nftables/dormant-listed-by-1.0.6.json");
const TAMPERED: &str = include_str!("../../../tests/fixtures/nftables/tampered-listed-by-1.0.6.json");

fn read(listing: &str) -> Canonical {
    Canonical::read(serde_json::from_str(listing).unwrap()).unwrap()
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// What `guard.nft`, of which the listings were made, is as a guard.
fn listed_guard() -> Guard {
    Guard {
        socks_ports: vec![Ports { first: 30_000, last: 30_009 }, Ports { first: 30_050, last: 30_050 }],
        socks_allow: networks(&[
            "10.1.0.0/16",
            "10.5.0.1/32",
            "10.5.0.2/31",
            "10.5.0.4/30",
            "10.5.0.8/31",
            "203.0.113.7/32",
            "203.0.113.8/32",
            "2001:db8::/32",
        ]),
        panel_port: Some(8080),
        panel_allow: networks(&["0.0.0.0/0"]),
        control_ports: Some(Ports { first: 40_000, last: 40_099 }),
        icmp_per_second: 10,
        ..Guard::default()
    }
}

#[test]
fn a_real_listing_is_what_its_guard_compiles_to() {
    let seen = read(LISTED);
    assert_eq!(seen, compile::canonical(&listed_guard()).unwrap());
    assert_eq!(compile::decompile(&seen), Some(listed_guard()));
}

#[test]
fn a_dormant_table_is_told_by_the_flag_that_1_0_6_misspells() {
    let wanted = compile::canonical(&listed_guard()).unwrap();
    let said = differences::between(&wanted, &read(DORMANT));
    assert_eq!(said, ["table is dormant: none of its rules is in force"]);
    for (flags, words) in [(json!("dormant"), "is dormant"), (json!(["owner", "persist"]), r#"["owner","persist"]"#)] {
        let mut seen = read(LISTED);
        seen.table = read_table(&json!({"name": "exitpool", "flags": flags}));
        let said = differences::between(&wanted, &seen);
        assert!(matches!(said.as_slice(), [one] if one.contains(words)), "{said:?}");
    }
}

fn read_table(table: &Value) -> canonical::Properties {
    Canonical::read(json!({"nftables": [{"table": table}]})).unwrap().table
}

#[test]
fn a_real_tampering_is_told_in_sentences() {
    let wanted = compile::canonical(&listed_guard()).unwrap();
    assert_eq!(
        differences::between(&wanted, &read(TAMPERED)),
        [
            "set socks4: 203.0.113.7 is missing",
            r#"set socks4: {"elem":{"comment":"mine","val":{"prefix":{"addr":"198.51.100.0","len":24}}}} should not be there"#,
            "chain extra is not ours",
            r#"chain guard: rule 1 "tcp dport { 22, 80-90 } accept" is not ours"#,
            "counter big is not ours",
        ]
    );
}

#[test]
fn many_differences_are_counted() {
    let allow = |count: u32| (0..count).map(|n| IpNet::from(std::net::IpAddr::from([10, 0, 0, 2 * n as u8]))).collect();
    let wanted = compile::canonical(&Guard { socks_allow: allow(40), ..Guard::default() }).unwrap();
    let said = differences::between(&wanted, &compile::canonical(&Guard::default()).unwrap());
    assert_eq!(said.len(), 11);
    assert_eq!(said[0], "set socks4: 10.0.0.0 is missing");
    assert_eq!(said[10], "set socks4: and 30 more of this sort");
}

#[test]
fn what_versions_write_differently_is_the_same() {
    let with = |flags: Value, counter: Value, element: Value| {
        Canonical::read(json!({"nftables": [
            {"metainfo": {"version": "x"}},
            {"rule": {"family": "inet", "table": "exitpool", "chain": "c", "handle": 3, "expr": [
                {"match": {"op": "!=", "left": {"fib": {"result": "type", "flags": flags}}, "right": "local"}},
                {"counter": counter},
            ]}},
            {"table": {"family": "inet", "name": "exitpool", "handle": 9}},
            {"set": {"name": "s", "table": "exitpool", "elem": element}},
        ]}))
        .unwrap()
    };
    let one = with(json!(["daddr"]), json!({"packets": 1, "bytes": 2}), json!([{"range": ["10.0.0.0", "10.0.0.255"]}]));
    let other =
        with(json!("daddr"), Value::Null, json!({"elem": {"val": {"prefix": {"addr": "10.0.0.9", "len": 24}}}}));
    assert_eq!(one, other);
}

#[test]
fn what_is_no_listing_is_refused() {
    for (document, error) in [
        (json!([]), CanonicalError::Shape),
        (json!({"nftables": {}}), CanonicalError::Shape),
        (json!({"nftables": []}), CanonicalError::NoTable),
        (json!({"nftables": [{"metainfo": {}}]}), CanonicalError::NoTable),
        (json!({"nftables": [7]}), CanonicalError::Object("7".into())),
        (json!({"nftables": [{"chain": {}}]}), CanonicalError::Object("a chain without its name".into())),
    ] {
        assert_eq!(Canonical::read(document), Err(error));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_guard_survives_compiling(guard in guards()) {
        let table = compile::canonical(&guard).unwrap();
        prop_assert_eq!(compile::decompile(&table), Some(guard));
    }

    #[test]
    fn two_guards_never_look_the_same(one in guards(), other in guards()) {
        let (a, b) = (compile::canonical(&one).unwrap(), compile::canonical(&other).unwrap());
        prop_assert_eq!(one == other, a == b);
        prop_assert_eq!(one == other, differences::between(&a, &b).is_empty());
    }
}

/// A driver whose nft is a shell script.
struct Broken {
    driver: Nftables,
    _directory: tempfile::TempDir,
}

fn broken(script: &str) -> Broken {
    let (nft, directory) = scripted("nft", script);
    Broken { driver: Nftables { nft, listener: None, read: Mutex::default() }, _directory: directory }
}

/// A tool that cannot be understood says nothing about the firewall, and nothing is changed on its word.
#[tokio::test]
async fn a_broken_tool_is_unknown_and_never_absent() {
    let cases = [
        ("kill -SEGV $$", "nft crashed (signal: 11 (SIGSEGV)"),
        ("echo '{\"nftables\": [{\"table\"'", "cannot understand the answer of nft: it is no JSON"),
        ("true", "cannot understand the answer of nft: it is no JSON"),
        ("echo '{\"nftables\": [{\"metainfo\": {}}]}'", "cannot understand the answer of nft: the table is not in it"),
        ("echo 'Operation not permitted (you must be root)' >&2", "run exitpool as root or with CAP_NET_ADMIN"),
        ("echo 'netlink: Error: cache initialization failed: Operation not permitted' >&2; exit 1", "CAP_NET_ADMIN"),
        ("echo 'Error: Could not process rule: Device or resource busy' >&2; exit 1", "nft refused: Error: Could not"),
    ];
    for (script, words) in cases {
        let nft = broken(script);
        let observed = nft.driver.observe(&listed_guard()).await;
        assert!(observed.unknown().is_some_and(|why| why.contains(words)), "{script}: {observed:?}");
        let error = nft.driver.apply(&listed_guard()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{script}: {error}");
    }
}

#[tokio::test]
async fn a_tool_that_hangs_is_given_up() {
    let mut nft = broken("exec sleep 1000");
    nft.driver.nft.deadline = Duration::from_millis(50);
    let observed = nft.driver.observe(&listed_guard()).await;
    assert!(observed.unknown().is_some_and(|why| why.contains("did not end within")), "{observed:?}");
}

#[tokio::test]
async fn a_missing_tool_says_what_to_do() {
    let mut nft = broken("true");
    nft.driver.nft.program = "exitpool-no-such-nft".to_owned();
    let error = nft.driver.apply(&listed_guard()).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot run nft: install it, or choose another firewall.driver");
    assert!(nft.driver.observe(&listed_guard()).await.unknown().is_some());
}

#[tokio::test]
async fn only_enoent_of_the_table_is_absent() {
    let nft = broken("echo 'Error: No such file or directory\nlist table inet exitpool' >&2; exit 1");
    assert_eq!(nft.driver.observe(&listed_guard()).await, Observation::Absent);
}

/// The transaction of an update is refused once, as by an object that cannot be deleted: the table is made anew.
#[tokio::test]
async fn a_table_that_cannot_be_mended_is_made_anew() {
    let nft = broken(&format!(
        "here=$(dirname $0)
        case $2 in
            list) cat {fixture} ;;
            -f) cat >> $here/got; echo >> $here/got; [ -e $here/tried ] || {{ touch $here/tried; echo Busy >&2; exit 1; }} ;;
        esac",
        fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nftables/tampered-listed-by-1.0.6.json"),
    ));
    nft.driver.apply(&listed_guard()).await.unwrap();
    let got = fs::read_to_string(std::path::Path::new(&nft.driver.nft.program).with_file_name("got")).unwrap();
    let transactions: Vec<Value> = got.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wanted = compile::canonical(&listed_guard()).unwrap();
    let expected =
        [transaction::update(&listed_guard(), &wanted, &read(TAMPERED)), transaction::replace(&listed_guard())];
    assert_eq!(transactions.len(), 2);
    for (transaction, expected) in transactions.iter().zip(&expected) {
        assert_eq!(*transaction, serde_json::to_value(expected).unwrap());
    }
    assert!(!got.lines().next().unwrap().contains(r#"{"delete":{"table""#), "an update leaves the table in place");
}

/// The commands that lead from one whitelist to another, as `verb object` or `verb object: elements`.
fn refilled(from: &[&str], to: &[&str]) -> Vec<String> {
    let canonical =
        |texts: &[&str]| compile::canonical(&Guard { socks_allow: networks(texts), ..listed_guard() }).unwrap();
    let Some(document) = transaction::refill(&canonical(to), &canonical(from)) else { return Vec::new() };
    let document = serde_json::to_value(document).unwrap();
    let commands = document["nftables"].as_array().unwrap().iter().map(|command| {
        let (verb, object) = command.as_object().unwrap().iter().next().unwrap();
        let (kind, what) = object.as_object().unwrap().iter().next().unwrap();
        let elements = what["elem"].as_array().map(|elements| format!(": {}", elements.len())).unwrap_or_default();
        format!("{verb} {kind} {}{elements}", what["name"].as_str().unwrap())
    });
    commands.collect()
}

#[test]
fn few_elements_are_changed_one_by_one_and_many_as_a_whole() {
    let twenty: Vec<String> = (0..20).map(|n| format!("10.0.{n}.0/32")).collect();
    let all: Vec<&str> = twenty.iter().map(String::as_str).collect();
    assert_eq!(refilled(&all, &all), [""; 0]);
    assert_eq!(refilled(&all, &all[10..]), ["delete element socks4: 10"]);
    assert_eq!(refilled(&all, &all[11..]), ["flush set socks4", "add element socks4: 9"]);
    assert_eq!(refilled(&all[..1], &all), ["add element socks4: 19"]);
    assert_eq!(
        refilled(&["10.0.0.0/31"], &["10.0.0.1/32", "::1/128"]),
        ["delete element socks4: 1", "add element socks4: 1", "add element socks6: 1"]
    );
}

#[test]
fn where_more_than_members_differs_the_rules_are_made_anew() {
    let canonical = |guard: &Guard| compile::canonical(guard).unwrap();
    let seen = canonical(&listed_guard());
    let other_ports = canonical(&Guard { panel_port: None, ..listed_guard() });
    assert_eq!(transaction::refill(&other_ports, &seen), None);
    let mut dormant = canonical(&Guard { socks_allow: Vec::new(), ..listed_guard() });
    dormant.table.insert("flags".to_owned(), "dormant".into());
    assert_eq!(transaction::refill(&seen, &dormant), None);
}
