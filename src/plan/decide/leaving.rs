//! What goes: nobody wants it any more, or it is replaced. Its ports close first, and its connections have some time.

use super::{Action, BlockReason, Deciding, HoldReason, Object, Step, WaitReason, Wish};
use crate::desired::InstanceName;
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
    pub(super) fn prune(&mut self) {
        let existing = &self.observed.instances;
        let unwanted = existing.iter().filter(|(name, _)| !self.wanted.contains_key(name));
        let (unknown, known): (Vec<_>, Vec<_>) = unwanted.partition(|(_, seen)| seen.unknown().is_some());
        for (name, why) in unknown.iter().filter_map(|(name, seen)| Some((name, seen.unknown()?))) {
            self.block(Object::Instance((*name).clone()), BlockReason::Unknown(why.to_owned()));
        }
        if known.is_empty() {
            return;
        }
        let (leaving, dissolving): (Vec<_>, Vec<_>) = known.into_iter().partition(|(name, _)| self.lost(name) > 0);
        let lost = leaving.iter().map(|(name, _)| (*name, self.lost(name))).collect();
        let Wish { desired, mandate, .. } = self.wish;
        let judged = Leaving::new(&desired.reconcile, mandate, lost, self.existing());
        for (name, _) in &leaving {
            match (judged.hold(name), self.parting(name)) {
                (None, Parting::Wait(connections)) => self.wait(name, WaitReason::Draining { connections }),
                (None, Parting::Drain) => self.remove(name, Action::DrainInstance { differences: vec![] }, None),
                (hold, _) => self.remove(name, Action::DestroyInstance, hold),
            }
        }
        for (name, seen) in dissolving {
            self.dissolve(name, seen);
        }
    }

    pub(super) fn remove(&mut self, name: &InstanceName, action: Action, held: Option<HoldReason>) {
        // An instance that was never applied stands there although nobody asked for it.
        let (object, cause) = (Object::Instance(name.clone()), self.wish.applied.cause_of_removal(name));
        self.hold(Step { object, cause, action }, held);
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
