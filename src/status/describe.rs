//! Sentences: what is said of a node or a failure, everywhere in the same words.

use super::inputs::{Failure, Fight, Suspension};
use super::node::NodeStatus;
use super::reason::Reason;
use crate::plan::step::Object;
use crate::plan::{BlockReason, HoldReason};

/// Says what a node does, and why.
pub(super) fn describe_node(node: &NodeStatus) -> String {
    match node.trouble() {
        Some(trouble) => format!("node {} is {}: {trouble}", node.name, node.state.as_str()),
        None => format!("node {} is {}", node.name, node.state.as_str()),
    }
}

/// Says what went wrong, and when it is tried again.
pub(super) fn describe_failure(failure: &Failure) -> String {
    let Failure { message, attempts, .. } = failure;
    match failure.retry_at {
        Some(at) => format!("{message} (attempt {attempts}; tried again at {at:.0})"),
        None => format!("{message} (not tried again until something changes)"),
    }
}

/// Says what needs the same repair over and over, because of whom, and when it is repaired next.
pub(super) fn describe_fight(object: &Object, fight: &Fight) -> String {
    let Fight { repairs, over, next_at, author } = fight;
    let repaired = match over.as_secs() {
        seconds @ ..120 => format!("{object} was repaired {repairs} times in {seconds} s"),
        seconds => format!("{object} was repaired {repairs} times in {} min", seconds / 60),
    };
    let because = match (author, object) {
        (Some(author), _) => format!("{author} keeps changing it: "),
        (None, Object::Guard) => "something keeps changing it, and what is not known: ".to_owned(),
        (None, Object::Instance(_)) => String::new(),
    };
    format!("{because}{repaired}; the next repair is at {next_at:.0}")
}

/// Says who has suspended something, until when, and why.
pub(super) fn describe_suspension(suspension: &Suspension) -> String {
    let until = suspension.until.map_or_else(|| "it is resumed".to_owned(), |until| until.to_string());
    format!("suspended by {} until {until}: {}", suspension.by, suspension.reason)
}

/// The reason why something cannot be had.
pub(super) fn reason_of_block(reason: &BlockReason) -> Reason {
    match reason {
        BlockReason::Unknown(_) => Reason::ObservationFailed,
        BlockReason::Program(_) => Reason::DependencyNotReady,
        BlockReason::NoExits { .. } | BlockReason::TooFewExits { .. } => Reason::NoExits,
        BlockReason::PortTaken { .. } => Reason::PortTaken,
        BlockReason::Unguarded => Reason::Unguarded,
    }
}

/// The reason why a step is held.
pub(super) fn reason_of_hold(reason: &HoldReason) -> Reason {
    match reason {
        HoldReason::Suspended => Reason::Suspended,
        HoldReason::Unconfirmed => Reason::ConfirmationNeeded,
        HoldReason::MaxDelete { .. } => Reason::MaxDeleteLimitReached,
        HoldReason::Lockout { .. } => Reason::LockoutRefused,
        HoldReason::TakenBack { .. } => Reason::RolledBack,
    }
}

/// Joins sentences; long lists are cut and counted.
pub(super) fn listing(sentences: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = sentences.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
    match sentences.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// Counts things: `1 node`, `2 nodes`.
pub(super) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Counts things that something was done to: `1 node was`, `2 nodes were`.
pub(super) fn count_were(number: usize, thing: &str) -> String {
    format!("{} {}", count(number, thing), if number == 1 { "was" } else { "were" })
}
