//! Events: what happened, in the order in which it was found, the latest of them kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::node::RotationStatus;
use super::totals::is_new_pass;
use super::{Condition, Inputs, NodeState, NodeStatus, Reason, Warning};
use crate::desired::NodeName;
use crate::observe::Author;
use crate::plan::step::{Cause, Object, Step};

/// How many events are kept.
pub const KEPT: usize = 200;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Rises from event to event, also over a restart of the daemon.
    pub id: u64,
    /// When it was found.
    pub at: Timestamp,
    /// Whether an operator should care.
    pub severity: Severity,
    /// Why.
    pub reason: Reason,
    /// What it is about.
    pub about: About,
    /// What happened, in a sentence.
    pub message: String,
}

/// Whether an operator should care; Flux's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// All is well, or well again.
    Info,
    /// Something is not well.
    Error,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// The host as a whole: a condition.
    Host,
    /// The source.
    Source,
    /// An object that steps change.
    Object(Object),
    /// A node.
    Node(NodeName),
}

impl Severity {
    /// All severities.
    pub const ALL: [Self; 2] = [Self::Info, Self::Error];

    /// The severity's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Error => "error",
        }
    }
}

/// An event that has no id and no time yet.
struct Draft {
    severity: Severity,
    reason: Reason,
    about: About,
    message: String,
}

/// The events after a pass: those before, and the new ones behind them.
pub(super) fn after(
    inputs: &Inputs<'_>,
    conditions: &[Condition],
    nodes: &[NodeStatus],
    warnings: &[Warning],
) -> VecDeque<Arc<Event>> {
    let mut events = inputs.previous.map(|previous| previous.events.clone()).unwrap_or_default();
    let next_id = events.back().map_or_else(|| first_id(inputs), |event| event.id + 1);
    let drafts = accepted(inputs)
        .into_iter()
        .chain(steps(inputs))
        .chain(failures(inputs))
        .chain(node_changes(inputs, nodes))
        .chain(condition_changes(inputs, conditions))
        .chain(new_warnings(inputs, warnings));
    for (id, draft) in (next_id..).zip(drafts) {
        events.push_back(Arc::new(draft.event(id, inputs.now)));
    }
    events.drain(..events.len().saturating_sub(KEPT));
    events
}

impl Draft {
    fn event(self, id: u64, at: Timestamp) -> Event {
        Event { id, at, severity: self.severity, reason: self.reason, about: self.about, message: self.message }
    }
}

/// Begins at the time of the start, in units of which no daemon makes one event: so ids rise over a restart.
fn first_id(inputs: &Inputs<'_>) -> u64 {
    let started = inputs.previous.map_or(inputs.now, |previous| previous.started);
    u64::try_from(started.as_microsecond()).unwrap_or(0)
}

fn accepted(inputs: &Inputs<'_>) -> Option<Draft> {
    let accepted = inputs.source.accepted.as_ref()?;
    let before = inputs.previous.and_then(|previous| previous.source.accepted.as_ref());
    (before != Some(accepted)).then(|| Draft {
        severity: Severity::Info,
        reason: Reason::NewArtifact,
        about: About::Source,
        message: format!("{accepted} is in force"),
    })
}

fn steps(inputs: &Inputs<'_>) -> Vec<Draft> {
    let pass = inputs.pass.filter(|_| is_new_pass(inputs));
    let applied = pass.map_or(&[][..], |pass| &pass.applied);
    let author = pass.and_then(|pass| pass.guard_author.as_ref());
    let draft = |step: &Step| Draft {
        severity: Severity::Info,
        reason: if step.cause == Cause::Drift { Reason::DriftCorrected } else { Reason::Succeeded },
        about: About::Object(step.object.clone()),
        message: format!("{step} ({}): done", cause(step, author)),
    };
    applied.iter().map(draft).collect()
}

/// Why a step was carried out, with who had made it necessary where somebody can have been told.
pub fn cause(step: &Step, guard_author: Option<&Author>) -> String {
    match (step.cause, &step.object) {
        (Cause::Drift, Object::Guard) => format!("{}, {}", step.cause, Author::told(guard_author)),
        _ => step.cause.to_string(),
    }
}

