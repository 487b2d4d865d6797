//! What every error can say about itself: its kind, and whether trying again can help.
//!
//! Modules own their error enums; this module only holds the vocabulary they share. Exit codes, metric labels and
//! backoff use the kind, never the message.

use std::error::Error;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What sort of thing went wrong; a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The command line was not understood.
    Usage,
    /// The desired state is invalid.
    Desired,
    /// The source could not be read.
    Source,
    /// Something of the operating system refused: a file, a permission, a missing program.
    Host,
    /// tor refused or did not answer.
    Tor,
    /// The firewall refused or did not answer.
    Firewall,
    /// Something did not happen in time.
    Timeout,
    /// A defect of this program.
    Bug,
}

/// Whether trying the same thing again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Yes, after a while.
    Later,
    /// Only after somebody has changed something.
    Never,
}

/// An error that knows its kind and whether a retry can help.
pub trait Classify: Error {
    /// The error's kind.
    fn kind(&self) -> Kind;

    /// Whether trying again can help; a [`Kind::Bug`] is never retried.
    fn retry(&self) -> Retry {
        match self.kind() {
            Kind::Usage | Kind::Desired | Kind::Bug => Retry::Never,
            _ => Retry::Later,
        }
    }
}

/// Writes an error and its sources as one line, `outer: inner: innermost`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let _ = write!(text, ": {inner}");
        source = inner.source();
    }
    text
}
