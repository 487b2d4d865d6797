//! What goes: nobody wants it any more, or it is replaced. Its ports close first, and its connections have some time.

use std::collections::BTreeMap;

use super::{Action, BlockReason, Deciding, Object, Step, WaitReason, Wish};
use crate::desired::{self, InstanceName};
use crate::plan::hold::Leaving;

/// What an instance that goes still needs.
pub(super) enum Parting {
    /// Its ports close.
    Drain,
    /// So many connections have time to end.
    Wait(usize),
    /// Nothing.
    Go,
}

impl Deciding<'_> {
    /// Removes the instances of ours that nobody wants any more.
    pub(super) fn prune(&mut self, wanted: &BTreeMap<InstanceName, desired::Instance>) {
        let existing = &self.observed.instances;
        let (unknown, known): (Vec<_>, Vec<_>) = existing
            .iter()
            .filter(|(name, _)| !wanted.contains_key(name))
            .partition(|(_, seen)| seen.unknown().is_some());
        for (name, why) in unknown.iter().filter_map(|(name, seen)| Some((name, seen.unknown()?))) {
            self.block(Object::Instance((*name).clone()), BlockReason::Unknown(why.to_owned()));
        }
        let names: Vec<&InstanceName> = known.into_iter().map(|(name, _)| name).collect();
        let Wish { desired, mandate, applied, .. } = self.wish;
        let leaving = Leaving::new(&desired.reconcile, mandate, &names, existing.len());
        for name in names {
            // An instance that was never applied stands there although nobody asked for it.
            let (object, cause) = (Object::Instance(name.clone()), applied.cause_of_removal(name));
            let (action, hold) = match (leaving.hold(name), self.parting(name)) {
                (None, Parting::Wait(connections)) => {
                    self.wait(name, WaitReason::Draining { connections });
                    continue;
                }
                (None, Parting::Drain) => (Action::DrainInstance { differences: vec![] }, None),
                (hold, _) => (Action::DestroyInstance, hold),
            };
            self.hold(Step { object, cause, action }, hold);
        }
    }

    /// Says what an instance that goes still needs: its ports close first, and its connections have some time.
    pub(super) fn parting(&self, name: &InstanceName) -> Parting {
        let control = self.observed.instances.get(name).and_then(|instance| instance.control.present());
        let Wish { desired, mandate, .. } = self.wish;
        match control {
            _ if desired.reconcile.drain_for.is_zero() => Parting::Go,
            None => Parting::Go,
            Some(control) if !control.socks_listeners.is_empty() => Parting::Drain,
            Some(control) if control.connections > 0 && !mandate.care.drained.contains(name) => {
                Parting::Wait(control.connections)
            }
            Some(_) => Parting::Go,
        }
    }
}
