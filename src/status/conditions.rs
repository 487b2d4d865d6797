//! How each condition is judged: one pure function a condition.

mod held;
mod source;

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::condition::{Condition, ConditionStatus, ConditionType};
use super::describe::{
    count, count_were, describe_failure, describe_node, describe_suspension, listing, reason_of_block, reason_of_hold,
};
use super::drift::{Drift, DriftItem};
use super::inputs::{Fault, Inputs, SourceError};
use super::node::{self, NodeState, NodeStatus};
use super::reason::Reason;
use super::reference;
use crate::desired::SelfHeal;
use crate::observe::{Observation, ObservedGuard};
use crate::plan::BlockReason;
use crate::plan::step::{Cause, Object, Step};

/// What a condition comes to, before its time is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    status: ConditionStatus,
    reason: Reason,
    message: String,
}

impl Verdict {
    pub(super) fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::True, reason, message: message.into() }
    }

    pub(super) fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::False, reason, message: message.into() }
    }

    pub(super) fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::Unknown, reason, message: message.into() }
    }

    /// Makes it a condition, which keeps the time of the one before while the status is the same.
    pub(super) fn condition(self, kind: ConditionType, previous: &[Condition], now: Timestamp) -> Condition {
        let same = previous.iter().find(|before| before.kind == kind && before.status == self.status);
        Condition {
            kind,
            status: self.status,
            reason: self.reason,
            message: self.message,
            last_transition_time: same.map_or(now, |before| before.last_transition_time),
        }
    }
}

/// What the conditions are judged by.
pub(super) struct Facts<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) nodes: &'a [NodeStatus],
    pub(super) drift: &'a Drift,
}

/// Judges every condition that applies.
pub(super) fn conditions(facts: &Facts<'_>) -> Vec<Condition> {
    let previous = facts.inputs.previous.map_or(&[][..], |previous| &previous.conditions);
    let now = facts.inputs.now;
    let judged = |kind| {
        let verdict = facts.judge(kind)?;
        // The documents have the closed list of what can be said: whoever says something else has to add it there.
        debug_assert!(
            reference::reasons(kind, verdict.status).contains(&verdict.reason),
            "src/status/reference.rs does not know that {kind} is {} for {}",
            verdict.status,
            verdict.reason
        );
        Some(verdict.condition(kind, previous, now))
    };
    ConditionType::ALL.into_iter().filter_map(judged).collect()
}

/// The conditions of a daemon that has just started.
pub(super) fn starting(now: Timestamp) -> Vec<Condition> {
    let verdict = |kind| match kind {
        ConditionType::SourceVerified => None,
        ConditionType::Reconciling => Some(Verdict::yes(Reason::Progressing, "the daemon has just started")),
        _ => Some(Verdict::unknown(Reason::Progressing, "the daemon has just started")),
    };
    ConditionType::ALL.into_iter().filter_map(|kind| Some(verdict(kind)?.condition(kind, &[], now))).collect()
}

