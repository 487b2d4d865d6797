//! The guard's steps: wide before the others, as wished after them, and never so that somebody inside is locked out.

use std::collections::BTreeSet;

use super::{Action, BlockReason, Cause, Deciding, HoldReason, Object, Step, Wait, WaitReason};
use crate::desired::{InstanceName, Lockout};
use crate::firewall::model::Guard;
use crate::observe::{Observation, ObservedGuard, Visitor};
use crate::plan::{TakenBack, lockout};

/// What is put in place for now of a guard that is held, and why it is held.
struct Spared {
    guard: Guard,
    reason: HoldReason,
}

impl Deciding<'_> {
    /// Puts the guard's steps around the others.
    pub(super) fn guard(&mut self) {
        let Some(wished) = self.wish.guard() else {
            if self.observed.guard.present().is_some() {
                self.step(Object::Guard, Cause::Change, Action::RemoveGuard);
            }
            return;
        };
        let spared = self.spared(&wished);
        let due = spared.as_ref().map_or(&wished, |spared| &spared.guard);
        let (leaving, staying) = self.ports_beyond(due);
        let after = due.covering(staying.iter().copied());
        let before = after.covering(leaving);
        if let Some(action) = self.guard_action(&before) {
            let cause = self.cause_of_guard(&wished);
            self.step(Object::Guard, cause, action);
            // It closes before the others open.
            if self.plan.steps.last().is_some_and(|last| last.object == Object::Guard) {
                self.plan.steps.rotate_right(1);
            }
        }
        let known = self.observed.guard.unknown().is_none();
        if known && before != after {
            let differences = vec!["the ports of nodes that are gone are given up".to_owned()];
            self.step(Object::Guard, Cause::Change, Action::UpdateGuard { guard: after.clone(), differences });
        }
        if let Some(Spared { reason, .. }) = spared {
            let guard = wished.covering(staying);
            let action = Action::UpdateGuard { differences: guard.differences_from(&after), guard };
            self.hold(Step { object: Object::Guard, cause: Cause::Change, action }, Some(reason));
        }
        if let Some(on_trial) = &self.wish.mandate.on_trial {
            let reason = WaitReason::OnTrial(on_trial.clone());
            self.plan.waiting.push(Wait { object: Object::Guard, reason });
        }
    }

    /// What stood before a change that was taken back is put back without another trial.
    fn cause_of_guard(&self, wished: &Guard) -> Cause {
        let is_taken_back = self.wish.mandate.taken_back.is_some();
        if is_taken_back { Cause::Drift } else { self.wish.applied.cause_of_guard(wished) }
    }

    /// Finds whether the wished guard was taken back, or would lock somebody out who is inside, and what is put in place
    /// instead.
    ///
    /// A repair is not asked: that guard stood before, and who came in while it was gone has no right to keep it away.
    fn spared(&self, wished: &Guard) -> Option<Spared> {
        let wish = self.wish;
        if let Some(TakenBack { fallback, cause, failed }) = &wish.mandate.taken_back {
            let reason = HoldReason::TakenBack { cause: cause.clone(), failed: failed.clone() };
            return Some(Spared { guard: fallback.clone(), reason });
        }
        let access = &wish.desired.access;
        let is_repair = wish.applied.guard() == Some(wished);
        let is_idle = self.observed.guard.unknown().is_some() || wish.mandate.hold(&Object::Guard).is_some();
        if access.lockout == Lockout::Allowed || is_repair || is_idle {
            return None;
        }
        let stands = match &self.observed.guard {
            Observation::Present(ObservedGuard::Exact(stands)) => Some(stands),
            _ => wish.applied.guard(),
        };
        let visitors: BTreeSet<Visitor> = self.observed.visitors.union(&wish.mandate.endangered).copied().collect();
        let victims = lockout::victims(wished, stands, &visitors);
        let reason = victims.reason(wished, &access.lines)?;
        Some(Spared { guard: victims.spared(wished, stands), reason })
    }

    /// Lists the ports on which instances of ours may listen and that the due guard does not cover: those that
    /// close in this plan, and those that stay for now.
    fn ports_beyond(&self, due: &Guard) -> (Vec<u16>, Vec<u16>) {
        let covered = |port: &u16| due.socks_ports.iter().any(|range| range.contains(*port));
        let closes = |name: &InstanceName, address| {
            let object = Object::Instance(name.clone());
            self.plan.steps.iter().any(|step| step.object == object && step.action.closes(address))
        };
        let (mut leaving, mut staying) = (Vec::new(), Vec::new());
        for (name, instance) in &self.observed.instances {
            let remembered = instance.control.unknown().map(|_| self.wish.applied.listeners(name));
            let listeners = instance.listeners().chain(remembered.into_iter().flatten());
            let reachable = listeners.filter(|address| !address.ip().is_loopback());
            for address in reachable.filter(|address| !covered(&address.port())) {
                if closes(name, address) { leaving.push(address.port()) } else { staying.push(address.port()) }
            }
        }
        (leaving, staying)
    }

    fn guard_action(&mut self, guard: &Guard) -> Option<Action> {
        let guard = guard.clone();
        match &self.observed.guard {
            Observation::Absent => Some(Action::InstallGuard { guard }),
            Observation::Present(ObservedGuard::Exact(stands)) if *stands == guard => None,
            Observation::Present(ObservedGuard::Exact(stands)) => {
                let differences = guard.differences_from(stands);
                Some(Action::UpdateGuard { guard, differences })
            }
            Observation::Present(ObservedGuard::Altered(differences)) => {
                Some(Action::UpdateGuard { guard, differences: differences.clone() })
            }
            Observation::Unknown(why) => {
                let reason = BlockReason::Unknown(why.clone());
                self.block(Object::Guard, reason);
                None
            }
        }
    }
}
