//! Rules on words, lengths and files.

use std::fs;
use std::path::PathBuf;

use exitpool::desired::load::load;
use exitpool::observe::Observed;
use exitpool::plan::hold::BY_FILE_ALONE;
use exitpool::plan::{Applied, Wish, plan};
use exitpool::source::{Source, SourceSpec};
use exitpool::tor::layout::Layout;

use super::none_of;
use super::rust::{files_under, modules, root};

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 80;

/// Words that docs/glossary.md has another word for, as parts of declared names.
const NEVER_CALLED: [(&str, &str); 6] = [
    ("backend", "driver"),
    ("cluster", "pool"),
    ("garbage", "prune"),
    ("mismatch", "change or drift"),
    ("tick", "pass"),
    ("worker", "node"),
];

/// What says that something is not finished. In halves, so that this file does not say it.
const UNFINISHED: [(&str, &str); 5] =
    [("TO", "DO"), ("FIX", "ME"), ("XX", "X:"), ("todo", "!("), ("unimpl", "emented!(")];
/// What begins a path on the machine of a developer. In halves, for the same reason.
const PRIVATE: [(&str, &str); 4] = [("/ho", "me/"), ("/Us", "ers/"), ("/ro", "ot/"), ("/wo", "rk/")];

/// Everything that a person has written.
fn texts() -> Vec<(String, String)> {
    let folders =
        ["src", "tests", "docs", "examples", "desired-state", "scripts", "tor", "systemd", "schema", "deploy", ".ci"];
    let files = folders.iter().flat_map(|folder| files_under(folder));
    let top = ["Cargo.toml", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    let read = |file: String| Some((file.clone(), fs::read_to_string(root().join(&file)).ok()?));
    files.chain(top.map(str::to_owned)).filter_map(read).collect()
}

/// The lines that have one of some texts.
fn lines_with(halves: &[(&str, &str)]) -> Vec<String> {
    let needles: Vec<String> = halves.iter().map(|(one, other)| format!("{one}{other}")).collect();
    let mut found = Vec::new();
    for (file, text) in texts() {
        for (at, line) in text.lines().enumerate() {
            if needles.iter().any(|needle| line.contains(needle.as_str())) {
                found.push(format!("{file}:{} {}", at + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn files_are_short() {
    let long = modules().into_iter().filter(|module| module.length() > MAX_FILE_LINES);
    let found: Vec<String> = long.map(|module| format!("{} has {} lines", module.file, module.length())).collect();
    none_of(&found, "A file says one thing: give a part of it a file of its own (400 lines, tests left out).");
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for module in modules() {
        let long = module.functions().into_iter().filter(|(_, _, lines)| *lines > MAX_FUNCTION_LINES);
        found.extend(long.map(|(name, line, lines)| format!("{}:{line} {name} has {lines} lines", module.file)));
    }
    none_of(&found, "Let the function tell its story in sentences: name its parts (80 lines).");
}

#[test]
fn nothing_is_left_for_later() {
    none_of(&lines_with(&UNFINISHED), "Do it now, or say in docs/known-issues.md what does not work.");
}

#[test]
fn nothing_names_the_machine_of_a_developer() {
    none_of(&lines_with(&PRIVATE), "Write paths from the root of the repository, or make them in a test.");
}

#[test]
fn things_have_the_names_of_the_glossary() {
    let mut found = Vec::new();
    for module in modules() {
        for (at, name) in module.declared() {
            let parts = parts(name);
            let called = NEVER_CALLED.iter().filter(|(word, _)| parts.iter().any(|part| part == word));
            found.extend(called.map(|(_, say)| format!("{}:{} {name}: say {say}", module.file, module.line(at))));
        }
    }
    none_of(&found, "One word, one thing: docs/glossary.md has the words.");
}

/// The words that a name is made of.
fn parts(name: &str) -> Vec<String> {
    let spaced: String = name.chars().flat_map(|it| [it.is_uppercase().then_some('_'), Some(it)]).flatten().collect();
    spaced.to_lowercase().split('_').map(str::to_owned).collect()
}

#[test]
fn every_ignored_test_says_why() {
    let bare = ["#[ig", "nore]"].concat();
    let says = |(file, text): (String, String)| text.contains(&bare).then_some(file);
    let found: Vec<String> = texts().into_iter().filter_map(says).collect();
    none_of(&found, "Write #[ignore = \"…\"]: who runs it instead?");
}

#[test]
fn every_example_is_planned() {
    let layout = Layout {
        runtime_dir: PathBuf::from("/run/exitpool"),
        state_dir: PathBuf::from("/var/lib/exitpool"),
        torrc_defaults: None,
    };
    let examples = [files_under("examples"), files_under("desired-state")].concat();
    let yaml: Vec<_> = examples.into_iter().filter(|file| file.ends_with(".yaml")).collect();
    assert!(yaml.len() > 5, "the examples are gone");
    for file in yaml {
        let candidate = Source::new(SourceSpec::File(root().join(&file))).candidate().unwrap();
        let desired = load(&file, candidate.given());
        let desired =
            desired.unwrap_or_else(|invalid| panic!("{file}: {invalid}: every example must be valid")).desired;
        let applied = Applied::default();
        let wish = Wish {
            desired: &desired,
            applied: &applied,
            layout: &layout,
            panel_port: Some(8080),
            mandate: &BY_FILE_ALONE,
        };
        let plan = plan(&wish, &Observed::default());
        let says_something = !plan.steps.is_empty() || !plan.waiting.is_empty() || !plan.blocked.is_empty();
        assert!(says_something || desired.size() == 0, "{file}: nothing is planned for it");
    }
}
