//! One pass: observe, plan, apply, verify.
//!
//! Level-triggered: a pass never learns why it was woken. Verifying is observing and planning again; what that second
//! plan holds is what the status reports.

pub mod backoff;
pub mod budget;
mod drains;
pub mod efforts;
pub mod history;
pub mod memory;
mod pacing;
mod settling;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::apply::{self, Drivers, Outcome};
use crate::desired::{Desired, ReconcilePolicy, SelfHeal};
use crate::health::{Examination, Health, Probes};
use crate::observe::collect::{Scope, observe, sessions};
use crate::observe::{Author, Observed, Visitor};
use crate::plan::{
    Action, Applied, Care, Cause, Deletions, Mandate, Object, OnTrial, Plan, Step, Wait, WaitReason, Wish, plan,
};
use crate::sys::clock;
use crate::tor::layout::Layout;
use crate::tor::options::OptionChange;

use backoff::Backoffs;
use budget::{Budget, Occasion, Seen, SharedBudget};
use drains::Drains;
use efforts::Efforts;
use settling::Settling;

/// What a host is reconciled with.
pub struct Reconciler {
    /// Where steps become deeds.
    pub drivers: Drivers,
    /// Where instances live.
    pub layout: Layout,
    /// Where the status page listens.
    pub panel_port: Option<u16>,
    /// What each object was left as.
    pub applied: Applied,
    /// What operators have said about the revision in force, beyond its file.
    pub mandate: Mandate,
    /// The visitors who are known without a look at the kernel.
    pub visitors: BTreeSet<Visitor>,
    /// Which objects have to wait before they are tried again.
    pub backoffs: Backoffs,
    /// How the instances are.
    pub wellbeing: Wellbeing,
    /// What is kept of the last two over a restart, where anything is.
    pub efforts: Option<Efforts>,
}

/// What is known of the instances from one pass to the next: how they are, and which are drained.
#[derive(Debug, Clone, Default)]
pub struct Wellbeing {
    /// Their health, as it was judged last.
    pub health: Health,
    /// How the latest probe through each of them went.
    pub probes: Probes,
    /// The circuits that the host begins.
    pub budget: SharedBudget,
    drains: Drains,
    settling: Settling,
}

impl Wellbeing {
    /// Begins with what a daemon before has counted.
    fn recall(health: Health, budget: Budget) -> Self {
        Self { health, budget: budget.into(), ..Self::default() }
    }
}

/// Whether an instance that ran before is started again.
fn starts_again(action: &Action) -> bool {
    matches!(action, Action::StartInstance { fresh: false, .. } | Action::RestartInstance { .. })
}

/// What one pass saw and did.
#[derive(Debug, Clone)]
pub struct Pass {
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What was to be done at its beginning.
    pub planned: Plan,
    /// What was done, and what became of it.
    pub outcomes: Vec<Outcome>,
    /// Who had changed the guard before it, where it was not as wished and the kernel told.
    pub guard_author: Option<Author>,
    /// The world at its end.
    pub observed: Observed,
    /// What is left to be done at its end; empty when the host is converged.
    pub left: Plan,
    /// Whether anything settled, so that the memory has to be written.
    pub settled: Settled,
}

impl Pass {
    /// Whether what was done has led to other steps, as a tor that has just started has options to be set: they need not
    /// wait for news.
    pub fn goes_on(&self) -> bool {
        let went_well = self.outcomes.iter().all(|outcome| outcome.result.is_ok());
        !self.outcomes.is_empty() && went_well && !self.left.steps.is_empty() && self.left.steps != self.planned.steps
    }
}

/// Whether a pass left the memory of what was applied as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Something is as wished that was not before, or is gone.
    Anew,
    /// Nothing new.
    Unchanged,
}

/// A look at the world: what is, and what would have to be done.
#[derive(Debug, Clone)]
pub struct Look {
    /// The world.
    pub observed: Observed,
    /// What would have to be done.
    pub plan: Plan,
}

