//! The pure function that makes a status of what a pass found and did.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::conditions::{Facts, conditions};
use super::node::{self, NodeState, NodeStatus};
use super::{
    AccessLists, Activity, Condition, ConditionStatus, ConditionType, Drift, FirewallStatus, Healing, History, Inputs,
    Note, PoolStatus, Status, Totals, event, warning,
};
use crate::desired::{Access, Desired, ReconcilePolicy, SelfHeal};
use crate::observe::{Door, Observation, ObservedGuard};
use crate::plan::step::Cause;
use crate::plan::{Held, HoldReason, Plan, WaitReason};

/// Makes the status after a pass. Total and pure: the same inputs give the same status.
pub fn of(inputs: &Inputs<'_>) -> Status {
    let nodes = node::nodes(inputs);
    let drift = Drift::after(inputs);
    let conditions = conditions(&Facts { inputs, nodes: &nodes, drift: &drift });
    let warnings = warning::warnings(inputs, &nodes);
    let generation = generation(inputs);
    let reconcile = inputs.desired.map_or_else(ReconcilePolicy::default, |desired| desired.reconcile.clone());
    Status {
        started: inputs.previous.map_or(inputs.now, |previous| previous.started),
        made: inputs.now,
        activity: Activity::Idle,
        last_pass: inputs.pass.cloned().or_else(|| inputs.previous.and_then(|previous| previous.last_pass.clone())),
        ready_since: ready_since(inputs),
        resync_every: reconcile.resync_every,
        revision: inputs.source.accepted.clone().or_else(|| inputs.applied.cloned()),
        applied: inputs.applied.cloned(),
        accepted_since: accepted_since(inputs),
        generation,
        observed_generation: observed_generation(inputs, &conditions, generation),
        source: inputs.source.clone(),
        pools: pools(inputs.desired, &nodes),
        firewall: firewall(inputs, &conditions, &drift),
        server_addresses: inputs.server_addresses.to_vec(),
        audit: inputs.audit.clone(),
        access: inputs.desired.map(|desired| lists(&desired.access, inputs.plan)).unwrap_or_default(),
        exports: inputs.desired.map(|desired| Arc::new(desired.exports.clone())),
        alerting: inputs.desired.map(|desired| Arc::clone(&desired.alerts)),
        alerts: Arc::clone(inputs.alerts),
        lockouts: inputs.lockouts.to_vec(),
        healing: match reconcile.self_heal {
            SelfHeal::On => Healing::Removes,
            SelfHeal::Report => Healing::Reports,
        },
        suspended: inputs.suspended.cloned(),
        suspended_pools: inputs.suspended_pools.clone(),
        drift,
        pending: pending(inputs),
        waiting: waiting(inputs),
        blocked: blocked(inputs),
        held: held(inputs),
        events: event::after(inputs, &conditions, &nodes, &warnings),
        warnings,
        paced: paced(inputs),
        failures: inputs.failures.clone(),
        totals: Totals::after(inputs, &nodes),
        history: history(inputs, &nodes),
        conditions,
        nodes,
    }
}

/// Whether the revision in force is another one than before.
fn is_new_revision(inputs: &Inputs<'_>) -> bool {
    let before = inputs.previous.and_then(|previous| previous.source.accepted.as_ref());
    inputs.source.accepted.is_some() && inputs.source.accepted.as_ref() != before
}

fn generation(inputs: &Inputs<'_>) -> u64 {
    inputs.previous.map_or(0, |previous| previous.generation) + u64::from(is_new_revision(inputs))
}

/// Rises only when the revision in force was brought to an end: the host matches it, or somebody has to do something.
fn observed_generation(inputs: &Inputs<'_>, conditions: &[Condition], generation: u64) -> u64 {
    let is_true =
        |kind| conditions.iter().any(|condition| condition.kind == kind && condition.status == ConditionStatus::True);
    if is_true(ConditionType::Ready) || is_true(ConditionType::Stalled) {
        return generation;
    }
    inputs.previous.map_or(0, |previous| previous.observed_generation)
}

