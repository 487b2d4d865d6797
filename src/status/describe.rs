//! Sentences: what is said of a node, a failure, a block or a wait, everywhere in the same words.

use super::inputs::Failure;
use super::node::NodeStatus;
use super::reason::Reason;
use crate::plan::{BlockReason, WaitReason};

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

/// Says why something cannot be had.
pub(super) fn describe_block(reason: &BlockReason) -> (Reason, String) {
    match reason {
        BlockReason::Unknown(why) => (Reason::ObservationFailed, why.clone()),
        BlockReason::Program(why) => (Reason::DependencyNotReady, why.clone()),
        BlockReason::NoExits { countries } if countries.is_empty() => {
            (Reason::NoExits, "no exit of the consensus fits the wish".to_owned())
        }
        BlockReason::NoExits { countries } => {
            let countries: Vec<String> = countries.iter().map(ToString::to_string).collect();
            (Reason::NoExits, format!("no exit of the consensus fits the wish in {}", countries.join(", ")))
        }
        BlockReason::PortTaken { address, holder } => {
            (Reason::PortTaken, format!("{address} is taken by {holder}: stop it, or change socks_port"))
        }
        BlockReason::Unguarded => {
            (Reason::Unguarded, "the guard is not in place, so no port may open that others could reach".to_owned())
        }
    }
}

/// Says what is waited for.
pub(super) fn describe_wait(reason: &WaitReason) -> String {
    match reason {
        WaitReason::Bootstrapping { progress, summary } => format!("tor is at {progress}%: {summary}"),
        WaitReason::Relays => "the relays are not known yet, so its exits cannot be chosen".to_owned(),
        WaitReason::Circuit => "it has its exits, and no circuit yet".to_owned(),
        WaitReason::MaxUnavailable => "it serves, and its change waits until more of its pool is ready".to_owned(),
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