impl Facts<'_> {
    fn judge(&self, kind: ConditionType) -> Option<Verdict> {
        match kind {
            ConditionType::Ready => Some(self.ready()),
            ConditionType::Reconciling => Some(self.reconciling()),
            ConditionType::Stalled => Some(self.stalled()),
            ConditionType::SourceVerified => self.source_verified(),
            ConditionType::FetchFailed => Some(self.fetch_failed()),
            ConditionType::ArtifactOutdated => Some(self.artifact_outdated()),
            ConditionType::Healthy => Some(self.healthy()),
            ConditionType::Drifted => Some(self.drifted()),
            ConditionType::Suspended => Some(self.suspended()),
            ConditionType::FirewallInSync => Some(self.firewall_in_sync()),
        }
    }

    /// True when the whole host is what the revision in force says, and every node serves.
    fn ready(&self) -> Verdict {
        self.no_revision()
            .or_else(|| self.failed())
            .or_else(|| self.blocked())
            .or_else(|| self.stopped())
            .or_else(|| self.unobserved())
            .or_else(|| self.unfinished())
            .or_else(|| self.left_alone())
            .or_else(|| self.unhealthy())
            .unwrap_or_else(|| Verdict::yes(Reason::ReconciliationSucceeded, self.all_well()))
    }

    fn no_revision(&self) -> Option<Verdict> {
        if self.inputs.desired.is_some() {
            return None;
        }
        Some(match &self.inputs.source.error {
            Some(SourceError { fault, message }) => Verdict::no(fault.reason(), message.clone()),
            None => Verdict::unknown(Reason::Progressing, "no revision is in force yet"),
        })
    }

    fn failed(&self) -> Option<Verdict> {
        let failures: Vec<String> = self
            .inputs
            .failures
            .iter()
            .map(|(object, failure)| format!("{object}: {}", describe_failure(failure)))
            .collect();
        (!failures.is_empty()).then(|| Verdict::no(Reason::ReconciliationFailed, listing(&failures)))
    }

    fn blocked(&self) -> Option<Verdict> {
        let blocked = self.blocks();
        let reason = blocked.first()?.0;
        let sentences: Vec<String> = blocked.into_iter().map(|(_, sentence)| sentence).collect();
        Some(Verdict::no(reason, listing(&sentences)))
    }

    /// The blocks that are certain, as reasons and sentences.
    fn blocks(&self) -> Vec<(Reason, String)> {
        let certain = self.inputs.plan.blocked.iter().filter(|block| !matches!(block.reason, BlockReason::Unknown(_)));
        certain.map(|block| (reason_of_block(&block.reason), format!("{}: {}", block.object, block.reason))).collect()
    }

    fn unobserved(&self) -> Option<Verdict> {
        let unknowns = self.unknowns();
        (!unknowns.is_empty()).then(|| Verdict::unknown(Reason::ObservationFailed, listing(&unknowns)))
    }

    /// What could not be observed, one sentence each.
    fn unknowns(&self) -> Vec<String> {
        let guard = self.guard_unknown().map(|why| format!("{}: {why}", Object::Guard));
        let relays = self.inputs.observed.relays.unknown().map(|why| format!("the relays: {why}"));
        guard.into_iter().chain(relays).chain(node::unknowns(self.inputs)).collect()
    }

    /// Why the guard could not be observed, where that is so and there should be one.
    fn guard_unknown(&self) -> Option<&str> {
        if self.inputs.driver == NO_FIREWALL {
            return None;
        }
        let blocked = self.inputs.plan.blocked.iter().find_map(|block| match &block.reason {
            BlockReason::Unknown(why) if block.object == Object::Guard => Some(why.as_str()),
            _ => None,
        });
        self.inputs.observed.guard.unknown().or(blocked)
    }

    fn unfinished(&self) -> Option<Verdict> {
        if let Some(item) = self.drift.items.first() {
            return Some(Verdict::no(Reason::DriftDetected, item.told()));
        }
        self.work().map(|work| Verdict::no(Reason::Progressing, work))
    }

    /// What is still to do or to wait for; drift that is only reported is neither.
    fn work(&self) -> Option<String> {
        let steps = self.inputs.plan.steps.iter().filter(|step| self.is_due(step)).map(ToString::to_string);
        let waits = &self.inputs.plan.waiting;
        let waits = waits.iter().map(|wait| format!("{}: {}", wait.object, wait.reason));
        let sentences: Vec<String> = steps.chain(waits).collect();
        (!sentences.is_empty()).then(|| listing(&sentences))
    }

    fn is_due(&self, step: &Step) -> bool {
        let heals = self.inputs.desired.is_none_or(|desired| desired.reconcile.self_heal == SelfHeal::On);
        heals || !matches!(step.cause, Cause::Drift | Cause::Health)
    }

    fn unhealthy(&self) -> Option<Verdict> {
        let nodes = self.nodes.iter().filter(|node| node.state != NodeState::Ready);
        let sentences: Vec<String> = nodes.map(describe_node).collect();
        (!sentences.is_empty()).then(|| Verdict::no(Reason::HealthCheckFailed, listing(&sentences)))
    }

    fn all_well(&self) -> String {
        let revision = self.inputs.source.accepted.as_ref().or(self.inputs.applied);
        let revision = revision.map_or_else(|| "the desired state".to_owned(), crate::desired::Revision::short);
        format!("the host matches {revision}: {} ready", count(self.nodes.len(), "node"))
    }

    /// True while steps or waits are left and nobody has suspended the reconciler.
    fn reconciling(&self) -> Verdict {
        if let Some(suspension) = self.inputs.suspended {
            return Verdict::no(Reason::Suspended, format!("suspended by {}: {}", suspension.by, suspension.reason));
        }
        let retries = self.inputs.failures.values().any(|failure| failure.retry_at.is_some());
        match self.work() {
            Some(work) if retries => Verdict::yes(Reason::ProgressingWithRetry, work),
            Some(work) => Verdict::yes(Reason::Progressing, work),
            None if self.inputs.desired.is_none() => self.waiting_for_a_revision(),
            None => Verdict::no(Reason::Succeeded, "nothing is left to do"),
        }
    }

    fn waiting_for_a_revision(&self) -> Verdict {
        if let Some(why) = self.inputs.source.withheld {
            return Verdict::no(Reason::NewRevision, format!("a revision is offered: {why}"));
        }
        match self.source_error(Fault::is_refusal) {
            Some(error) => Verdict::no(error.fault.reason(), "it waits for a revision that it can accept"),
            None => Verdict::yes(Reason::Progressing, "it waits for a revision"),
        }
    }

    /// True when trying again cannot help: a refused revision, a failure that is not retried, something missing.
    fn stalled(&self) -> Verdict {
        if let Some(SourceError { fault, message }) = self.source_error(Fault::is_refusal) {
            return Verdict::yes(fault.reason(), message.clone());
        }
        let for_ever = self.inputs.failures.iter().find(|(_, failure)| failure.retry_at.is_none());
        if let Some((object, failure)) = for_ever {
            return Verdict::yes(Reason::ReconciliationFailed, format!("{object}: {}", describe_failure(failure)));
        }
        // A missing guard is put in place by us; the other blocks need somebody.
        let needs_somebody = self.blocks().into_iter().find(|(reason, _)| *reason != Reason::Unguarded);
        match needs_somebody.or_else(|| self.stopped_rollout()).or_else(|| self.held_for_a_word()) {
            Some((reason, sentence)) => Verdict::yes(reason, sentence),
            None => Verdict::no(Reason::Succeeded, "nothing needs an operator"),
        }
    }

    /// Finds a pool whose change goes no further, since nodes that it has reached do not serve.
    fn stopped_rollout(&self) -> Option<(Reason, String)> {
        let waits =
            |node: &&NodeStatus| node.ready().is_some_and(|ready| ready.reason == Reason::MaxUnavailableLimitReached);
        let is_bad =
            |node: &&NodeStatus| matches!(node.state, NodeState::Failed | NodeState::Degraded) && !is_unknown(node);
        let pools: BTreeSet<_> = self.nodes.iter().filter(waits).map(|node| &node.pool).collect();
        pools.into_iter().find_map(|pool| {
            let of_pool = || self.nodes.iter().filter(|node| node.pool == *pool);
            let bad: Vec<String> = of_pool().filter(is_bad).map(describe_node).collect();
            let kept = count(of_pool().filter(waits).count(), "node");
            let stopped = format!("the change of pool {pool} has stopped, {kept} left as before: {}", listing(&bad));
            (!bad.is_empty()).then_some((Reason::RolloutStopped, stopped))
        })
    }

    /// True when every node serves as desired; unknown while nodes are on their way or cannot be observed.
    fn healthy(&self) -> Verdict {
        if self.inputs.desired.is_none() {
            return Verdict::unknown(Reason::Progressing, "no revision is in force yet");
        }
        if let Some(incident) = self.inputs.incident {
            return Verdict::no(Reason::NetworkDown, incident.to_string());
        }
        let sentences = |wanted: &dyn Fn(&NodeStatus) -> bool| -> Vec<String> {
            self.nodes.iter().filter(|node| wanted(node)).map(describe_node).collect()
        };
        let bad = sentences(&|node| matches!(node.state, NodeState::Failed | NodeState::Degraded) && !is_unknown(node));
        if !bad.is_empty() {
            return Verdict::no(Reason::HealthCheckFailed, listing(&bad));
        }
        let unknown = sentences(&is_unknown);
        if !unknown.is_empty() {
            return Verdict::unknown(Reason::ObservationFailed, listing(&unknown));
        }
        let under_way = sentences(&|node| node.state != NodeState::Ready);
        if !under_way.is_empty() {
            return Verdict::unknown(Reason::Progressing, listing(&under_way));
        }
        Verdict::yes(Reason::Succeeded, format!("{} ready", count(self.nodes.len(), "node")))
    }

    /// True when something is not as it was left; unknown when a part of the host could not be observed.
    fn drifted(&self) -> Verdict {
        let items: Vec<String> = self.drift.items.iter().map(DriftItem::told).collect();
        if !items.is_empty() {
            return Verdict::yes(Reason::DriftDetected, listing(&items));
        }
        if self.inputs.desired.is_none() {
            return Verdict::unknown(Reason::Progressing, "no revision is in force yet");
        }
        if let Some(unknown) = self.unobserved() {
            return unknown;
        }
        match self.drift.repaired.len() {
            0 => Verdict::no(Reason::NoDriftDetected, "the host is as it was left"),
            repaired => {
                let sentence = format!("{} removed in the last pass", count_were(repaired, "difference"));
                Verdict::no(Reason::DriftCorrected, sentence)
            }
        }
    }

    fn suspended(&self) -> Verdict {
        let host = self.inputs.suspended.map(describe_suspension);
        let pools = self.inputs.suspended_pools.iter();
        let pools = pools.map(|(pool, suspension)| format!("pool {pool} is {}", describe_suspension(suspension)));
        let sentences: Vec<String> = host.into_iter().chain(pools).collect();
        if sentences.is_empty() {
            return Verdict::no(Reason::NotSuspended, "nobody has suspended the reconciler");
        }
        Verdict::yes(Reason::Suspended, listing(&sentences))
    }

    /// True when the guard is exactly as desired, as read back.
    fn firewall_in_sync(&self) -> Verdict {
        let driver = self.inputs.driver;
        if self.inputs.desired.is_none() {
            return Verdict::unknown(Reason::Progressing, "no revision is in force yet");
        }
        if driver == NO_FIREWALL {
            return Verdict::yes(
                Reason::FirewallDisabled,
                "firewall.driver is `none`: exitpool keeps no firewall here",
            );
        }
        if let Some(failure) = self.inputs.failures.get(&Object::Guard) {
            return Verdict::no(Reason::FirewallApplyFailed, describe_failure(failure));
        }
        if let Some(why) = self.guard_unknown() {
            return Verdict::unknown(Reason::ObservationFailed, format!("{driver}: {why}"));
        }
        if let Some(verdict) = self.guard_left() {
            return verdict;
        }
        match &self.inputs.observed.guard {
            Observation::Present(ObservedGuard::Altered(differences)) => {
                Verdict::no(Reason::OutOfSync, format!("{driver}: {}", listing(differences)))
            }
            Observation::Absent => {
                Verdict::yes(Reason::InSync, format!("{driver}: no guard is needed, and none is there"))
            }
            _ => Verdict::yes(Reason::InSync, format!("{driver}: the guard is exactly as desired")),
        }
    }

    /// What the plan still has to do about the guard, or cannot.
    fn guard_left(&self) -> Option<Verdict> {
        let plan = self.inputs.plan;
        if let Some(step) = plan.steps.iter().find(|step| step.object == Object::Guard) {
            let drift = self.drift.items.iter().find(|item| item.object == Object::Guard);
            return Some(match drift.filter(|_| step.cause == Cause::Drift) {
                Some(item) => Verdict::no(Reason::DriftDetected, item.told()),
                None => Verdict::no(Reason::OutOfSync, step.to_string()),
            });
        }
        if let Some(wait) = plan.waiting.iter().find(|wait| wait.object == Object::Guard) {
            return Some(Verdict::unknown(Reason::Progressing, wait.reason.to_string()));
        }
        if let Some(held) = plan.held.iter().find(|held| held.step.object == Object::Guard) {
            return Some(Verdict::no(reason_of_hold(&held.reason), held.reason.advice(1)));
        }
        let block = plan.blocked.iter().find(|block| block.object == Object::Guard)?;
        Some(Verdict::no(reason_of_block(&block.reason), block.reason.to_string()))
    }
}

/// The name of the driver that does nothing.
const NO_FIREWALL: &str = "none";

/// Whether nobody can tell what a node does.
fn is_unknown(node: &NodeStatus) -> bool {
    node.ready().is_none_or(|ready| ready.status == ConditionStatus::Unknown)
}
