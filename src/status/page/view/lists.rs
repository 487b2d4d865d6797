//! The lists of the page: conditions, differences, what waits or failed, events. Long ones are cut and counted.

use serde::Serialize;

use super::Time;
use crate::desired::alerts::Severity as Importance;
use crate::plan::Held;
use crate::status::page::headline::{self, Tone};
use crate::status::wire::ObjectDocument;
use crate::status::{
    Alert, Condition, ConditionStatus, ConditionType, DriftItem, Event, Note, Repair, Severity, Status,
};

/// How many of the latest events are shown.
const EVENTS_SHOWN: usize = 20;
/// How many of a list of differences are shown.
const SHOWN: usize = 20;

/// A condition.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    tone: Tone,
    name: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
    since: Time,
}

/// What is not as desired, what waits for it, and what was brought back.
#[derive(Debug, Serialize)]
pub(super) struct Differences {
    drift: Vec<DriftView>,
    notes: Vec<NoteView>,
    /// How many more there are than are shown.
    more: usize,
    none: String,
    repaired: Vec<DriftView>,
}

#[derive(Debug, Serialize)]
struct DriftView {
    message: String,
    since: Time,
}

/// Something that waits, failed or cannot be had.
#[derive(Debug, Serialize)]
struct NoteView {
    tone: Tone,
    word: &'static str,
    about: String,
    message: String,
}

/// An alert that fires.
#[derive(Debug, Serialize)]
pub(super) struct AlertView {
    tone: Tone,
    severity: &'static str,
    rule: &'static str,
    summary: String,
    since: Time,
}

#[derive(Debug, Serialize)]
pub(super) struct EventView {
    at: Time,
    class: &'static str,
    severity: &'static str,
    reason: &'static str,
    about: String,
    message: String,
}

/// The conditions; those that are not well come first.
pub(super) fn conditions(status: &Status, time: &impl Fn(jiff::Timestamp) -> Time) -> Vec<Row> {
    let mut conditions: Vec<&Condition> = status.conditions.iter().collect();
    conditions.sort_by_key(|condition| condition.is_good());
    let row = |condition: &Condition| Row {
        tone: headline::tone_of(condition),
        name: condition.kind.as_str(),
        status: condition.status.as_str(),
        reason: condition.reason.as_str(),
        message: condition.message.clone(),
        since: time(condition.last_transition_time),
    };
    conditions.into_iter().map(row).collect()
}

pub(super) fn differences(status: &Status, time: &impl Fn(jiff::Timestamp) -> Time) -> Differences {
    let drift = |item: &DriftItem, at| DriftView { message: item.told(), since: time(at) };
    let items: Vec<_> = status.drift.items.iter().take(SHOWN).map(|item| drift(item, item.since)).collect();
    let all = status.drift.items.len() + count_notes(status);
    let notes: Vec<_> = notes(status).take(SHOWN).collect();
    let repaired = |repair: &Repair| drift(&repair.item, repair.at);
    Differences {
        more: all - items.len() - notes.len(),
        drift: items,
        notes,
        none: none(status),
        repaired: status.drift.lately.iter().map(repaired).collect(),
    }
}

/// What stands in the place of differences where none is known.
fn none(status: &Status) -> String {
    match status.condition(ConditionType::Drifted) {
        Some(drifted) if drifted.status == ConditionStatus::Unknown => format!("Unknown: {}.", drifted.message),
        _ => "None: nothing is left to do, to wait for or to repair.".to_owned(),
    }
}

fn count_notes(status: &Status) -> usize {
    let Status { failures, blocked, held, pending, waiting, warnings, .. } = status;
    failures.len() + blocked.len() + held.len() + pending.len() + waiting.len() + warnings.len()
}

/// What is not as desired and is not drift: what failed, what cannot be had, what is to be done, what is waited for.
fn notes(status: &Status) -> impl Iterator<Item = NoteView> {
    let failures = status.failures.iter().map(|(object, failure)| NoteView {
        tone: Tone::Bad,
        word: "failed",
        about: object.to_string(),
        message: crate::status::describe::describe_failure(failure),
    });
    let note = |tone, word| {
        move |note: &Note| NoteView { tone, word, about: note.object.to_string(), message: note.message.clone() }
    };
    failures
        .chain(status.blocked.iter().map(note(Tone::Bad, "blocked")))
        .chain(status.held.iter().map(held))
        .chain(status.pending.iter().map(note(Tone::Work, "to do")))
        .chain(status.waiting.iter().map(note(Tone::Work, "waiting")))
        .chain(status.warnings.iter().map(|warning| NoteView {
            tone: Tone::Warn,
            word: "warning",
            about: warning.reason.to_string(),
            message: warning.message.clone(),
        }))
}

fn held(held: &Held) -> NoteView {
    let message = format!("{} {}", held.step.action, held.reason);
    NoteView { tone: Tone::Warn, word: "held", about: held.step.object.to_string(), message }
}

/// The alerts that fire, the most important ones first, and how many more there are than are shown.
pub(super) fn alerts(status: &Status, time: &impl Fn(jiff::Timestamp) -> Time) -> (Vec<AlertView>, usize) {
    let alert = |alert: &Alert| AlertView {
        tone: match alert.rule.severity() {
            Importance::Info => Tone::Work,
            Importance::Warning => Tone::Warn,
            Importance::Critical => Tone::Bad,
        },
        severity: alert.rule.severity().word(),
        rule: alert.rule.word(),
        summary: alert.summary.clone(),
        since: time(alert.since),
    };
    let shown: Vec<_> = status.alerts.iter().take(SHOWN).map(alert).collect();
    let more = status.alerts.len() - shown.len();
    (shown, more)
}

/// The latest events, the newest first.
pub(super) fn events(status: &Status, time: &impl Fn(jiff::Timestamp) -> Time) -> Vec<EventView> {
    status.events.iter().rev().take(EVENTS_SHOWN).map(|made| event(made, time)).collect()
}

fn event(event: &Event, time: &impl Fn(jiff::Timestamp) -> Time) -> EventView {
    let ObjectDocument { kind, name } = ObjectDocument::from(&event.about);
    EventView {
        at: time(event.at),
        class: match event.severity {
            Severity::Info => "i",
            Severity::Error => "f",
        },
        severity: event.severity.as_str(),
        reason: event.reason.as_str(),
        about: if kind == name { name } else { format!("{kind} {name}") },
        message: event.message.clone(),
    }
}
