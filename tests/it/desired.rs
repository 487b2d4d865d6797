//! Every file of `tests/fixtures/desired`: what it says, and every word that is said about it.
//!
//! The name of a file is the sentence it proves. `EXITPOOL_UPDATE=1` writes the expected text anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use exitpool::desired::{Desired, Severity, load};
use exitpool::source::{Source, SourceSpec};

use crate::support::generated;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn folder(kind: &str) -> PathBuf {
    root().join("tests/fixtures/desired").join(kind)
}

/// Loads a file: its desired state if it is valid, and everything that is said about it.
fn read(path: &Path) -> (Option<Desired>, String) {
    let candidate = Source::new(SourceSpec::File(path.to_owned())).candidate().unwrap();
    let name = path.file_name().unwrap().to_string_lossy();
    let source = String::from_utf8_lossy(&candidate.bytes);
    let (desired, diagnostics) = match load(&name, candidate.given()) {
        Ok(loaded) => (Some(loaded.desired), loaded.warnings),
        Err(invalid) => (None, invalid.diagnostics),
    };
    assert_eq!(desired.is_none(), diagnostics.iter().any(|it| it.severity == Severity::Error));
    let text: Vec<String> = diagnostics.iter().map(|it| format!("{}\n", it.render(&source))).collect();
    (desired, text.join("\n"))
}

fn check_snapshot(path: &Path, actual: &str) {
    generated(path.with_extension("stderr"), actual);
}

fn is_refused(name: &str) {
    let path = folder("invalid").join(name).with_extension("yaml");
    let (desired, text) = read(&path);
    assert!(desired.is_none(), "{name} is accepted");
    check_snapshot(&path, &text);
}

fn is_accepted(name: &str) {
    let path = folder("valid").join(name).with_extension("yaml");
    let (desired, text) = read(&path);
    assert!(desired.is_some(), "{name} is refused:\n{text}");
    check_snapshot(&path, &text);
}

fn names(kind: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder(kind)).unwrap().map(|entry| entry.unwrap().path());
    let yaml = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

macro_rules! one_test_per_file {
    ($kind:ident, $check:ident: $($name:ident)+) => {
        mod $kind {
            $( #[test] fn $name() { super::$check(stringify!($name)); } )+

            #[test]
            fn every_file_has_a_test() {
                let tested = [$(stringify!($name)),+].map(str::to_owned).into();
                assert_eq!(super::names(stringify!($kind)), tested);
            }
        }
    };
}

one_test_per_file!(valid, is_accepted:
    a_pool_that_nobody_can_reach
    a_pool_without_a_firewall
    a_probe_without_tls_that_names_certificates
    a_state_without_any_node_that_is_meant
    anchors_and_aliases
    everything_that_can_be_said
    extra_torrc_options
    networks_with_host_bits_are_cut
    norway_is_a_country
    one_node_on_loopback
    whitelists_from_lists
);

one_test_per_file!(invalid, is_refused:
    a_bracket_that_never_closes
    a_channel_with_two_ways_or_none
    a_control_character_in_a_name
    a_country_that_is_not_assigned
    a_file_of_comments
    a_list_at_the_root
    a_list_nested_too_deeply
    a_mail_login_without_its_other_half
    a_merge_key
    a_missing_version
    a_nul_byte
    a_number_in_quotes
    a_pool_beyond_the_last_port
    a_pool_in_the_control_ports
    a_pool_of_no_nodes
    a_pool_that_is_too_large
    a_rule_with_settings_it_does_not_have
    a_secret_in_a_file_that_is_not_yaml
    a_state_without_any_node
    a_tab_for_indentation
    a_tag_of_another_language
    a_value_left_empty
    a_version_and_nothing_else
    a_version_in_quotes
    a_version_of_the_future
    alerts_that_reach_nobody
    an_alias_bomb
    an_alias_of_an_unknown_anchor
    an_empty_file
    an_optional_value_left_empty
    more_nodes_for_an_instance_than_a_pool_has
    bytes_that_are_not_utf8
    duplicate_keys_are_all_found
    errors_of_every_section_come_at_once
    errors_of_lists_come_with_those_of_the_file
    distinct_exits_for_nodes_of_one_tor
    exits_that_contradict_themselves
    exports_that_make_no_sense
    lists_that_may_not_be_empty
    missing_fields_are_all_named
    no_nodes_for_an_instance
    numbers_that_are_written_in_other_ways
    pools_of_the_same_name
    pools_whose_ports_overlap
    proxies_that_would_make_anybody_anybody
    rotation_faster_than_tor_allows
    secrets_that_stand_in_the_file
    times_out_of_their_bounds
    torrc_options_that_belong_to_exitpool
    torrc_values_that_leave_their_line
    two_documents
    unknown_fields_are_all_found_and_guessed
    words_for_booleans
    words_that_are_not_addresses
);
