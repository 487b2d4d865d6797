//! The hand-written documentation: every command, condition, metric and link in it exists.

mod commands;
mod fences;
mod links;
mod played;
mod session;
mod shell;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use exitpool::cli::reference::{help, names};
use exitpool::status::{ConditionStatus, ConditionType, Reason};

/// Folders and files with documentation.
const PLACES: [&str; 9] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs",
    "systemd",
    "desired-state",
    "deploy",
    "examples",
];
/// Describes the whole format, fields among them that need verbs of later versions: docs/known-issues.md lists those.
const AHEAD_OF_THE_PROGRAM: &str = "docs/desired-state.md";
/// What the names of metrics begin with.
const METRICS: [&str; 14] = [
    "exitpool_",
    "tor_node",
    "tor_newnym",
    "tor_restarts",
    "api_request",
    "auth_attempts",
    "export_tokens",
    "export_downloads",
    "process_cpu",
    "process_max",
    "process_open",
    "process_resident",
    "process_start",
    "process_virtual",
];
/// What Prometheus adds to the name of a histogram.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    collect_with(path, "md", found);
}

fn collect_with(path: &Path, wanted: &str, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| collect_with(&entry.unwrap().path(), wanted, found));
    } else if path.extension().is_some_and(|extension| extension == wanted) {
        found.push(path.to_owned());
    }
}

/// Every page, as its path within the repository and its text.
fn pages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    PLACES.iter().for_each(|place| collect(&root().join(place), &mut found));
    found.sort();
    let page = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    found.into_iter().map(page).collect()
}

/// The code of a page: the lines of its fenced blocks, and its code spans.
fn code(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced {
            found.push(line.trim());
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// The arguments of `exitpool`, where a piece of code calls it.
fn call(code: &str) -> Option<Vec<&str>> {
    let code = ["$ ", "sudo -u exitpool ", "sudo "].iter().fold(code, |code, prefix| code.trim_start_matches(prefix));
    let words = code.strip_prefix("exitpool ")?.split_whitespace();
    let words: Vec<&str> = words.take_while(|word| !["|", ";", "&&", "#"].contains(word)).collect();
    words.first().is_some_and(|verb| verb.chars().all(|c| c.is_ascii_lowercase() || c == '-')).then_some(words)
}

#[test]
fn every_command_exists_with_its_options() {
    let verbs = names();
    let mut seen = 0;
    for (page, text) in pages().iter().filter(|(page, _)| page != AHEAD_OF_THE_PROGRAM) {
        // What stands in a block is parsed whole by `commands`; here it is what stands in a sentence.
        for words in code(text).into_iter().filter_map(call) {
            let verb = words[0];
            if ["help", "--help", "--version"].contains(&verb) {
                continue;
            }
            assert!(verbs.iter().any(|known| known == verb), "{page}: there is no `exitpool {verb}`");
            let help = help(verb).unwrap();
            for option in words.iter().filter(|word| word.starts_with("--")) {
                let name = option.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                let name = name.split('=').next().unwrap();
                let known = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == name);
                assert!(known, "{page}: `exitpool {verb}` has no {name}");
            }
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} commands were found");
}

#[test]
fn every_condition_has_a_name_and_a_reason_of_the_closed_lists() {
    let statuses = ConditionStatus::ALL.map(ConditionStatus::as_str);
    let mut seen = 0;
    for (page, text) in pages() {
        for code in code(&text) {
            let words: Vec<&str> = code.split_whitespace().collect();
            for found in words.windows(3).filter(|found| statuses.contains(&found[1])) {
                let [kind, _, reason] = found else { continue };
                assert!(ConditionType::ALL.iter().any(|known| known.as_str() == *kind), "{page}: no condition {kind}");
                assert!(Reason::ALL.iter().any(|known| known.as_str() == *reason), "{page}: no reason {reason}");
                seen += 1;
            }
        }
    }
    assert!(seen > 15, "only {seen} conditions were found");
}

#[test]
fn every_metric_exists() {
    // Generated from the code, which another test checks.
    let reference = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let known: BTreeSet<&str> = code(&reference).into_iter().collect();
    let mut seen = 0;
    for (page, text) in pages().iter().filter(|(page, _)| page != "docs/metrics.md") {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| METRICS.iter().any(|begin| word.starts_with(begin))) {
            let whole = PARTS.iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word);
            assert!(known.contains(word) || known.contains(whole), "{page}: there is no metric {word}");
            seen += 1;
        }
    }
    assert!(seen > 5, "only {seen} metrics were found");
}

/// A page that says which test holds a sentence says so of a test that is there.
#[test]
fn every_test_that_is_named_exists() {
    let mut sources = Vec::new();
    ["tests", "src"].iter().for_each(|place| collect_with(&root().join(place), "rs", &mut sources));
    let sources: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let page = "docs/threat-model.md";
    let text = fs::read_to_string(root().join(page)).unwrap();
    let is_name =
        |code: &&str| code.matches('_').count() > 1 && code.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let names: Vec<&str> = code(&text).into_iter().filter(is_name).collect();
    for name in &names {
        assert!(sources.contains(&format!("fn {name}(")), "{page}: there is no test {name}");
    }
    assert!(names.len() > 25, "only {} names were found", names.len());
}
