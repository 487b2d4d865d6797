//! Which revision is in force. Pure: no I/O, no clock.
//!
//! A source offers a revision that is believed and valid; [`decide`] says whether it is put in force. What operators
//! have said stands in [`Orders`]. Reading, verifying and remembering do not belong here.

pub mod orders;

use std::fmt;

use crate::desired::{Desired, NewCommits, Revision};

pub use orders::{Endangered, Mark, Orders, Retreat, Suspension};

/// A revision with what it says.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    /// The revision.
    pub revision: &'a Revision,
    /// The desired state.
    pub desired: &'a Desired,
}

/// What the decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The newest revision of the source, believed and valid.
    pub offered: Version<'a>,
    /// The revision in force; `None` where there is none yet.
    pub in_force: Option<Version<'a>>,
    /// The revision that an operator asks for now.
    pub asked: Option<&'a Revision>,
    /// What operators have said before.
    pub orders: &'a Orders,
}

/// What becomes of the offered revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is in force already.
    Keep,
    /// It is put in force.
    TakeUp,
    /// It is shown, and what is in force stays in force.
    Leave(Why),
}

/// Why an offered revision is not put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The host is suspended.
    Suspended,
    /// A rollback has marked it as bad.
    RolledBack,
    /// `reconcile.new_commits` is `manual`.
    Manual,
}

/// Decides on the offered revision. The file in force says whether it is waited for an operator; where none is in
/// force yet, the offered one does.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let Situation { offered, in_force, asked, orders } = situation;
    if in_force.is_some_and(|version| version.revision == offered.revision) {
        return Decision::Keep;
    }
    if orders.host.is_some() {
        return Decision::Leave(Why::Suspended);
    }
    if *asked == Some(offered.revision) {
        return Decision::TakeUp;
    }
    if orders.is_bad(offered.revision) {
        return Decision::Leave(Why::RolledBack);
    }
    match in_force.unwrap_or(*offered).desired.reconcile.new_commits {
        NewCommits::Auto => Decision::TakeUp,
        NewCommits::Manual => Decision::Leave(Why::Manual),
    }
}

/// Finds the revision to go back to: the one that was put in force before the one that is, and is not marked as bad.
///
/// `history` has the revisions in the order in which they were put in force, oldest first.
pub fn before<'a>(history: &'a [Revision], in_force: &Revision, orders: &Orders) -> Option<&'a Revision> {
    let end = history.iter().rposition(|revision| revision == in_force).unwrap_or(history.len());
    history[..end].iter().rev().find(|revision| *revision != in_force && !orders.is_bad(revision))
}

/// Whether a revision is the one that an operator names: in full, or by the 40 digits of its commit.
pub fn is_named(revision: &Revision, name: &str) -> bool {
    let text = revision.to_string();
    text == name || text.rsplit_once("@sha1:").is_some_and(|(_, commit)| commit == name)
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Suspended => "it waits until the host is resumed: `exitpool resume`",
            Self::RolledBack => {
                "it was rolled back, so a newer one is waited for; `exitpool apply --revision` takes it up all the same"
            }
            Self::Manual => "it waits for `exitpool apply --revision` (reconcile.new_commits is `manual`)",
        })
    }
}

#[cfg(test)]
mod tests;