/// One event for each failed attempt, not for each pass that still knows of it.
fn failures(inputs: &Inputs<'_>) -> Vec<Draft> {
    let known = |object: &Object| inputs.previous.and_then(|previous| previous.failures.get(object));
    inputs
        .failures
        .iter()
        .filter(|(object, failure)| {
            known(object).is_none_or(|before| before.attempts != failure.attempts || before.message != failure.message)
        })
        .map(|(object, failure)| Draft {
            severity: Severity::Error,
            reason: if *object == Object::Guard { Reason::FirewallApplyFailed } else { Reason::ReconciliationFailed },
            about: About::Object(object.clone()),
            message: super::describe::describe_failure(failure),
        })
        .collect()
}

fn node_changes(inputs: &Inputs<'_>, nodes: &[NodeStatus]) -> Vec<Draft> {
    let before: BTreeMap<&NodeName, &NodeStatus> = inputs
        .previous
        .map(|previous| previous.nodes.iter().map(|node| (&node.name, node)).collect())
        .unwrap_or_default();
    let changed = |node: &NodeStatus| {
        let before = before.get(&node.name).copied();
        let state = before.is_none_or(|before| before.state != node.state).then(|| state_change(node));
        let restart = before.filter(|before| before.restarts != node.restarts).map(|_| restart(node));
        let rotation = node.last_rotation.as_ref().filter(|rotation| {
            let last = before.and_then(|before| before.last_rotation.as_ref());
            before.is_some() && last.is_none_or(|last| last.at != rotation.at)
        });
        let rotation = rotation.map(|rotation| self::rotation(node, rotation));
        restart.into_iter().chain(rotation).chain(state).collect::<Vec<_>>()
    };
    nodes.iter().flat_map(changed).collect()
}

fn state_change(node: &NodeStatus) -> Draft {
    let severity = match node.state {
        NodeState::Failed | NodeState::Degraded => Severity::Error,
        _ => Severity::Info,
    };
    let trouble = node.trouble().map(|trouble| format!(": {trouble}")).unwrap_or_default();
    Draft {
        severity,
        reason: node.ready().map_or(Reason::Progressing, |ready| ready.reason),
        about: About::Node(node.name.clone()),
        message: format!("is {}{trouble}", node.state.as_str()),
    }
}

fn restart(node: &NodeStatus) -> Draft {
    let pid = node.instance.pid.map(|pid| format!(" {pid}")).unwrap_or_default();
    Draft {
        severity: Severity::Info,
        reason: Reason::Restarted,
        about: About::Node(node.name.clone()),
        message: format!("is served by another tor process{pid}"),
    }
}

fn rotation(node: &NodeStatus, rotation: &RotationStatus) -> Draft {
    Draft {
        severity: Severity::Info,
        reason: Reason::Succeeded,
        about: About::Node(node.name.clone()),
        message: format!("has rotated {rotation}"),
    }
}

/// One event for each condition that became another one, for better or worse.
fn condition_changes(inputs: &Inputs<'_>, conditions: &[Condition]) -> Vec<Draft> {
    let changed = |condition: &&Condition| {
        let before = inputs.previous.and_then(|previous| previous.condition(condition.kind));
        before.is_none_or(|before| before.status != condition.status || before.reason != condition.reason)
    };
    let draft = |condition: &Condition| Draft {
        severity: if condition.is_good() || condition.reason == Reason::Progressing {
            Severity::Info
        } else {
            Severity::Error
        },
        reason: condition.reason,
        about: About::Host,
        message: format!("{} is {}: {}", condition.kind, condition.status, condition.message),
    };
    conditions.iter().filter(changed).map(draft).collect()
}

/// One event for each sort of warning that begins or is over, however many nodes it concerns.
fn new_warnings(inputs: &Inputs<'_>, warnings: &[Warning]) -> Vec<Draft> {
    let before = inputs.previous.map_or(&[][..], |previous| &previous.warnings);
    let has = |warnings: &[Warning], reason| warnings.iter().any(|warning| warning.reason == reason);
    let draft = |severity, reason, message| Draft { severity, reason, about: About::Host, message };
    let begun = warnings.iter().filter(|warning| !has(before, warning.reason));
    let begun = begun.map(|warning| draft(Severity::Error, warning.reason, warning.message.clone()));
    let over = Warning::REASONS.into_iter().filter(|reason| has(before, *reason) && !has(warnings, *reason));
    let over = over.map(|reason| draft(Severity::Info, reason, "is over".to_owned()));
    begun.chain(over).collect()
}
