//! What is known about one instance, gathered for the nodes that it serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::desired::InstanceName;
use crate::health::{Finding, Incident, Probed, Trouble};
use crate::observe::{self, Control};
use crate::plan::step::{Cause, Object};
use crate::plan::{Block, BlockReason, Paced, Plan, WaitReason};
use crate::status::conditions::Verdict;
use crate::status::{Failure, Inputs, Reason};

/// What is known about one instance, gathered for the nodes it serves.
pub(super) struct View<'a> {
    pub(super) object: Object,
    pub(super) observed: Option<&'a observe::Instance>,
    pub(super) failure: Option<&'a Failure>,
    pub(super) block: Option<&'a Block>,
    pub(super) wait: Option<&'a WaitReason>,
    /// What its rotation waits for.
    pub(super) paced: Option<&'a Paced>,
    pub(super) finding: Option<&'a Finding>,
    pub(super) incident: Option<&'a Incident>,
    pub(super) probed: Option<&'a Probed>,
    pub(super) causes: Vec<(Cause, String)>,
    pub(super) suspended: bool,
}

/// The plan that was left, by object.
pub(super) struct Left<'a> {
    blocks: BTreeMap<&'a Object, &'a Block>,
    waits: BTreeMap<&'a Object, &'a WaitReason>,
    pub(super) causes: BTreeMap<&'a Object, Vec<(Cause, String)>>,
}

impl<'a> Left<'a> {
    pub(super) fn of(plan: &'a Plan) -> Self {
        let mut causes: BTreeMap<&Object, Vec<(Cause, String)>> = BTreeMap::new();
        for step in plan.decided() {
            causes.entry(&step.object).or_default().push((step.cause, step.action.to_string()));
        }
        Self {
            blocks: plan.blocked.iter().map(|block| (&block.object, block)).collect(),
            waits: plan.waiting.iter().map(|wait| (&wait.object, &wait.reason)).collect(),
            causes,
        }
    }
}

impl<'a> View<'a> {
    pub(super) fn of(inputs: &Inputs<'a>, left: &Left<'a>, name: &InstanceName) -> Self {
        let object = Object::Instance(name.clone());
        Self {
            observed: inputs.observed.instances.get(name),
            failure: inputs.failures.get(&object),
            block: left.blocks.get(&object).copied(),
            wait: left.waits.get(&object).copied(),
            paced: inputs.rotations.paced(name),
            finding: inputs.findings.get(name),
            incident: inputs.incident,
            probed: inputs.probes.get(name),
            causes: left.causes.get(&object).cloned().unwrap_or_default(),
            suspended: inputs.suspended.is_some() || inputs.suspended_pools.contains_key(name.pool()),
            object,
        }
    }

    pub(super) fn control(&self) -> Option<&'a Control> {
        self.observed.and_then(|instance| instance.control.present()).map(Arc::as_ref)
    }

    /// Why nobody can tell what the instance does, where that is so.
    pub(super) fn unknown(&self) -> Option<&'a str> {
        let observed = self.observed.and_then(|instance| instance.process.unknown().or(instance.control.unknown()));
        observed.or_else(|| match self.block.map(|block| &block.reason) {
            Some(BlockReason::Unknown(why)) => Some(why.as_str()),
            _ => None,
        })
    }

    /// What is wrong with it, as far as its checks can tell.
    pub(super) fn unwell(&self, control: &Control) -> Option<Verdict> {
        let finding = self.finding?;
        if let Some(incident) = self.incident {
            return Some(Verdict::no(Reason::NetworkDown, format!("{}; {incident}", finding.trouble)));
        }
        let is_probe = matches!(finding.trouble, Trouble::Probe(_));
        let warning = control.bootstrap.warning.as_ref().map(|warning| format!("; tor warns: {warning}"));
        let message = format!("{finding}{}", warning.unwrap_or_default());
        (is_probe || finding.failures > 0).then(|| Verdict::no(Reason::HealthCheckFailed, message))
    }

    /// What it needs and cannot have, where that is so.
    pub(super) fn blocked(&self) -> Option<&'a Block> {
        self.block.filter(|block| !matches!(block.reason, BlockReason::Unknown(_)))
    }

    /// What a step does that is left, other than for a new consensus or a rotation, under which the node serves on.
    pub(super) fn step_left(&self) -> Option<(Cause, &str)> {
        let serves_on = |cause: &Cause| matches!(cause, Cause::Consensus | Cause::Rotation);
        let (cause, sentence) = self.causes.iter().find(|(cause, _)| !serves_on(cause))?;
        Some((*cause, sentence))
    }
}
