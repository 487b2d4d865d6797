//! Sums since the daemon started. They live in the status, so that publishing one twice counts nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Inputs, NodeStatus, PassResult, Rollbacks, SourceError};
use crate::plan::step::{Cause, Object, ObjectKind};

/// Sums since the daemon started; none ever falls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Passes, by how they ended.
    pub passes: BTreeMap<PassResult, u64>,
    /// Times that an object was found drifted, by the object's sort.
    pub drift_detected: BTreeMap<ObjectKind, u64>,
    /// Revisions that were refused, by the fault.
    pub rejected: BTreeMap<Fault, u64>,
    /// What was taken back, by what caused it.
    pub rollbacks: Rollbacks,
    /// Changes of the firewall, by driver and outcome.
    pub firewall_applies: BTreeMap<(&'static str, Outcome), u64>,
    /// Connections that clients asked for by address, and not by name.
    pub unsafe_socks: u64,
}

/// How something ended; a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Well.
    Success,
    /// Not well.
    Error,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 2] = [Self::Success, Self::Error];

    /// The outcome as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
        }
    }
}

impl Totals {
    /// The sums after a pass.
    pub(super) fn after(inputs: &Inputs<'_>, nodes: &[NodeStatus]) -> Self {
        let mut totals = inputs.previous.map(|previous| previous.totals.clone()).unwrap_or_default();
        totals.count_pass(inputs);
        totals.count_drift(inputs);
        totals.count_rejection(inputs);
        totals.count_firewall(inputs);
        totals.count_unsafe_socks(inputs, nodes);
        totals.rollbacks = inputs.rollbacks;
        totals
    }

    /// Counts the pass, once.
    fn count_pass(&mut self, inputs: &Inputs<'_>) {
        if let Some(pass) = inputs.pass.filter(|_| is_new_pass(inputs)) {
            *self.passes.entry(pass.result).or_default() += 1;
        }
    }

    /// Counts objects that were found drifted: those repaired at once, and those left that were not known before.
    fn count_drift(&mut self, inputs: &Inputs<'_>) {
        let repaired = inputs.pass.filter(|_| is_new_pass(inputs)).map_or(&[][..], |pass| &pass.applied);
        let known = |object: &Object| inputs.previous.is_some_and(|previous| previous.drift.has(object));
        let found: BTreeSet<&Object> = repaired
            .iter()
            .chain(inputs.plan.decided())
            .filter(|step| step.cause == Cause::Drift && !known(&step.object))
            .map(|step| &step.object)
            .collect();
        for object in found {
            *self.drift_detected.entry(object.kind()).or_default() += 1;
        }
    }

    /// Counts a refused revision once, however often it is read again.
    fn count_rejection(&mut self, inputs: &Inputs<'_>) {
        let Some(SourceError { fault, .. }) = inputs.source.error.as_ref().filter(|error| error.fault.is_refusal())
        else {
            return;
        };
        let known = inputs.previous.is_some_and(|previous| {
            previous.source.offered == inputs.source.offered
                && previous.source.error.as_ref().is_some_and(|error| error.fault == *fault)
        });
        if !known {
            *self.rejected.entry(*fault).or_default() += 1;
        }
    }

    /// Counts unsafe connections: of each tor once, however many nodes it serves.
    fn count_unsafe_socks(&mut self, inputs: &Inputs<'_>, nodes: &[NodeStatus]) {
        let before: BTreeMap<_, _> = inputs
            .previous
            .into_iter()
            .flat_map(|previous| &previous.nodes)
            .map(|node| (&node.name, node.instance.unsafe_socks.count))
            .collect();
        let mut counted = BTreeSet::new();
        for node in nodes {
            if node
                .instance
                .last_process
                .as_ref()
                .is_some_and(|process| !counted.insert((process.pid, process.started)))
            {
                continue;
            }
            let (before, now) = (before.get(&node.name).copied().unwrap_or(0), node.instance.unsafe_socks.count);
            // Another process counts from the beginning.
            self.unsafe_socks += if now >= before { now - before } else { now };
        }
    }

    /// Counts changes of the guard: those that went right in the pass, and those that failed once more.
    fn count_firewall(&mut self, inputs: &Inputs<'_>) {
        let applied = inputs
            .pass
            .filter(|_| is_new_pass(inputs))
            .map_or(0, |pass| pass.applied.iter().filter(|step| step.object == Object::Guard).count());
        let attempts = |failures: &super::Failures| failures.get(&Object::Guard).map_or(0, |failure| failure.attempts);
        let before = inputs.previous.map_or(0, |previous| attempts(&previous.failures));
        let now = attempts(inputs.failures);
        let failed = if now >= before { now - before } else { now };
        for (outcome, count) in [(Outcome::Success, applied as u64), (Outcome::Error, u64::from(failed))] {
            if count > 0 {
                *self.firewall_applies.entry((inputs.driver, outcome)).or_default() += count;
            }
        }
    }
}

/// Whether the pass is another one than the status before already counted.
pub(super) fn is_new_pass(inputs: &Inputs<'_>) -> bool {
    let before = inputs.previous.and_then(|previous| previous.last_pass.as_ref()).map(|pass| pass.started);
    inputs.pass.is_some_and(|pass| Some(pass.started) != before)
}
