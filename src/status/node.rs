//! The nodes: what each one does, and why it does not do more.

mod exit;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use view::{Left, View};

use super::conditions::Verdict;
use super::describe::{describe_failure, reason_of_block};
use super::{Condition, ConditionStatus, ConditionType, Inputs, Reason};
use crate::desired::{self, Country, NodeName, PoolName};
use crate::health::Probed;
use crate::observe::{Bootstrap, Control, GuardRelay, Observation, Process, UnsafeSocks};
use crate::plan::WaitReason;
use crate::plan::step::Cause;
pub use exit::{ExitStatus, RotationStatus};

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeStatus {
    /// Its name.
    pub name: NodeName,
    /// Its pool.
    pub pool: PoolName,
    /// Where it listens, or should.
    pub socks: SocketAddr,
    /// What it does.
    pub state: NodeState,
    /// Whether it is known to serve consumers now.
    pub serving: bool,
    /// The countries its exits may stand in; empty means any.
    pub countries: Arc<BTreeSet<Country>>,
    /// The exit that its connections leave from, where it is known: not where several nodes share its tor.
    pub exit: Option<ExitStatus>,
    /// How long its latest probe took, where it passed, and else its latest circuit to build, in milliseconds.
    pub latency_ms: Option<u32>,
    /// How often it has changed its exit since the daemon started.
    pub rotations: u64,
    /// How many rotations have failed since one went well.
    pub failed_rotations: u32,
    /// The last time that it did, as far as is remembered.
    pub last_rotation: Option<RotationStatus>,
    /// How often its process has become another one since the daemon started.
    pub restarts: u64,
    /// How the latest probe through it went, where it was probed.
    pub probed: Option<Probed>,
    /// The tor process that serves it.
    pub instance: InstanceStatus,
    /// The conditions: `Ready`, and `Drifted` while it is.
    pub conditions: Vec<Condition>,
}

/// What a node does.
///
/// The first of these that holds is it:
///
/// 1. **failed**: a step of its instance failed and has not gone right since, or what it needs cannot be had.
/// 2. **degraded** (`Ready` is Unknown): its process or its control socket could not be observed.
/// 3. **failed**: it ends over and over, and is held down.
/// 4. **suspended**: it has no process, and an operator has suspended the reconciler.
/// 5. **pending**: it has no process.
/// 6. **degraded**: a check of it has failed: no circuit, a bootstrap that does not go on, a probe.
/// 7. **bootstrapping**: it has a process and does not serve: not bootstrapped, no circuit, or its SOCKS address is
///    closed, as it is until its exits are set.
/// 8. **degraded**: it serves, and a step is left that makes it what desired says (drift, or a change).
/// 9. **ready**: it serves, and nothing is left. A change that waits for its turn in its pool does not make it less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Its process is not started yet.
    Pending,
    /// Its process runs and does not serve yet.
    Bootstrapping,
    /// It serves, exactly as desired.
    Ready,
    /// It serves and is not exactly as desired, or nobody can tell what it does.
    Degraded,
    /// Something went wrong, or what it needs cannot be had.
    Failed,
    /// It does not run, and an operator has suspended the reconciler that would start it.
    Suspended,
}

/// The tor process that serves a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstanceStatus {
    /// The process that was seen last, running or not.
    pub last_process: Option<Process>,
    /// The process id, while it runs.
    pub pid: Option<u32>,
    /// tor's version, while it answers.
    pub version: Option<String>,
    /// How far it has come, while it answers.
    pub bootstrap: Option<Bootstrap>,
    /// The guard relays that its circuits begin at, as far as they are known.
    pub guard_relays: BTreeSet<GuardRelay>,
    /// How often it was asked to connect to an address, and not to a name.
    pub unsafe_socks: UnsafeSocks,
}

impl NodeState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::Bootstrapping, Self::Pending, Self::Degraded, Self::Failed, Self::Suspended];

    /// The state's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Bootstrapping => "bootstrapping",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Suspended => "suspended",
        }
    }
}

/// Makes the status of every node that desired asks for.
pub(super) fn nodes(inputs: &Inputs<'_>) -> Vec<NodeStatus> {
    let before: BTreeMap<&NodeName, &NodeStatus> = inputs
        .previous
        .map(|previous| previous.nodes.iter().map(|node| (&node.name, node)).collect())
        .unwrap_or_default();
    let left = Left::of(inputs.plan);
    let instances = inputs.desired.map(desired::Desired::instances).unwrap_or_default();
    instances
        .iter()
        .flat_map(|instance| {
            let view = View::of(inputs, &left, &instance.name);
            let made =
                |node: &desired::Node| node_status(inputs, instance, node, &view, before.get(&node.name).copied());
            instance.nodes.iter().map(made).collect::<Vec<_>>()
        })
        .collect()
}

