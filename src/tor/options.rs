//! tor's options as values: what an instance should run with, what it runs with, and how the two differ.
//!
//! Pure. Values are compared in a canonical form, since tor writes many of them in another way than they were given:
//! `256 MB` comes back as `268435456`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::desired::Fingerprint;

/// The options an instance runs with that differ from tor's defaults, in canonical form, by tor's own spelling of
/// their names; an option that is given several times has several values, in tor's order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunningOptions(pub BTreeMap<String, Vec<String>>);

/// One option to be set on a running instance; no values resets it to tor's default.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OptionChange {
    /// The option's name, in tor's spelling.
    pub name: String,
    /// What it was.
    pub from: Vec<String>,
    /// What it becomes.
    pub to: Vec<String>,
}

/// Which exits an instance is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitChoice {
    /// Any exit: `ExitNodes` stays unset.
    Any,
    /// Only these; never empty.
    Only(BTreeSet<Fingerprint>),
    /// Not known yet, or none exists: the SOCKS ports stay closed.
    Unresolved,
}

/// Whether a running tor takes a change of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settable {
    /// By SETCONF.
    AtRuntime,
    /// Only at a start.
    AtStart,
}

impl fmt::Display for OptionChange {
    /// Says `Name: old → new`; long lists are counted instead of written out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.name, brief(&self.from), brief(&self.to))
    }
}

/// Writes values for people.
fn brief(values: &[String]) -> String {
    const LONGEST_CHARS: usize = 60;
    match values {
        [] => "default".to_owned(),
        [one] if one.contains(',') => format!("{} entries", one.split(',').count()),
        [one] if one.chars().count() <= LONGEST_CHARS => one.clone(),
        [one] => format!("{}…", one.chars().take(LONGEST_CHARS).collect::<String>()),
        many => format!("{} lines", many.len()),
    }
}
