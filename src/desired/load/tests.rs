//! Laws of loading: it never panics, it ends, its places are right, and it repeats no secret.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::desired::{FirewallPolicy, ReconcilePolicy};

const EVERYTHING: &str = include_str!("../../../tests/fixtures/desired/valid/everything_that_can_be_said.yaml");

fn refusal(text: &str) -> Invalid {
    load("pool.yaml", text.as_bytes()).unwrap_err()
}

#[test]
fn a_file_of_defaults_means_the_default_state() {
    let loaded = load("pool.yaml", b"version: 1\nallow_empty: true\n").unwrap();
    assert_eq!(loaded.desired, Desired::default());
    assert!(loaded.warnings.is_empty());
}

#[test]
fn every_field_reaches_its_place() {
    let desired = load("pool.yaml", EVERYTHING.as_bytes()).unwrap().desired;
    let eu = &desired.pools[0];
    assert_eq!((eu.name.to_string().as_str(), eu.size, eu.socks_port), ("eu", 10, 30_000));
    assert_eq!(eu.countries.iter().map(ToString::to_string).collect::<Vec<_>>(), ["de", "fr", "nl"]);
    assert_eq!(eu.listen.to_string(), "0.0.0.0");
    assert_eq!(eu.rotate_every, Some(Duration::from_secs(600)));
    assert_eq!((eu.nodes_per_instance.get(), desired.pools[1].nodes_per_instance.get()), (1, 2));
    assert!(eu.exits.distinct);
    assert_eq!(eu.exits.avoid_shared_subnet, Some(16));
    assert_eq!((eu.exits.pin.len(), eu.exits.exclude.len()), (1, 1));
    assert_eq!(eu.torrc["MaxMemInQueues"], ["256 MB"]);
    assert_eq!(
        desired.access.socks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["203.0.113.0/24", "2001:db8::/32"]
    );
    assert_eq!(desired.access.panel.iter().map(ToString::to_string).collect::<Vec<_>>(), ["198.51.100.7/32"]);
    let firewall = FirewallPolicy { driver: crate::desired::DriverChoice::Firewalld, ..FirewallPolicy::default() };
    assert_eq!(desired.firewall, firewall);
    let reconcile = ReconcilePolicy {
        new_commits: crate::desired::NewCommits::Manual,
        prune: crate::desired::Prune::Confirm,
        resync_every: Duration::from_secs(90),
        ..ReconcilePolicy::default()
    };
    assert_eq!(desired.reconcile, reconcile);
    assert_eq!(desired.health.restart_after, 3);
    assert_eq!(desired.exports.advertise.as_deref(), Some("proxy.example.org"));
}

#[test]
fn values_of_torrc_are_written_as_tor_writes_them() {
    let text = "version: 1\npools: [{name: a, size: 1, socks_port: 1, torrc: {AvoidDiskWrites: true, Sandbox: false, NumCPUs: 1, PathBiasCircThreshold: 0.5, Nickname: ' x ', Bridge: [1, y]}}]\n";
    let desired = load("pool.yaml", text.as_bytes()).unwrap().desired;
    let options: Vec<_> =
        desired.pools[0].torrc.iter().map(|(name, values)| format!("{name}={}", values.join("|"))).collect();
    assert_eq!(
        options,
        ["AvoidDiskWrites=1", "Bridge=1|y", "Nickname=x", "NumCPUs=1", "PathBiasCircThreshold=0.5", "Sandbox=0"]
    );
}

#[test]
fn the_first_error_stands_in_the_message_and_the_others_are_counted() {
    let text = "version: 1\npools: [{name: EU, size: 1, socks_port: 0}]\n";
    let message = refusal(text).to_string();
    let expected = "the desired state is invalid: pool.yaml:2:16: pools[0].name: `EU` is not a pool name; ";
    assert!(message.starts_with(expected) && message.ends_with(" (and 1 more error)"), "{message}");
}

#[test]
fn diagnostics_are_json_with_their_place() {
    let invalid = refusal("version: 1\npools: [{name: eu, size: 1, countries: [uk], socks_port: 9}]\n");
    let json = serde_json::to_value(&invalid).unwrap();
    let expected = serde_json::json!({
        "severity": "error", "file": "pool.yaml", "line": 2, "column": 41, "path": "pools[0].countries[0]",
        "message": "`uk` is not a country of ISO 3166-1", "help": "did you mean `gb`?",
    });
    assert_eq!(json, serde_json::json!({ "diagnostics": [expected] }));
}

#[test]
fn columns_count_characters_and_marks_stand_below_them() {
    let text = "version: 1\n# é\npools: [{name: \"ü\", size: 1, socks_port: 1, countries: [uk]}]\n";
    let invalid = refusal(text);
    let columns: Vec<_> = invalid.diagnostics.iter().map(|it| it.column).collect();
    assert_eq!(columns, [16, 57]);
    assert_eq!(&text[invalid.diagnostics[1].span.clone()], "uk");
}

#[test]
fn a_hopeless_file_is_not_looked_at_forever() {
    let text = format!("version: 1\n{}", (0..5_000).map(|number| format!("x{number}: 1\n")).collect::<String>());
    let invalid = refusal(&text);
    assert_eq!(invalid.errors(), MAX_ERRORS + 1);
}