/// Says what a node does, and why.
///
/// The first that holds is it, in the order that [`NodeState`] has.
fn state_of(view: &View<'_>, socks: SocketAddr) -> (NodeState, Verdict) {
    if let Some(failure) = view.failure {
        return (NodeState::Failed, Verdict::no(Reason::ReconciliationFailed, describe_failure(failure)));
    }
    if let Some(block) = view.blocked() {
        return (NodeState::Failed, Verdict::no(reason_of_block(&block.reason), block.reason.to_string()));
    }
    if let Some(why) = view.unknown() {
        let why = view.finding.map_or_else(|| why.to_owned(), |finding| format!("{why}: {finding}"));
        return (NodeState::Degraded, Verdict::unknown(Reason::ObservationFailed, why));
    }
    if let Some(wait @ WaitReason::HeldDown { .. }) = view.wait {
        return (NodeState::Failed, Verdict::no(Reason::HeldDown, wait.to_string()));
    }
    let Some(control) = view.control() else {
        return without_control(view);
    };
    if let Some(verdict) = view.unwell(control) {
        return (NodeState::Degraded, verdict);
    }
    if !control.serves_at(socks) {
        return (NodeState::Bootstrapping, Verdict::no(Reason::Progressing, under_way(view, control, socks)));
    }
    if let Some((cause, sentence)) = view.step_left() {
        let reason = if cause == Cause::Drift { Reason::DriftDetected } else { Reason::Progressing };
        let message = match view.wait {
            Some(wait @ WaitReason::GuardRelay(_)) => format!("{sentence}; {wait}"),
            _ => sentence.to_owned(),
        };
        return (NodeState::Degraded, Verdict::no(reason, message));
    }
    let verdict = match (view.wait, view.paced) {
        (Some(wait @ WaitReason::MaxUnavailable), _) => {
            Verdict::yes(Reason::MaxUnavailableLimitReached, wait.to_string())
        }
        (Some(WaitReason::GuardRelay(paced)), _) | (_, Some(paced)) => {
            Verdict::yes(Reason::GuardRelayLimitReached, format!("it serves, and its rotation is {paced}"))
        }
        _ => Verdict::yes(Reason::Succeeded, "it serves as desired"),
    };
    (NodeState::Ready, verdict)
}

/// What a node does whose instance says nothing, for certain.
fn without_control(view: &View<'_>) -> (NodeState, Verdict) {
    if view.observed.is_some_and(|instance| instance.process.present().is_some()) {
        let message = "its tor runs and its control socket does not answer yet";
        return (NodeState::Bootstrapping, Verdict::no(Reason::Progressing, message));
    }
    if view.suspended {
        return (NodeState::Suspended, Verdict::no(Reason::Suspended, "its tor is not running and nothing starts it"));
    }
    let message = match (view.wait, view.step_left()) {
        (Some(wait), _) => wait.to_string(),
        (None, Some((_, sentence))) => sentence.to_owned(),
        (None, None) => "its tor is not running".to_owned(),
    };
    let reason = match view.wait {
        Some(WaitReason::GuardRelay(_)) => Reason::GuardRelayLimitReached,
        _ => Reason::Progressing,
    };
    (NodeState::Pending, Verdict::no(reason, message))
}

/// What a node that runs and does not serve is waiting for, and what tor warns of meanwhile.
fn under_way(view: &View<'_>, control: &Control, socks: SocketAddr) -> String {
    let waits = view.wait.map_or_else(|| missing(view, control, socks), ToString::to_string);
    match &control.bootstrap.warning {
        Some(warning) => format!("{waits}; tor warns: {warning}"),
        None => waits,
    }
}

/// What a node lacks to serve, where the plan says nothing of it.
fn missing(view: &View<'_>, control: &Control, socks: SocketAddr) -> String {
    let Bootstrap { progress, summary, .. } = &control.bootstrap;
    if *progress < 100 {
        return WaitReason::Bootstrapping { progress: *progress, summary: summary.clone() }.to_string();
    }
    if !control.circuit_established {
        return "it has no circuit yet".to_owned();
    }
    match view.step_left() {
        Some((_, sentence)) => sentence.to_owned(),
        None => format!("its SOCKS port {socks} is not open yet"),
    }
}

