//! The command line, run as a user does, in the cases that need no host: helps, exit codes, formats.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use exitpool::cli::reference::{help, names};
use serde_json::Value;

use crate::support::generated;

/// What a run left behind.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the program with none of its environment variables set.
fn exitpool(arguments: &[&str]) -> Ran {
    let mut command = Command::cargo_bin("exitpool").unwrap();
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EXITPOOL_")) {
        command.env_remove(name);
    }
    let output = command.args(arguments).env("COLUMNS", "100").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).to_str().unwrap().to_owned()
}

/// A file that is not a desired state; it goes with the directory.
fn broken() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pool.yaml");
    fs::write(&path, "version: 1\npools:\n  - {name: eu, size: two, socks_port: 30000}\n").unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn the_help_of_every_verb_is_the_committed_one() {
    for verb in names() {
        generated(format!("tests/fixtures/cli/{verb}.help"), &help(&verb).unwrap());
    }
    let overview = exitpool(&["--help"]);
    assert_eq!((overview.code, overview.stderr.as_str()), (0, ""));
    let trimmed: String = overview.stdout.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    generated("tests/fixtures/cli/exitpool.help", &trimmed);
}

#[test]
fn every_verb_prints_its_help_to_standard_output() {
    for verb in names() {
        let printed = exitpool(&[&verb, "--help"]);
        assert_eq!((printed.code, printed.stderr.as_str()), (0, ""), "{verb}");
        let first = help(&verb).unwrap().lines().next().unwrap().to_owned();
        assert!(printed.stdout.starts_with(&first), "{verb}: {}", printed.stdout);
    }
}

#[test]
fn every_verb_has_a_manual_page_that_groff_takes_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let man = directory.path().join("share/man1");
    let written = exitpool(&["man", "--out", man.to_str().unwrap()]);
    assert_eq!((written.code, written.stdout.as_str(), written.stderr.as_str()), (0, "", ""));
    let pages: Vec<String> = names().iter().map(|verb| format!("exitpool-{verb}.1")).collect();
    for page in [pages, vec!["exitpool.1".to_owned(), "exitpool-token-issue.1".to_owned()]].concat() {
        assert!(man.join(&page).exists(), "there is no {page}");
    }
    assert!(!man.join("exitpool-guard-trial.1").exists(), "hidden verbs have no page");
    let pages = fs::read_dir(&man).unwrap().map(|entry| entry.unwrap().path());
    let formatted = Command::new("groff").args(["-Kutf8", "-man", "-ww", "-Tutf8"]).args(pages).output().unwrap();
    let said = String::from_utf8_lossy(&formatted.stderr);
    assert!(formatted.status.success() && said.is_empty(), "{said}");
    let first = exitpool(&["man"]).stdout;
    assert_eq!(first, fs::read_to_string(man.join("exitpool.1")).unwrap(), "the same, printed");
    // What stands in the environment of who makes the pages is nobody's business.
    let secret =
        Command::cargo_bin("exitpool").unwrap().args(["man"]).env("EXITPOOL_SOURCE", "hunter2").output().unwrap();
    assert!(!String::from_utf8_lossy(&secret.stdout).contains("hunter2"));
}

#[test]
fn no_committed_help_is_of_a_verb_that_is_gone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cli");
    let known = [names(), vec!["exitpool".to_owned()]].concat();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(known.contains(&name), "{}: remove it, there is no such verb", entry.display());
    }
}