#[test]
fn hostile_files_are_refused_and_it_ends() {
    let aliases = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(500), "*a, ".repeat(900));
    let hostile = [
        "[".repeat(MAX_BYTES),
        "{a: ".repeat(MAX_BYTES / 4),
        "- ".repeat(MAX_BYTES / 2),
        "x, ".repeat(MAX_BYTES / 3),
        "a: [".to_owned() + &"x, ".repeat(MAX_BYTES / 3 - 4),
        "&a ".repeat(MAX_BYTES / 3),
        "? ".repeat(MAX_BYTES / 2),
        "\n".repeat(MAX_BYTES),
        "x".repeat(MAX_BYTES + 1),
        "a: \"".to_owned() + &"\\u0041".repeat(MAX_BYTES / 6 - 1),
        aliases,
    ];
    for text in hostile {
        let head: String = text.chars().take(12).collect();
        assert!(load("pool.yaml", text.as_bytes()).is_err(), "`{head}…` is accepted");
    }
}

#[test]
fn large_files_end_as_well() {
    let list = |good: usize, item: &str, bad: usize| {
        let items = "1.2.3.4, ".repeat(good) + &item.repeat(bad);
        format!("version: 1\nallow_empty: true\naccess:\n  socks: [{items}]\n")
    };
    assert!(load("pool.yaml", list(60_000, "1.2.3.4", 1).as_bytes()).is_ok());
    assert_eq!(refusal(&list(5_000, "x, ", 5_000)).errors(), MAX_ERRORS + 1);
    let warnings = load("pool.yaml", list(0, "1.2.3.4/8, ", 20_000).as_bytes()).unwrap().warnings;
    assert_eq!(warnings.last().unwrap().message, "there are 39799 more warnings than are shown here");
    let pools = "  - {name: a, size: 1, socks_port: 1}\n";
    assert_eq!(refusal(&format!("version: 1\npools:\n{}", pools.repeat(999))).errors(), 201);
    let options: String = (0..20_000).map(|number| format!("{number}: 1, ")).collect();
    let text = format!("version: 1\npools: [{{name: a, size: 1, socks_port: 1, torrc: {{{options}}}}}]\n");
    assert_eq!(refusal(&text).errors(), 201);
}

#[test]
fn lines_may_end_as_on_windows() {
    let text = "version: 1\r\n# é\r\npools:\r\n  - {name: EU, size: 1, socks_port: 1}\r\n";
    let invalid = refusal(text);
    let it = &invalid.diagnostics[0];
    assert_eq!((it.line, it.column, &text[it.span.clone()]), (4, 12, "EU"));
}

const MAX_BYTES: usize = MAX_FILE_BYTES;

/// Renders everything, as a person or a program would see it.
fn everything_said(bytes: &[u8]) -> String {
    let source = String::from_utf8_lossy(bytes);
    let diagnostics = match load("pool.yaml", bytes) {
        Ok(loaded) => loaded.warnings,
        Err(invalid) => {
            assert!(invalid.errors() > 0);
            invalid.diagnostics
        }
    };
    let said =
        |it: &Diagnostic| format!("{}\n{}\n{}", it.render(&source), it.one_line(), serde_json::to_string(it).unwrap());
    diagnostics.iter().map(said).collect::<Vec<_>>().join("\n")
}

/// A valid file with one part replaced by another part or by noise.
fn mutated() -> impl Strategy<Value = String> {
    let length = EVERYTHING.len();
    (0..length, 0..40_usize, 0..length, 0..40_usize, "\\PC{0,6}").prop_map(|(at, cut, from, copied, noise)| {
        let part = |start: usize, length: usize| {
            let bytes = &EVERYTHING.as_bytes()[start..(start + length).min(EVERYTHING.len())];
            String::from_utf8_lossy(bytes).into_owned()
        };
        part(0, at) + &part(from, copied) + &noise + &part((at + cut).min(EVERYTHING.len()), EVERYTHING.len())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        everything_said(&bytes);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-a-z0-9:{}\\[\\], \"'#&*!|>%@`~?\\n\\t\u{e9}\u{feff}]{0,120}") {
        everything_said(text.as_bytes());
    }

    #[test]
    fn a_mutated_file_is_read_or_refused(text in mutated()) {
        everything_said(text.as_bytes());
    }

    #[test]
    fn a_literal_secret_is_never_repeated(
        key in prop::sample::select(vec!["password", "passwd", "token", "x"]),
        quote in prop::sample::select(vec!["", "\"", "'"]),
        secret in "zq[a-z0-9]{8}",
    ) {
        let text = format!(
            "version: 1\npools: [{{name: eu, size: 1, socks_port: 1}}]\nalerts:\n  channels:\n    - {{name: é, email: {{server: smtps://u:{secret}@h, {key}: {quote}{secret}{quote}, from: a, to: []}}}}\n"
        );
        let said = everything_said(text.as_bytes());
        prop_assert!(!said.contains(&secret), "{said}");
    }
}