impl Reconciler {
    /// Reconciles the host with a desired state, once.
    pub async fn pass(&mut self, desired: &Desired) -> Pass {
        // What waits for a time goes by a clock that nobody sets; what is told has the time of the day.
        let (started, begun) = (Timestamp::now(), clock::steady());
        let observed = self.observe(desired).await;
        self.examine(desired, &observed, begun);
        let first = self.planned(desired, observed);

        let (due, waits) = self.due(desired, &first, begun);
        self.announce(desired, &due, begun);
        let outcomes = apply::apply(&self.drivers, &due).await;
        self.drivers.tor.tend().await;

        let (planned, guard_author) = (first.plan.clone(), first.observed.guard_author.clone());
        let ended = clock::steady();
        self.backoffs.record(&outcomes, guard_author.as_ref(), ended);
        self.take_in(desired, &outcomes, ended);
        let mut last = if outcomes.is_empty() { first } else { self.look(desired).await };
        let is_left = |wait: &Wait| last.plan.steps.iter().any(|step| step.object == wait.object);
        let waits: Vec<Wait> = waits.into_iter().filter(is_left).collect();
        last.plan.waiting.extend(waits);
        self.wellbeing.drains.follow(&last.plan, ended);
        let mut applied = std::mem::take(&mut self.applied);
        let wish = self.wish(desired);
        let settled = if applied.settle(&wish, &last.plan) { Settled::Anew } else { Settled::Unchanged };
        self.applied = applied;

        let took = ended.duration_since(begun).unsigned_abs();
        Pass { started, took, planned, outcomes, guard_author, observed: last.observed, left: last.plan, settled }
    }

    /// Observes and plans; changes nothing.
    pub async fn look(&self, desired: &Desired) -> Look {
        let observed = self.observe(desired).await;
        self.planned(desired, observed)
    }

    async fn observe(&self, desired: &Desired) -> Observed {
        observe(&*self.drivers.tor, &*self.drivers.firewall, &self.scope(&self.wish(desired))).await
    }

    fn planned(&self, desired: &Desired, observed: Observed) -> Look {
        let plan = plan(&self.wish(desired), &observed);
        Look { observed, plan }
    }

    /// Judges the health of the instances; what follows from it is in the mandate then.
    fn examine(&mut self, desired: &Desired, observed: &Observed, now: Timestamp) {
        let Wellbeing { health, probes, settling, .. } = &mut self.wellbeing;
        settling.follow(observed, probes, now);
        health.examine(&Examination { desired, observed, probes, settling: &settling.all(), now });
        self.heed(desired, now);
        let Wellbeing { health, budget, .. } = &self.wellbeing;
        let seen = Seen { desired, observed, renew: &self.mandate.renew, stuck: &health.stuck(now) };
        budget.lock().follow(&seen, now);
    }

    /// Writes down the restarts that are about to be made, and the circuits.
    fn announce(&mut self, desired: &Desired, due: &[Step], now: Timestamp) {
        let Some(efforts) = self.efforts.as_mut().filter(|_| !due.is_empty()) else { return };
        let restarts: BTreeSet<&Object> =
            due.iter().filter(|step| starts_again(&step.action)).map(|step| &step.object).collect();
        let Wellbeing { health, budget, .. } = &self.wellbeing;
        let mut ahead = Cow::Borrowed(health);
        let instances = if restarts.is_empty() { vec![] } else { desired.instances() };
        for wanted in instances {
            if restarts.contains(&Object::Instance(wanted.name.clone())) {
                ahead.to_mut().restarted(&wanted, now);
            }
        }
        efforts.keep(&self.backoffs, &ahead, budget.lock().kept());
    }

    /// Writes down what was tried, where that is new.
    pub fn keep_efforts(&mut self) {
        if let Some(efforts) = &mut self.efforts {
            let Wellbeing { health, budget, .. } = &self.wellbeing;
            efforts.keep(&self.backoffs, health, budget.lock().kept());
        }
    }