#[test]
fn what_is_asked_for_wrongly_is_a_matter_of_usage() {
    let wrong: [&[&str]; 11] = [
        &["validate", "--no-such-flag"],
        &["no-such-verb"],
        &["validate"],
        &["nodes", "-o", "xml"],
        &["plan"],
        &["suspend", "--for", "1h"],
        &["suspend", "--reason", "two\nlines", "--for", "1h"],
        &["suspend", "--reason", "a look", "--for", "soon"],
        &["rollback", "main"],
        &["confirm", "0a0a"],
        &["trace", "eu"],
    ];
    for arguments in wrong {
        let ran = exitpool(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (64, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("--help"), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn a_valid_file_is_said_to_be_valid() {
    let ran = exitpool(&["validate", &example("two-countries.yaml")]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("is valid: "), "{}", ran.stderr);
}

#[test]
fn an_invalid_file_has_a_code_of_its_own() {
    let (_directory, path) = broken();
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    let ran = exitpool(&["validate", &path]);
    assert_eq!((ran.code, ran.stdout.as_str()), (78, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("pools[0].size") && ran.stderr.contains(":3:"), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("is not a valid desired state\n"), "{}", ran.stderr);
    let ran = exitpool(&["plan", "--source", &path, "--state-dir", state, "--runtime-dir", state]);
    assert_eq!((ran.code, ran.stdout.as_str()), (78, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("pools[0].size"), "{}", ran.stderr);
}

#[test]
fn a_comparison_that_cannot_be_made_is_neither_none_nor_some() {
    let (_directory, path) = broken();
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    for verb in ["diff", "drift"] {
        let ran = exitpool(&[verb, "--source", &path, "--state-dir", state, "--runtime-dir", state]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{verb}: {}", ran.stderr);
    }
}

#[test]
fn a_file_that_is_missing_is_a_failure_that_names_it() {
    for arguments in [&["validate", "/nowhere/pool.yaml"], &["validate", "--source=/nowhere/pool.yaml"]] {
        let ran = exitpool(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("/nowhere/pool.yaml"), "{}", ran.stderr);
    }
}

#[test]
fn without_a_daemon_the_status_says_how_to_start_one() {
    let empty = tempfile::tempdir().unwrap();
    let runtime = empty.path().to_str().unwrap();
    let suspend: &[&str] = &["suspend", "--reason", "a look", "--for", "1h"];
    let others = ["status", "nodes", "reconcile", "confirm", "resume", "rollback"];
    for verb in others.iter().map(std::slice::from_ref).chain([suspend]) {
        let ran = exitpool(&[verb, &["--runtime-dir", runtime]].concat());
        let verb = verb[0];
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{verb}: {}", ran.stderr);
        assert!(ran.stderr.contains("exitpool run") && ran.stderr.contains("--runtime-dir"), "{verb}: {}", ran.stderr);
    }
    assert!(fs::read_dir(runtime).unwrap().next().is_none(), "asking has written something");
}

#[test]
fn what_is_kept_is_told_without_a_daemon() {
    let empty = tempfile::tempdir().unwrap();
    let state = empty.path().to_str().unwrap();
    let ran = exitpool(&["history", "--state-dir", state, "-o", "json"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &told["revisions"]), (0, &Value::Array(Vec::new())), "{}", ran.stderr);
    let ran = exitpool(&["trace", "eu-0", "--state-dir", state]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("no revision is in force") && ran.stderr.contains(state), "{}", ran.stderr);
    fs::write(empty.path().join("orders.json"), "{").unwrap();
    let ran = exitpool(&["history", "--state-dir", state]);
    assert!(ran.code == 1 && ran.stderr.contains("orders.json"), "{}", ran.stderr);
}

#[test]
fn the_schemas_of_what_is_kept_are_committed() {
    for (file, schema) in exitpool::cli::documents::schemas() {
        generated(format!("schema/{file}"), &format!("{}\n", serde_json::to_string_pretty(&schema).unwrap()));
    }
}

#[test]
fn json_is_json_also_when_there_is_nothing_good_to_say() {
    let ran = exitpool(&["validate", &example("alerts.yaml"), "-o", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(serde_json::from_str::<Value>(&ran.stdout).unwrap().is_array(), "{}", ran.stdout);
    let (_directory, path) = broken();
    let ran = exitpool(&["validate", &path, "--output", "json"]);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &found[0]["path"]), (78, &Value::from("pools[0].size")), "{found}");
}

#[test]
fn the_schema_is_printed_as_it_is_committed() {
    let ran = exitpool(&["schema"]);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/desired-state.v1.schema.json");
    assert_eq!((ran.code, ran.stdout), (0, fs::read_to_string(committed).unwrap()));
}

#[test]
fn the_environment_is_heard_and_the_flag_wins() {
    let (_directory, path) = broken();
    let run = |arguments: &[&str]| {
        let mut command = Command::cargo_bin("exitpool").unwrap();
        command.args(arguments).env("EXITPOOL_SOURCE", &path).output().unwrap().status.code()
    };
    assert_eq!(run(&["validate"]), Some(78));
    assert_eq!(run(&["validate", "--source", &example("one-node.yaml")]), Some(0));
}

#[test]
fn a_whitelist_in_a_file_is_validated_and_planned_with_its_document() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let pool = "version: 1\npools: [{name: eu, size: 1, listen: 0.0.0.0, socks_port: 30000}]\naccess: {socks: [{file: clients.txt}]}\n";
    fs::write(path("pool.yaml"), pool).unwrap();
    let missing = exitpool(&["validate", &path("pool.yaml")]);
    let (list, place) = (path("clients.txt"), path("pool.yaml"));
    assert!(
        missing.code == 78 && missing.stderr.contains(&format!("the list `{list}` does not exist")),
        "{}",
        missing.stderr
    );
    let clients: String = (0..10_000_u32).map(|n| format!("11.{}.{}.1\n", n / 256, n % 256)).collect();
    fs::write(&list, format!("{clients}11.0.0.300\n")).unwrap();
    let refused = exitpool(&["validate", &place, "-o", "json"]);
    let found: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(refused.code, 78);
    let of = |key: &str| found[0][key].clone();
    assert_eq!((of("file"), of("line"), of("column")), (list.clone().into(), 10_001.into(), 1.into()));
    fs::write(&list, clients).unwrap();
    let valid = exitpool(&["validate", &place]);
    assert_eq!((valid.code, valid.stderr.lines().count()), (0, 1), "{}", valid.stderr);
}
