//! Changes that are rolled over a pool: a few of its instances at once, and no further while those do not serve.

use super::{Action, Budget, Deciding, Lot, Object, Parting, WaitReason};
use crate::desired::{self, PoolName};
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
    /// How many nodes of a pool may still be made unavailable.
    pub(super) fn budget(&mut self, pool: &PoolName) -> &mut Budget {
        let budget = self.budgets.get(pool).copied().unwrap_or_else(|| self.replacement_budget(pool));
        self.budgets.entry(pool.clone()).or_insert(budget)
    }

    /// How many nodes of a pool may be made unavailable now.
    ///
    /// Those that were served once and are not now count against it; those that are still to come do not.
    fn replacement_budget(&self, pool: &PoolName) -> Budget {
        let members = || self.wanted.values().filter(|instance| &instance.pool == pool);
        // Who waits for an exit of its own, or can have none, is kept from nothing by those that go on.
        let lacks_exit = |name| matches!(self.own.get(name), Some(Lot::Later | Lot::Nothing(_)));
        let unavailable = members().filter(|instance| !self.is_available(instance) && !lacks_exit(&instance.name));
        let unproven = |instance: &desired::Instance| self.wish.mandate.care.unproven.contains(&instance.name);
        let lost = |instance: &desired::Instance| {
            let was_served = instance.nodes.iter().filter(|node| self.wish.applied.serves(&node.name));
            was_served.filter(|node| unproven(instance) || !self.is_served(node)).count()
        };
        let nodes = members().map(|instance| instance.nodes.len()).sum();
        let percent = self.wish.desired.reconcile.max_unavailable_percent;
        Budget::new(nodes, percent, unavailable.map(lost).sum())
    }

    /// Whether any instance of ours serves a node, where it is to listen or at a part of that: what is to be handed on is not
    /// lost.
    fn is_served(&self, node: &desired::Node) -> bool {
        self.observed.instances.values().any(|instance| instance.serves_around(node.socks))
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
        &mut self,
        wanted: &desired::Instance,
        changes: Vec<OptionChange>,
    ) -> (Rolled, Vec<OptionChange>) {
        let is_tried = self.cause(wanted) == Cause::Change && self.wish.applied.knows(&wanted.name);
        let is_risky = |change: &OptionChange| change.is_of_torrc();
        if !is_tried || !self.is_available(wanted) || !changes.iter().any(is_risky) {
            return (Rolled::Goes, changes);
        }
        if self.budget(&wanted.pool).take(wanted.nodes.len()) {
            return (Rolled::Goes, changes);
        }
        (Rolled::Waits, changes.into_iter().filter(|change| !is_risky(change)).collect())
    }

    pub(super) fn replace(&mut self, wanted: &desired::Instance, torrc: String, differences: Vec<String>) {
        if self.is_ready(wanted) && !self.budget(&wanted.pool).take(wanted.nodes.len()) {
            return self.wait(&wanted.name, WaitReason::MaxUnavailable);
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
