//! Tests of the driver that need no firewall: the laws of compiling, saves of real tools, and broken tools.

use proptest::prelude::*;

use super::canonical::Rule;
use super::*;
use crate::firewall::model::Ports;
use crate::firewall::tests::{guards, scripted};

fn networks(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn guard() -> Guard {
    Guard {
        socks_ports: vec![Ports { first: 30_000, last: 30_009 }, Ports { first: 30_050, last: 30_050 }],
        socks_allow: networks(&["10.1.0.0/16", "203.0.113.7/32", "2001:db8::/32"]),
        panel_port: Some(8080),
        panel_allow: networks(&["0.0.0.0/0"]),
        control_ports: Some(Ports { first: 40_000, last: 40_099 }),
        icmp_per_second: 10,
        ..Guard::default()
    }
}

const SAVED_V4: &str = include_str!("../../../tests/fixtures/iptables/saved-by-1.8.9.v4");
const SAVED_V6: &str = include_str!("../../../tests/fixtures/iptables/saved-by-1.8.9.v6");
const SAVED_SETS: &str = include_str!("../../../tests/fixtures/iptables/saved-by-ipset-7.17");

fn saved() -> Canonical {
    Canonical {
        v4: save::table(SAVED_V4).unwrap(),
        v6: save::table(SAVED_V6).unwrap(),
        sets: save::sets(SAVED_SETS).unwrap(),
    }
}

#[test]
fn a_real_save_is_what_its_guard_compiles_to() {
    assert_eq!(saved(), compile::canonical(&guard()));
    assert_eq!(compile::decompile(&saved()), Some(guard()));
}

#[test]
fn what_is_in_place_needs_no_document() {
    let (wanted, seen) = (compile::canonical(&guard()), saved());
    assert_eq!(restore::table(&wanted.v4, &seen.v4), None);
    assert_eq!(restore::sets(&wanted.sets, &seen.sets), "");
}

#[test]
fn a_set_is_filled_aside_and_swapped_in_with_halves_for_everybody() {
    let wanted = compile::canonical(&Guard { socks_allow: networks(&["0.0.0.0/0", "2001:db8::/32"]), ..guard() });
    assert_eq!(
        restore::sets(&wanted.sets, &saved().sets),
        "create exitpool-aside4 hash:net family inet maxelem 1048576\n\
         add exitpool-aside4 0.0.0.0/1\n\
         add exitpool-aside4 128.0.0.0/1\n\
         swap exitpool-aside4 exitpool-socks4\n\
         destroy exitpool-aside4\n"
    );
}

#[test]
fn a_call_of_ours_goes_and_comes_in_one_document() {
    let wanted = compile::canonical(&guard()).v4;
    let moved =
        save::table(&SAVED_V4.replace("-A PREROUTING -m comment", "-A PREROUTING -j OTHER\n-A PREROUTING -m comment"));
    let document = restore::table(&wanted, &moved.unwrap()).unwrap();
    let lines: Vec<&str> = document.lines().collect();
    assert_eq!(lines[1], "-D PREROUTING -m comment --comment exitpool:jump -j EXITPOOL");
    assert_eq!(lines[lines.len() - 2], "-I PREROUTING 1 -m comment --comment exitpool:jump -j EXITPOOL");
    assert_eq!(lines.last(), Some(&"COMMIT"));
    assert!(!document.contains("OTHER"), "{document}");
}

#[test]
fn words_are_the_same_however_they_are_quoted() {
    let one = Rule::parse(r#"-m comment --comment "exitpool:lo" --limit 10/second -j RETURN"#).unwrap();
    let other = Rule::parse("-m comment --comment exitpool:lo  --limit 10/sec -j RETURN").unwrap();
    assert_eq!(one, other);
    let strange = Rule::parse(r#"--comment "a \"b\" \\ c" -j X"#).unwrap();
    assert_eq!(strange.value("--comment"), Some(r#"a "b" \ c"#));
    assert_eq!(Rule::parse(&strange.to_string()), Some(strange));
    assert_eq!(Rule::parse(r#"--comment "open"#), None);
}

#[test]
fn what_is_no_save_is_refused() {
    assert_eq!(save::table(""), Err(save::SaveError::NoTable));
    assert_eq!(save::table("*filter\nCOMMIT\n"), Err(save::SaveError::NoTable));
    assert_eq!(save::table("*mangle\n:EXITPOOL - [0:0]\n"), Err(save::SaveError::Truncated));
    let open = save::table("*mangle\n-A EXITPOOL --comment \"x\nCOMMIT\n");
    assert!(matches!(open, Err(save::SaveError::Line(_))), "{open:?}");
    for text in ["add exitpool-x 10.0.0.1 nomatch\n", "add exitpool-x 10.0.0.1\n", "what", "swap exitpool-a b\n"] {
        assert!(matches!(save::sets(text), Err(save::SaveError::Line(_))), "{text}");
    }
}

#[test]
fn others_lines_are_not_read() {
    let table = "*nat\n:EXITPOOL - [0:0]\nCOMMIT\n*mangle\n:EXITPOOL2 - [0:0]\n-A EXITPOOL2 --comment \"open\n-A X -j Y\nCOMMIT\n";
    assert_eq!(save::table(table), Ok(Table::default()));
    let sets =
        "create f hash:ip timeout 5\nadd f 10.0.0.1 timeout 3\ncreate exitpool2 list:set size 8\nadd exitpool2 f\n";
    assert_eq!(save::sets(sets), Ok(Sets::new()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_guard_survives_compiling(guard in guards(), rate in 0_u32..=100) {
        let guard = Guard { icmp_per_second: rate, ..guard };
        prop_assert_eq!(compile::decompile(&compile::canonical(&guard)), Some(guard));
    }

    /// The kernel rounds a high rate; what it makes of it is kept.
    #[test]
    fn a_rate_is_rounded_once(guard in guards()) {
        let compiled = compile::canonical(&guard);
        let rounded = compile::decompile(&compiled).unwrap();
        prop_assert!(guard.icmp_per_second > 10_000 || rounded.icmp_per_second >= guard.icmp_per_second);
        prop_assert_eq!(compile::canonical(&rounded), compiled);
    }

    #[test]
    fn two_guards_never_look_the_same(one in guards(), other in guards()) {
        let [one, other] = [one, other].map(|guard| Guard { icmp_per_second: guard.icmp_per_second % 101, ..guard });
        let (a, b) = (compile::canonical(&one), compile::canonical(&other));
        prop_assert_eq!(one == other, a == b);
        prop_assert_eq!(one == other, a.differences(&b).is_empty());
    }

    /// A document read as a save is the table that it was written for.
    #[test]
    fn a_document_leads_where_it_should(guard in guards()) {
        let wanted = compile::canonical(&guard);
        let document = restore::table(&wanted.v6, &Table::default()).unwrap();
        let (calls, others): (Vec<&str>, Vec<&str>) = document.lines().partition(|line| line.starts_with("-I "));
        let save = others.join("\n").replace("COMMIT", &calls.join("\n").replace("-I PREROUTING 1", "-A PREROUTING"));
        prop_assert_eq!(save::table(&format!("{save}\nCOMMIT\n")), Ok(wanted.v6));
    }
}

/// A driver all of whose tools are one shell script.
fn broken(script: &str) -> (Iptables, tempfile::TempDir) {
    let (tool, directory) = scripted("iptables", script);
    let named = |name| Tool { name, ..tool.clone() };
    let programs =
        |save, restore| Programs { save: named(save), restore: named(restore), legacy_tables: "/dev/null".into() };
    let driver = Iptables {
        flavour: Flavour::Nft,
        v4: programs("iptables-save", "iptables-restore"),
        v6: programs("ip6tables-save", "ip6tables-restore"),
        ipset: named("ipset"),
        listener: None,
        seen: Mutex::default(),
    };
    (driver, directory)
}

/// A tool that cannot be understood says nothing about the firewall, and nothing is changed on its word.
#[tokio::test]
async fn a_broken_tool_is_unknown_and_never_absent() {
    let cases = [
        ("kill -SEGV $$", "crashed (signal: 11 (SIGSEGV)"),
        ("true", "the table mangle is not in it"),
        ("[ $1 = save ] || echo '*mangle'", "the table mangle does not end"),
        (
            "[ $1 = save ] || echo '*mangle\n:EXITPOOL - [0:0]\nCOMMIT'; [ $1 != save ] || echo damage",
            "ipset: a line in it",
        ),
        (
            "echo 'Could not fetch rule set generation id: Permission denied (you must be root)' >&2; exit 4",
            "CAP_NET_ADMIN",
        ),
        ("echo 'ipset v7.17: Kernel error received: Operation not permitted' >&2; exit 1", "CAP_NET_ADMIN"),
        ("echo \"Can't open socket to ipset.\" >&2; exit 1", "CAP_NET_RAW"),
        ("echo 'Segmentation of something' >&2; exit 1", "refused: Segmentation of something"),
    ];
    for (script, words) in cases {
        let (driver, _directory) = broken(script);
        let observed = driver.observe(&guard()).await;
        assert!(observed.unknown().is_some_and(|why| why.contains(words)), "{script}: {observed:?}");
        let error = driver.apply(&guard()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{script}: {error}");
        assert!(driver.remove().await.is_err());
    }
}

#[tokio::test]
async fn a_tool_that_hangs_is_given_up() {
    let (mut driver, _directory) = broken("exec sleep 1000");
    driver.v4.save.deadline = Duration::from_millis(50);
    let observed = driver.observe(&guard()).await;
    assert!(observed.unknown().is_some_and(|why| why.contains("did not end within")), "{observed:?}");
}

#[tokio::test]
async fn a_missing_tool_says_what_to_do() {
    let (mut driver, _directory) = broken("echo '*mangle\nCOMMIT'");
    driver.ipset.program = "exitpool-no-such-ipset".to_owned();
    let observed = driver.observe(&guard()).await;
    let words = "cannot run ipset: install it, or choose another firewall.driver";
    assert!(observed.unknown().is_some_and(|why| why.contains(words)), "{observed:?}");
}

/// The first refusal ends it: rules never use a set that is not there.
#[tokio::test]
async fn rules_are_not_touched_when_a_set_is_refused() {
    let (driver, directory) = broken(
        "here=$(dirname $0)
        case \"$*\" in
            save) ;;
            '-t mangle') echo '*mangle\nCOMMIT' ;;
            restore) cat > /dev/null; echo 'set full' >&2; exit 1 ;;
            *) touch $here/rules ;;
        esac",
    );
    assert!(driver.apply(&guard()).await.unwrap_err().to_string().contains("ipset refused: set full"));
    assert!(!directory.path().join("rules").exists());
}

#[test]
fn the_presence_of_a_legacy_table_is_read_from_the_kernels_list() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("names");
    let programs = Programs {
        save: Tool::new("iptables-save"),
        restore: Tool::new("iptables-restore"),
        legacy_tables: list.clone(),
    };
    assert!(!programs.has_legacy_table(TABLE).unwrap());
    fs::write(&list, "filter\nmangle\n").unwrap();
    assert!(programs.has_legacy_table(TABLE).unwrap());
    fs::write(&list, "filter\n").unwrap();
    assert!(!programs.has_legacy_table(TABLE).unwrap());
}