    /// Forgets how often what was tried, so that nothing waits after a failure and nobody is held down; says what did, in a
    /// sentence each.
    pub fn reset(&mut self) -> Vec<String> {
        let now = clock::steady();
        let waited = std::mem::take(&mut self.backoffs).waiting(now);
        let tried = waited.iter().map(|object| format!("{object} is tried again at once"));
        let held = self.wellbeing.health.reset(now);
        let freed = held.into_iter().map(|name| format!("{} is not held down any more", Object::Instance(name)));
        let said = tried.chain(freed).collect();
        self.keep_efforts();
        said
    }

    /// Takes in what was done about the health of the instances.
    fn take_in(&mut self, desired: &Desired, outcomes: &[Outcome], now: Timestamp) {
        let done = outcomes.iter().filter(|outcome| outcome.result.is_ok());
        let instances = if outcomes.is_empty() { vec![] } else { desired.instances() };
        for step in done.map(|outcome| &outcome.step) {
            let Object::Instance(name) = &step.object else { continue };
            let wanted = instances.iter().find(|wanted| wanted.name == *name);
            match (&step.action, wanted) {
                (action, Some(wanted)) if starts_again(action) => {
                    self.wellbeing.health.restarted(wanted, now);
                    self.wellbeing.settling.forget(name);
                }
                (Action::ReplaceInstance { .. }, _) => self.wellbeing.settling.forget(name),
                (Action::SetOptions { changes }, _)
                    if step.cause == Cause::Change && changes.iter().any(OptionChange::is_of_torrc) =>
                {
                    self.wellbeing.settling.begin(name, &desired.health, now);
                }
                (Action::ReconnectInstance { .. }, _) => self.wellbeing.health.repaired(name),
                _ => {}
            }
        }
        self.heed(desired, now);
    }

    /// Puts into the mandate what the health of the instances asks for.
    fn heed(&mut self, desired: &Desired, now: Timestamp) {
        let Wellbeing { health, drains, settling, .. } = &self.wellbeing;
        let drained = drains.over(desired.reconcile.drain_for, now);
        let unproven = health.in_trouble().chain(settling.names()).cloned().collect();
        self.mandate.care = Care { drained, unproven, ..health.care(desired, now) };
        if desired.reconcile.self_heal != SelfHeal::On {
            return;
        }
        for (name, before) in health.renewals() {
            self.mandate.renew.entry(name.clone()).or_insert(before);
        }
        for (name, exits) in health.avoided(now) {
            self.mandate.avoid.entry(name.clone()).or_default().extend(exits);
        }
    }