/// Makes the status of one node.
fn node_status(
    inputs: &Inputs<'_>,
    instance: &desired::Instance,
    node: &desired::Node,
    view: &View<'_>,
    before: Option<&NodeStatus>,
) -> NodeStatus {
    let (state, verdict) = state_of(view, node.socks);
    let drifted = view
        .causes
        .iter()
        .find(|(cause, _)| *cause == Cause::Drift)
        .map(|(_, sentence)| (ConditionType::Drifted, Verdict::yes(Reason::DriftDetected, sentence.clone())));
    let conditions = [Some((ConditionType::Ready, verdict)), drifted].into_iter().flatten();
    let previous = before.map_or(&[][..], |before| &before.conditions);
    NodeStatus {
        name: node.name.clone(),
        pool: instance.pool.clone(),
        socks: node.socks,
        state,
        serving: view.finding.is_none() && view.control().is_some_and(|control| control.serves_at(node.socks)),
        countries: instance.countries.clone(),
        // Nothing tells which of the circuits of a shared tor are whose.
        exit: view
            .control()
            .filter(|_| instance.nodes.len() == 1)
            .and_then(|control| Some(exit::of(inputs, control.exit.as_ref()?.fingerprint))),
        latency_ms: latency(view),
        rotations: inputs.rotations.count(&instance.name),
        failed_rotations: inputs.rotations.failed(&instance.name),
        last_rotation: inputs.rotations.last(&instance.name).map(|last| exit::rotation(inputs, last)),
        restarts: restarts(view, before),
        probed: view.probed.cloned(),
        instance: instance_status(view, before),
        conditions: conditions.map(|(kind, verdict)| verdict.condition(kind, previous, inputs.now)).collect(),
    }
}

/// How long a request through it takes, as far as that was measured.
fn latency(view: &View<'_>) -> Option<u32> {
    let control = view.control()?;
    let probed = view.probed.and_then(|probed| probed.outcome.as_ref().ok());
    probed.map(|answer| answer.latency_ms).or(control.latency_ms)
}

/// Counts one more restart when the process is another one than the last that was seen.
fn restarts(view: &View<'_>, before: Option<&NodeStatus>) -> u64 {
    let Some(before) = before else { return 0 };
    let now = view.observed.and_then(|instance| instance.process.present());
    match (&before.instance.last_process, now) {
        (Some(last), Some(now)) if last != now => before.restarts + 1,
        _ => before.restarts,
    }
}

/// Says what is known about the process of a node.
fn instance_status(view: &View<'_>, before: Option<&NodeStatus>) -> InstanceStatus {
    let process = view.observed.and_then(|instance| instance.process.present());
    let before = before.map(|before| &before.instance);
    let last = before.and_then(|before| before.last_process.clone());
    let control = view.control();
    InstanceStatus {
        last_process: process.cloned().or(last),
        pid: process.map(|process| process.pid),
        version: control.map(|control| control.version.clone()),
        bootstrap: control.map(|control| control.bootstrap.clone()),
        guard_relays: control.map(|control| control.guard_relays.clone()).unwrap_or_default(),
        // A silence of its control socket counts nothing twice.
        unsafe_socks: control
            .map(|control| control.unsafe_socks)
            .or(before.map(|before| before.unsafe_socks))
            .unwrap_or_default(),
    }
}

/// Lists what of the desired instances could not be observed, one sentence an instance.
pub(super) fn unknowns(inputs: &Inputs<'_>) -> Vec<String> {
    let left = Left::of(inputs.plan);
    let instances = inputs.desired.map(desired::Desired::instances).unwrap_or_default();
    let sentence = |instance: &desired::Instance| {
        let view = View::of(inputs, &left, &instance.name);
        let torrc = view.observed.and_then(|instance| Observation::unknown(&instance.torrc));
        view.unknown().or(torrc).map(|why| format!("{}: {why}", view.object))
    };
    instances.iter().filter_map(sentence).collect()
}

impl NodeStatus {
    /// The condition `Ready`, which every node has.
    pub fn ready(&self) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == ConditionType::Ready)
    }

    /// What it waits for while it is ready all the same, as for its turn.
    pub fn patience(&self) -> Option<&str> {
        let waits = [Reason::MaxUnavailableLimitReached, Reason::GuardRelayLimitReached];
        let waiting =
            self.ready().filter(|ready| ready.status == ConditionStatus::True && waits.contains(&ready.reason));
        waiting.map(|ready| ready.message.as_str())
    }

    /// What it waits for or why it failed; `None` where it is ready.
    pub fn trouble(&self) -> Option<&str> {
        self.ready().filter(|ready| ready.status != ConditionStatus::True).map(|ready| ready.message.as_str())
    }
}