fn accepted_since(inputs: &Inputs<'_>) -> Option<jiff::Timestamp> {
    if is_new_revision(inputs) {
        return Some(inputs.now);
    }
    inputs.previous.and_then(|previous| previous.accepted_since)
}

fn ready_since(inputs: &Inputs<'_>) -> Option<jiff::Timestamp> {
    let before = inputs.previous.and_then(|previous| previous.ready_since);
    before.or_else(|| inputs.desired.and(inputs.pass).map(|_| inputs.now))
}

fn pools(desired: Option<&Desired>, nodes: &[NodeStatus]) -> Vec<PoolStatus> {
    let pools = desired.map_or(&[][..], |desired| &desired.pools);
    let ready = |name| nodes.iter().filter(|node| &node.pool == name && node.state == NodeState::Ready).count();
    pools
        .iter()
        .map(|pool| PoolStatus { name: pool.name.clone(), desired: usize::from(pool.size), ready: ready(&pool.name) })
        .collect()
}

fn firewall(inputs: &Inputs<'_>, conditions: &[Condition], drift: &Drift) -> FirewallStatus {
    let in_sync = conditions.iter().find(|condition| condition.kind == ConditionType::FirewallInSync);
    let (guard, differences) = match &inputs.observed.guard {
        Observation::Present(ObservedGuard::Exact(guard)) => (Some(guard.clone()), Vec::new()),
        Observation::Present(ObservedGuard::Altered(differences)) => (None, differences.clone()),
        Observation::Absent | Observation::Unknown(_) => (None, Vec::new()),
    };
    FirewallStatus {
        driver: inputs.driver,
        in_sync: in_sync.map_or(ConditionStatus::Unknown, |condition| condition.status),
        guard,
        differences,
        changed_by: drift.guard_author().cloned(),
    }
}

fn history(inputs: &Inputs<'_>, nodes: &[NodeStatus]) -> Arc<History> {
    match inputs.previous {
        Some(previous) => Arc::new(previous.history.after(&previous.nodes, nodes, inputs.now)),
        None => Arc::new(History::default().after(&[], nodes, inputs.now)),
    }
}

fn lists(access: &Access, plan: &Plan) -> AccessLists {
    let list = |networks: &BTreeSet<IpNet>| networks.iter().copied().collect();
    let spared = plan.held.iter().filter_map(|held| match &held.reason {
        HoldReason::Lockout { visitors, .. } => Some(visitors.iter().filter(|visitor| visitor.door == Door::Panel)),
        _ => None,
    });
    AccessLists {
        socks: list(&access.socks),
        panel: list(&access.panel),
        spared: spared.flatten().map(|visitor| visitor.address.to_canonical()).collect(),
        trusted_proxies: list(&access.trusted_proxies),
        rate_limit: access.rate_limit,
        sign_in: access.sign_in.clone().map(Arc::new),
    }
}

fn pending(inputs: &Inputs<'_>) -> Vec<Note> {
    let steps = inputs.plan.steps.iter().filter(|step| step.cause != Cause::Drift);
    steps.map(|step| Note { object: step.object.clone(), message: step.to_string() }).collect()
}

fn waiting(inputs: &Inputs<'_>) -> Vec<Note> {
    let note = |wait: &crate::plan::Wait| Note { object: wait.object.clone(), message: wait.reason.to_string() };
    inputs.plan.waiting.iter().map(note).collect()
}

fn paced(inputs: &Inputs<'_>) -> usize {
    let steps = inputs.plan.waiting.iter().filter(|wait| matches!(wait.reason, WaitReason::GuardRelay(_))).count();
    steps + inputs.rotations.all_paced().count()
}

fn blocked(inputs: &Inputs<'_>) -> Vec<Note> {
    let note = |block: &crate::plan::Block| Note { object: block.object.clone(), message: block.reason.to_string() };
    inputs.plan.blocked.iter().map(note).collect()
}

fn held(inputs: &Inputs<'_>) -> Vec<Held> {
    let is_drift_left_alone = |held: &Held| held.step.cause == Cause::Drift && held.reason == HoldReason::Suspended;
    inputs.plan.held.iter().filter(|held| !is_drift_left_alone(held)).cloned().collect()
}
