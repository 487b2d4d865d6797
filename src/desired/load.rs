//! From bytes to [`Desired`] in one go: parse, default, validate; all or nothing, and all errors at once.

use serde::{Deserialize, Serialize};

use super::diagnostic::{Diagnostic, Severity};
use super::document::Document;
use super::findings::Findings;
use super::lists::{Given, Lists};
use super::reader::{self, MAX_ERRORS, Reading};
pub use super::tree::MAX_FILE_BYTES;
use super::tree::{self, Tree, Value};
use super::{AccessLines, Desired, meaning, schema, validate, whitelist};
use crate::error::{Classify, Kind};

/// A valid file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What it says.
    pub desired: Desired,
    /// What somebody should know about it, in the file's order.
    pub warnings: Vec<Diagnostic>,
}

/// A file that is refused, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalid {
    /// At least one error, and the warnings, in the file's order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the desired state out of a file's bytes, and those of the lists it names; `file` is its name in messages.
///
/// The time it takes is bounded, whatever the bytes are.
pub fn load<'a>(file: &str, given: impl Into<Given<'a>>) -> Result<Loaded, Invalid> {
    let Given { document, lists } = given.into();
    let parsed = tree::parse(file, document).map_err(|refusal| Invalid::one(*refusal))?;
    let mut findings = Findings::new(file, &parsed.tree);
    findings.take(parsed.duplicates);
    if let Some(fatal) = unreadable(&mut findings, &parsed.tree) {
        return Err(fatal);
    }
    let reading = reader::read::<Document>(&parsed.tree, &schema::RequiredFields::new());
    let desired = judge(&mut findings, &reading, lists);
    let diagnostics = findings.finish();
    match desired {
        Some(desired) if diagnostics.iter().all(|it| it.severity == Severity::Warning) => {
            Ok(Loaded { desired, warnings: diagnostics })
        }
        _ => Err(Invalid { diagnostics }),
    }
}

/// Refuses what makes every other error meaningless: an empty file, or another version of the format.
fn unreadable(findings: &mut Findings<'_>, tree: &Tree) -> Option<Invalid> {
    match &tree.node(Tree::ROOT).value {
        Value::Null => {
            let help = "start with `version: 1`; a state without any node says `allow_empty: true`";
            findings.error_of_file("the file is empty", help);
        }
        Value::Map(_) => {
            let version = tree.child(Tree::ROOT, "version")?;
            let Value::Integer(number) = tree.node(version).value else { return None };
            if number == 1 {
                return None;
            }
            let message = format!("version {number} of the format is not known here");
            findings.error(version, message, "write `version: 1`, or upgrade exitpool");
        }
        other => findings.error_of_file(
            &format!("the file is not a desired state: expected a mapping, found {other}"),
            "start with `version: 1`",
        ),
    }
    Some(Invalid { diagnostics: findings.finish() })
}

fn judge(findings: &mut Findings<'_>, reading: &Reading<Document>, lists: &Lists) -> Option<Desired> {
    findings.hide(&reading.hidden);
    findings.take_faults(&reading.faults);
    if reading.faults.len() >= MAX_ERRORS {
        findings.error_of_file("there are more errors than are shown here", "correct these first");
    }
    let document = reading.value.as_ref()?;
    let whitelists = whitelist::resolve(findings, &document.access, lists);
    validate::validate(findings, document);
    let mut desired = meaning::of(document, whitelists);
    desired.access.lines = access_lines(findings.tree());
    Some(desired)
}

fn access_lines(tree: &Tree) -> AccessLines {
    let line = |path: &[&str]| {
        let node = path.iter().try_fold(Tree::ROOT, |node, key| tree.child(node, key))?;
        Some(tree.key_span(node).line)
    };
    AccessLines {
        ssh: line(&["access", "ssh", "allow"]),
        panel: line(&["access", "panel"]),
        control_ports: line(&["firewall", "control_ports"]),
    }
}

impl Invalid {
    fn one(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: vec![diagnostic] }
    }

    /// Counts the errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|it| it.severity == Severity::Error).count()
    }
}

impl std::fmt::Display for Invalid {
    /// Says the first error in one line and counts the others.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.diagnostics.iter().find(|it| it.severity == Severity::Error);
        f.write_str("the desired state is invalid: ")?;
        f.write_str(&first.map(Diagnostic::one_line).unwrap_or_default())?;
        match self.errors() {
            0 | 1 => Ok(()),
            2 => f.write_str(" (and 1 more error)"),
            more => write!(f, " (and {} more errors)", more - 1),
        }
    }
}

impl std::error::Error for Invalid {}

impl Classify for Invalid {
    fn kind(&self) -> Kind {
        Kind::Desired
    }
}

#[cfg(test)]
mod tests;
