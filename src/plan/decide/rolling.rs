//! Changes that are rolled over a pool: a few of its instances at once, and no further while those do not serve.

use super::{Action, Deciding, Object, Parting, WaitReason};
use crate::desired;
use crate::observe::{Control, TorProgram};
use crate::plan::Cause;
use crate::tor::options::OptionChange;

/// Whether a change of a running instance has to wait for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rolled {
    /// A part of it has to.
    Waits,
    /// None of it.
    Goes,
}

impl Deciding<'_> {
    /// How many ready instances may be made unavailable now.
    ///
    /// Those that were ready once and are not now count against it; those that are still to come do not.
    pub(super) fn replacement_budget(&self, members: &[&desired::Instance]) -> usize {
        let percent = usize::from(self.wish.desired.reconcile.max_unavailable_percent);
        let allowed = (members.len() * percent / 100).max(1);
        let unavailable = members
            .iter()
            .filter(|instance| self.wish.applied.knows(&instance.name) && !self.is_available(instance))
            .count();
        allowed.saturating_sub(unavailable)
    }

    pub(super) fn is_available(&self, instance: &desired::Instance) -> bool {
        self.is_ready(instance) && !self.wish.mandate.care.unproven.contains(&instance.name)
    }

    pub(super) fn is_ready(&self, instance: &desired::Instance) -> bool {
        self.observed.instances.get(&instance.name).is_some_and(|seen| seen.serves(instance))
    }

    /// Leaves out what of a change has to wait for its turn: another `torrc` of the pool can keep a tor from serving, so
    /// that it is tried on a few.
    pub(super) fn rolled(
        &self,
        wanted: &desired::Instance,
        changes: Vec<OptionChange>,
        budget: &mut usize,
    ) -> (Rolled, Vec<OptionChange>) {
        let is_tried = self.cause(wanted) == Cause::Change && self.wish.applied.knows(&wanted.name);
        let is_risky = |change: &OptionChange| change.is_of_torrc();
        if !is_tried || !self.is_available(wanted) || !changes.iter().any(is_risky) {
            return (Rolled::Goes, changes);
        }
        match budget.checked_sub(1) {
            Some(left) => {
                *budget = left;
                (Rolled::Goes, changes)
            }
            None => (Rolled::Waits, changes.into_iter().filter(|change| !is_risky(change)).collect()),
        }
    }

    pub(super) fn replace(
        &mut self,
        wanted: &desired::Instance,
        torrc: String,
        differences: Vec<String>,
        budget: &mut usize,
    ) {
        if self.is_ready(wanted) {
            let Some(left) = budget.checked_sub(1) else {
                return self.wait(&wanted.name, WaitReason::MaxUnavailable);
            };
            *budget = left;
        }
        let cause = self.cause(wanted);
        let action = match self.parting(&wanted.name) {
            Parting::Wait(connections) => return self.wait(&wanted.name, WaitReason::Draining { connections }),
            Parting::Drain => Action::DrainInstance { differences },
            Parting::Go => Action::ReplaceInstance { torrc, differences },
        };
        self.step(Object::Instance(wanted.name.clone()), cause, action);
    }

    /// Says that another tor is installed than the one that runs.
    pub(super) fn other_version(&self, control: &Control) -> Option<String> {
        let TorProgram { version: installed, .. } = self.observed.tor.present()?;
        let runs = &control.version;
        (!runs.is_empty() && runs != installed).then(|| format!("it runs tor {runs}, and {installed} is installed"))
    }
}