    /// When something has to be looked at again, though nothing may have happened.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let Wellbeing { health, drains, settling, budget, .. } = &self.wellbeing;
        let settled = settling.next(now);
        let circuits = budget.lock().next();
        [self.backoffs.next(now), health.next(now), drains.next(now), settled, circuits].into_iter().flatten().min()
    }

    /// Says in a pass that it has put a change of the guard on trial: that is not done until it is kept.
    pub fn put_on_trial(&mut self, desired: &Desired, pass: &mut Pass, on_trial: OnTrial) {
        self.mandate.on_trial = Some(on_trial);
        pass.left = plan(&self.wish(desired), &pass.observed);
    }

    /// Who uses SSH now, at whichever port it may have.
    pub fn sessions(&self, desired: &Desired) -> BTreeSet<Visitor> {
        sessions(&self.wish(desired).guard().unwrap_or_default())
    }

    /// Stops and removes everything of ours: every instance, then the guard.
    pub async fn down(&mut self) -> Vec<Outcome> {
        let reconcile = ReconcilePolicy { drain_for: Duration::ZERO, ..ReconcilePolicy::default() };
        let nothing = Desired { reconcile, ..Desired::default() };
        self.mandate = Mandate { deletions: Deletions::Allowed, ..Mandate::default() };
        let mut look = self.look(&nothing).await;
        look.plan.steps.retain(|step| step.object != Object::Guard);
        look.plan.steps.push(Step { object: Object::Guard, cause: Cause::Change, action: Action::RemoveGuard });
        self.applied = Applied::default();
        apply::apply(&self.drivers, &look.plan.steps).await
    }

    fn wish<'a>(&'a self, desired: &'a Desired) -> Wish<'a> {
        let Self { applied, layout, panel_port, mandate, .. } = self;
        Wish { desired, applied, layout, panel_port: *panel_port, mandate }
    }

    /// The steps whose time has come: drift only where it is to be healed, no object that still backs off, and no circuits
    /// that a guard relay would take for too many. Those that wait for such are told.
    fn due(&self, desired: &Desired, look: &Look, now: Timestamp) -> (Vec<Step>, Vec<Wait>) {
        let heals = desired.reconcile.self_heal == SelfHeal::On;
        let is_to_be_healed = |step: &Step| heals || !matches!(step.cause, Cause::Drift | Cause::Health);
        let due = |step: &&Step| is_to_be_healed(step) && self.backoffs.allows(step, now);
        let steps = look.plan.steps.iter().filter(due).cloned().collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let stuck = self.wellbeing.health.stuck(now);
        let paced = pacing::pace(steps, &look.observed, &stuck, cores * pacing::STARTING_PER_CORE);
        let mut waits = Vec::new();
        let mut begins = |step: &Step| match self.admit(step, now) {
            None => true,
            Some(reason) => {
                waits.push(Wait { object: step.object.clone(), reason });
                false
            }
        };
        (paced.into_iter().filter(|step| begins(step)).collect(), waits)
    }

    /// Takes the circuits that a step begins from the budget; says why it has to wait, where it has.
    fn admit(&self, step: &Step, now: Timestamp) -> Option<WaitReason> {
        let Object::Instance(name) = &step.object else { return None };
        let occasion = Occasion::of(&step.action, self.mandate.renew.get(name).copied())?;
        self.wellbeing.budget.lock().admit(name, occasion, now).err().map(WaitReason::GuardRelay)
    }

    fn scope(&self, wish: &Wish<'_>) -> Scope {
        let addresses = wish.desired.pools.iter().flat_map(|pool| pool.nodes()).map(|node| node.socks).collect();
        Scope { guard: wish.guard().unwrap_or_default(), addresses, visitors: self.visitors.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Failed;
    use crate::error::Kind;

    #[test]
    fn a_pass_goes_on_when_all_went_well_and_there_is_something_else_to_do() {
        let step = |action| Step { object: Object::Guard, cause: Cause::Change, action };
        let (first, second) = (step(Action::DestroyInstance), step(Action::RemoveGuard));
        let failed = Err(Failed { message: "no".to_owned(), kind: Kind::Tor });
        let pass = |result, left: Option<&Step>| Pass {
            started: Timestamp::UNIX_EPOCH,
            took: Duration::ZERO,
            planned: Plan { steps: vec![first.clone()], ..Plan::default() },
            outcomes: vec![Outcome { step: first.clone(), took: Duration::ZERO, result }],
            guard_author: None,
            observed: Observed::default(),
            left: Plan { steps: left.cloned().into_iter().collect(), ..Plan::default() },
            settled: Settled::Unchanged,
        };
        assert!(pass(Ok(()), Some(&second)).goes_on());
        assert!(!pass(Ok(()), None).goes_on());
        assert!(!pass(Ok(()), Some(&first)).goes_on(), "what had no effect is not done again at once");
        assert!(!pass(failed, Some(&second)).goes_on());
        let idle = Pass { outcomes: vec![], ..pass(Ok(()), Some(&second)) };
        assert!(!idle.goes_on(), "what is only reported");
    }
}
