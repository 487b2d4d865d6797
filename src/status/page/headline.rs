//! The one sentence that answers the first question: does the host match the file?

use serde::Serialize;

use crate::desired::Revision;
use crate::status::describe::{count, count_were, describe_suspension};
use crate::status::{Condition, ConditionStatus, ConditionType, Healing, NodeState, Reason, Status};

/// How something is, for its colour and its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// On its way.
    Work,
    /// An operator should look.
    Warn,
    /// An operator has to do something.
    Bad,
    /// Nobody can tell.
    Unknown,
}

/// The sentence, and what belongs to it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Headline {
    pub(super) tone: Tone,
    pub(super) sentence: String,
    pub(super) details: Vec<String>,
}

/// Finds the sentence: the first that holds.
pub(super) fn of(status: &Status) -> Headline {
    let (tone, sentence) = refused(status)
        .or_else(|| suspended(status))
        .or_else(|| young(status))
        .or_else(|| failed(status))
        .or_else(|| blocked(status))
        .or_else(|| drifted(status))
        .or_else(|| unknown(status))
        .or_else(|| moving(status))
        .unwrap_or_else(|| (Tone::Good, format!("The host matches {}.", revision(status))));
    Headline { tone, sentence, details: details(status) }
}

/// How a condition is.
pub(super) fn tone_of(condition: &Condition) -> Tone {
    match (condition.kind, condition.status) {
        _ if condition.is_good() => Tone::Good,
        _ if condition.reason == Reason::Progressing => Tone::Work,
        (_, ConditionStatus::Unknown) => Tone::Unknown,
        (ConditionType::Reconciling, _) => Tone::Work,
        (ConditionType::ArtifactOutdated | ConditionType::Drifted | ConditionType::Suspended, _) => Tone::Warn,
        _ => Tone::Bad,
    }
}

/// How the condition of a kind is; one that does not apply is unknown.
pub(super) fn tone(status: &Status, kind: ConditionType) -> Tone {
    status.condition(kind).map_or(Tone::Unknown, tone_of)
}

fn revision(status: &Status) -> String {
    status.revision.as_ref().map_or_else(|| "the desired state".to_owned(), Revision::short)
}

fn refused(status: &Status) -> Option<(Tone, String)> {
    let error = status.source.error.as_ref().filter(|error| error.fault.is_refusal())?;
    Some((Tone::Bad, format!("Refused: {}", error.message)))
}

fn suspended(status: &Status) -> Option<(Tone, String)> {
    let suspension = status.suspended.as_ref()?;
    Some((Tone::Warn, format!("Nothing is changed: {}.", describe_suspension(suspension))))
}

fn young(status: &Status) -> Option<(Tone, String)> {
    if status.ready_since.is_some() {
        return None;
    }
    let sentence = match &status.source.error {
        Some(error) => return Some((Tone::Bad, format!("No revision is in force: {}", error.message))),
        None if status.revision.is_none() => "No revision is in force yet.".to_owned(),
        None => "The first pass is not done yet.".to_owned(),
    };
    Some((Tone::Unknown, sentence))
}

fn failed(status: &Status) -> Option<(Tone, String)> {
    let (object, failure) = status.failures.first_key_value()?;
    let sentence = match status.failures.len() {
        1 => format!("{object} failed: {}.", failure.message),
        many => format!("{} failed, {object} among them: {}.", count(many, "thing"), failure.message),
    };
    Some((Tone::Bad, capitalised(&sentence)))
}

fn blocked(status: &Status) -> Option<(Tone, String)> {
    let stalled = status.condition(ConditionType::Stalled)?;
    let first = (stalled.status == ConditionStatus::True).then_some(stalled)?;
    let sentence = match status.blocked.len() {
        0 | 1 => format!("{}.", first.message),
        many => format!("{} cannot be had: {}, and more.", count(many, "thing"), first.message),
    };
    Some((Tone::Bad, capitalised(&sentence)))
}

fn drifted(status: &Status) -> Option<(Tone, String)> {
    let differences = status.drift.items.len();
    let verb = if differences == 1 { "is" } else { "are" };
    let what = match status.healing {
        Healing::Removes if !status.suspended_pools.is_empty() => "being removed, but for what is suspended",
        Healing::Removes => "being removed",
        Healing::Reports => "reported and left alone",
    };
    (differences > 0).then(|| (Tone::Warn, format!("{} {verb} {what}.", count(differences, "difference"))))
}

fn unknown(status: &Status) -> Option<(Tone, String)> {
    let ready = status.condition(ConditionType::Ready)?;
    (ready.status == ConditionStatus::Unknown)
        .then(|| (Tone::Unknown, format!("Nobody can tell whether the host matches: {}.", ready.message)))
}

fn moving(status: &Status) -> Option<(Tone, String)> {
    if status.condition_status(ConditionType::Ready) == ConditionStatus::True {
        return None;
    }
    let missing = status.nodes.iter().filter(|node| node.state != NodeState::Ready).count();
    let steps = status.pending.len();
    let left = match (steps, missing) {
        (0, _) => format!("{} not ready yet", count(missing, "node")),
        (_, 0) => format!("{} left", count(steps, "step")),
        _ => format!("{} left, {} not ready yet", count(steps, "step"), count(missing, "node")),
    };
    Some((Tone::Work, format!("The host is on its way to {}: {left}.", revision(status))))
}

/// What is worth a second line: a source that cannot be read, a revision that is not in force.
fn details(status: &Status) -> Vec<String> {
    let mut details: Vec<String> = about_source(status).into_iter().collect();
    let pools = status.suspended_pools.iter();
    details.extend(
        pools.map(|(pool, suspension)| format!("Pool {pool} is left alone: {}.", describe_suspension(suspension))),
    );
    details.extend(also(status));
    if !status.drift.repaired.is_empty() {
        details.push(format!("{} removed in the last pass.", count_were(status.drift.repaired.len(), "difference")));
    }
    details
}

fn about_source(status: &Status) -> Option<String> {
    let outdated = status.condition(ConditionType::ArtifactOutdated)?;
    match &status.source.error {
        _ if status.revision.is_none() => None,
        Some(error) if error.fault.is_refusal() => Some(format!("{} stays in force.", revision(status))),
        Some(error) => Some(format!("The source could not be read: {}", error.message)),
        None if outdated.status == ConditionStatus::True => Some(format!("{}.", capitalised(&outdated.message))),
        None => None,
    }
}

/// Counts what the sentence does not speak of, where it speaks of a failure.
fn also(status: &Status) -> Option<String> {
    let drift = (!status.drift.items.is_empty()).then(|| count(status.drift.items.len(), "difference"));
    let others =
        [(status.blocked.len(), "blocked"), (status.pending.len(), "to do"), (status.waiting.len(), "waiting")];
    let others = others.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}"));
    let counted: Vec<String> = drift.into_iter().chain(others).collect();
    let speaks_of_failure = !status.failures.is_empty();
    (speaks_of_failure && !counted.is_empty()).then(|| format!("Besides: {}.", counted.join(", ")))
}

fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
