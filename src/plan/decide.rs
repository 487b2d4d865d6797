//! From desired and observed to a plan.
//!
//! # Guarantees
//!
//! - Total and deterministic: no I/O, no clock, no failure.
//! - Empty on a converged world; a plan that is carried out in full leads to an empty one, save for what takes time.
//! - It closes before it opens: the guard covers every port before a node listens on it, and gives a port up only
//!   after the node that listened on it is gone.
//! - What is unknown is in no destructive step; what is not ours is in no step at all.
//! - What is held is not counted on: the guard covers the ports of a node that stays for now.

mod exclusive;
mod guard;
mod leaving;
mod moves;
mod repair;
mod rolling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::desired::{self, Desired, ExitPolicy, Fingerprint, InstanceName, PoolName};
use crate::firewall::model::Guard;
use crate::observe::{Control, Instance, Observation, Observed, RenewalStage};
use crate::tor::layout::Layout;
use crate::tor::options::{self, ExitChoice, OptionChange, Settable};
use crate::tor::torrc;

use leaving::Parting;
use moves::{Addresses, Budget};
use rolling::Rolled;

use super::applied::Applied;
use super::care::HeldDown;
use super::hold::{Held, HoldReason, Mandate};
use super::step::{Action, Cause, Object, Step};
use super::{Block, BlockReason, Plan, Wait, WaitReason};
use exclusive::Lot;

/// What is wished, and what is needed to say so to the host.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The desired state.
    pub desired: &'a Desired,
    /// What each object was left as, to tell drift from change.
    pub applied: &'a Applied,
    /// Where instances live.
    pub layout: &'a Layout,
    /// Where the status page listens.
    pub panel_port: Option<u16>,
    /// What operators have said beyond the file.
    pub mandate: &'a Mandate,
}

/// Decides what has to be done.
pub fn plan(wish: &Wish<'_>, observed: &Observed) -> Plan {
    let wanted = wish.wanted();
    let mut deciding = Deciding::new(wish, observed, &wanted);
    // First, since whoever asks how many nodes of a pool may be unavailable counts those out that lack an exit.
    deciding.share_out();
    deciding.prune();
    for instance in wanted.values() {
        deciding.instance(instance);
    }
    deciding.guard();
    deciding.plan
}

impl Wish<'_> {
    /// The guard that desired asks for; none where the driver is `none`.
    pub fn guard(&self) -> Option<Guard> {
        let wanted = self.desired.firewall.driver != desired::DriverChoice::None;
        wanted.then(|| Guard::of(self.desired, self.panel_port))
    }

    fn wanted(&self) -> BTreeMap<InstanceName, desired::Instance> {
        self.desired.instances().into_iter().map(|instance| (instance.name.clone(), instance)).collect()
    }
}

/// Whether a port that others could reach may open: the guard stands, or a step of this plan puts it in place first.
fn is_guarded(wish: &Wish<'_>, observed: &Observed) -> bool {
    wish.desired.firewall.driver == desired::DriverChoice::None || observed.guard.unknown().is_none()
}

/// The plan in the making.
struct Deciding<'a> {
    wish: &'a Wish<'a>,
    observed: &'a Observed,
    wanted: &'a BTreeMap<InstanceName, desired::Instance>,
    guarded: bool,
    /// What those get that want an exit for themselves.
    own: BTreeMap<InstanceName, Lot>,
    /// How much of each pool may still be made unavailable.
    budgets: BTreeMap<PoolName, Budget>,
    addresses: Option<Addresses<'a>>,
    plan: Plan,
}

impl<'a> Deciding<'a> {
    fn new(wish: &'a Wish<'a>, observed: &'a Observed, wanted: &'a BTreeMap<InstanceName, desired::Instance>) -> Self {
        Self {
            wish,
            observed,
            wanted,
            guarded: is_guarded(wish, observed),
            own: BTreeMap::new(),
            budgets: BTreeMap::new(),
            addresses: None,
            plan: Plan::default(),
        }
    }
}

impl Deciding<'_> {
    fn step(&mut self, object: Object, cause: Cause, action: Action) {
        let reason = self.wish.mandate.hold(&object);
        self.hold(Step { object, cause, action }, reason);
    }

    /// Takes a step into the plan, held where there is a reason.
    fn hold(&mut self, step: Step, reason: Option<HoldReason>) {
        match reason {
            Some(reason) => self.plan.held.push(Held { step, reason }),
            None => self.plan.steps.push(step),
        }
    }

    fn wait(&mut self, name: &InstanceName, reason: WaitReason) {
        self.plan.waiting.push(Wait { object: Object::Instance(name.clone()), reason });
    }

    fn block(&mut self, object: Object, reason: BlockReason) {
        self.plan.blocked.push(Block { object, reason });
    }

    fn instance(&mut self, wanted: &desired::Instance) {
        static NOTHING: LazyLock<Instance> = LazyLock::new(Instance::default);
        let seen = self.observed.instances.get(&wanted.name).unwrap_or(&NOTHING);
        let object = Object::Instance(wanted.name.clone());
        if let Some(why) = seen.unknown() {
            // What hangs is known to be there: its process is ours for certain, and only its answer is missing.
            if !seen.hangs || !self.repair(wanted) {
                self.block(object, BlockReason::Unknown(why.to_owned()));
            }
            return;
        }
        let torrc = || torrc::rendered(wanted, self.wish.layout).text.clone();
        match (&seen.process, &seen.control) {
            (Observation::Present(_), Observation::Present(control)) => {
                self.running(wanted, seen, control);
            }
            (Observation::Present(_), _) => {
                let differences = vec!["its control socket is gone".to_owned()];
                let action = Action::ReplaceInstance { torrc: torrc(), differences };
                self.step(object, self.cause(wanted), action);
            }
            _ => self.start(wanted, seen, torrc()),
        }
    }

    fn start(&mut self, wanted: &desired::Instance, seen: &Instance, torrc: String) {
        let object = Object::Instance(wanted.name.clone());
        if let Some(HeldDown { restarts, until }) = self.wish.mandate.care.held_down.get(&wanted.name) {
            return self.wait(&wanted.name, WaitReason::HeldDown { restarts: *restarts, until: *until });
        }
        match &self.observed.tor {
            Observation::Present(_) => {
                let fresh = seen.torrc.is_absent();
                self.step(object, self.cause(wanted), Action::StartInstance { torrc, fresh });
            }
            Observation::Absent => self.block(object, BlockReason::Program("tor is not installed".to_owned())),
            Observation::Unknown(why) => self.block(object, BlockReason::Program(why.clone())),
        }
    }

    /// Compares a running instance with its wish.
    fn running(&mut self, wanted: &desired::Instance, seen: &Instance, control: &Control) {
        let rendered = torrc::rendered(wanted, self.wish.layout);
        let exits = self.choose_exits(wanted, control);
        // Who has an exit for itself is given another one instead.
        let avoided = self.wish.mandate.avoid.get(&wanted.name).filter(|_| wanted.exits.own_prefix().is_none());
        let avoided = avoided.map(|avoided| exits.without(avoided)).unwrap_or_default();
        let ports = options::ports_at(self.ports(wanted, control).into_iter(), &exits);
        let parts = [&rendered.lasting, exits.exit_nodes(), &avoided, &ports];
        let changes = options::difference_to_all(&parts, &control.options);

        let at_start = changes.iter().filter(|change| options::settable(&change.name) == Settable::AtStart);
        let frozen: Vec<String> = at_start.map(ToString::to_string).chain(self.other_version(control)).collect();
        let object = Object::Instance(wanted.name.clone());
        if !frozen.is_empty() {
            // What has to close, or goes to another tor, does not wait until the turn of its node has come.
            if let Some(closing) = self.closing(wanted, control, &changes) {
                let cause = self.cause_of(wanted, std::slice::from_ref(&closing));
                return self.step(object, cause, Action::SetOptions { changes: vec![closing] });
            }
            return self.replace(wanted, rendered.text.clone(), frozen);
        }
        let (rolled, changes) = self.rolled(wanted, changes);
        if rolled == Rolled::Waits {
            self.wait(&wanted.name, WaitReason::MaxUnavailable);
        } else if seen.torrc.present() != Some(&rendered.digest) {
            let action = Action::WriteTorrc { torrc: rendered.text.clone() };
            self.step(object.clone(), self.cause(wanted), action);
        }
        if !changes.is_empty() {
            return self.step(object, self.cause_of(wanted, &changes), Action::SetOptions { changes });
        }
        if rolled == Rolled::Waits {
            return;
        }
        let before = self.wish.mandate.renew.get(&wanted.name);
        if before.is_some_and(|before| control.renewal.done <= *before) && control.bootstrap.is_done() {
            self.renew(wanted, control);
        }
        if !self.repair(wanted) {
            self.wait_for_service(wanted, control);
        }
    }

    /// Has an instance use new circuits, after it has the options by which these are chosen.
    fn renew(&mut self, wanted: &desired::Instance, control: &Control) {
        match control.renewal.stage {
            RenewalStage::Asked => self.wait(&wanted.name, WaitReason::NewCircuits),
            RenewalStage::Idle | RenewalStage::Said => {
                self.step(Object::Instance(wanted.name.clone()), Cause::Rotation, Action::NewCircuits);
            }
        }
    }

    /// Says what a running instance without differences still needs before it serves.
    fn wait_for_service(&mut self, wanted: &desired::Instance, control: &Control) {
        let bootstrap = &control.bootstrap;
        if bootstrap.progress < 100 {
            let (progress, summary) = (bootstrap.progress, bootstrap.summary.clone());
            self.wait(&wanted.name, WaitReason::Bootstrapping { progress, summary });
        } else if !control.circuit_established && control.listens_for(wanted) {
            self.wait(&wanted.name, WaitReason::Circuit);
        }
    }

    /// Chooses the exits of a running instance, and says why where that cannot be done.
    fn choose_exits(&mut self, wanted: &desired::Instance, control: &Control) -> ExitChoice {
        if control.bootstrap.progress < 100 && !control.listens_for(wanted) {
            return ExitChoice::Unresolved;
        }
        if wanted.countries.is_empty() && wanted.exits == ExitPolicy::default() {
            return ExitChoice::Any;
        }
        match &self.observed.relays {
            Observation::Present(_) if wanted.exits.own_prefix().is_some() => self.own_exit(&wanted.name),
            Observation::Present(relays) => {
                let Some(exits) = relays.exit_nodes(&wanted.countries, &wanted.exits) else {
                    let countries = wanted.countries.iter().copied().collect();
                    self.block(Object::Instance(wanted.name.clone()), BlockReason::NoExits { countries });
                    return ExitChoice::Nothing;
                };
                ExitChoice::Only(exits)
            }
            Observation::Absent => {
                self.wait(&wanted.name, WaitReason::Relays);
                ExitChoice::Unresolved
            }
            Observation::Unknown(why) => {
                self.block(Object::Instance(wanted.name.clone()), BlockReason::Unknown(why.clone()));
                ExitChoice::Unresolved
            }
        }
    }

    /// The exit that an instance has for itself.
    fn own_exit(&mut self, name: &InstanceName) -> ExitChoice {
        // It stays known: who is decided later counts by it as well.
        match self.own.get(name).cloned() {
            Some(Lot::Exit(exit)) => ExitChoice::Only(exit),
            Some(Lot::Nothing(reason)) => {
                self.block(Object::Instance(name.clone()), reason);
                ExitChoice::Nothing
            }
            Some(Lot::Later) | None => {
                self.wait(name, WaitReason::Exit);
                ExitChoice::Unresolved
            }
        }
    }

    fn cause(&self, wanted: &desired::Instance) -> Cause {
        self.wish.applied.cause(wanted)
    }

    /// Tells a rotation and a new consensus from drift: exits are avoided, or those that fit are others, are gone, or are
    /// back.
    fn cause_of(&self, wanted: &desired::Instance, changes: &[OptionChange]) -> Cause {
        let avoided = self.wish.mandate.avoid.get(&wanted.name);
        let is_rotation = |change: &OptionChange| {
            let leaves = |before: BTreeSet<Fingerprint>| avoided.is_some_and(|avoided| before.is_subset(avoided));
            (avoided.is_some() && change.avoids()) || change.exits_before().is_some_and(leaves)
        };
        let others: Vec<&OptionChange> = changes.iter().filter(|change| !is_rotation(change)).collect();
        if others.is_empty() {
            return Cause::Rotation;
        }
        let moved = match others.as_slice() {
            _ if self.wish.applied.lacked_exits(&wanted.name) => true,
            [change] => change.closes_socks() || self.exits_moved(wanted, change),
            _ => false,
        };
        if moved && self.cause(wanted) == Cause::Drift { Cause::Consensus } else { self.cause(wanted) }
    }

    /// Whether the exits that run are fit for the wish, or have left the network.
    fn exits_moved(&self, wanted: &desired::Instance, change: &OptionChange) -> bool {
        let (Some(relays), Some(running)) = (self.observed.relays.present(), change.exits_before()) else {
            return false;
        };
        let fit = relays.choose(&wanted.countries, &wanted.exits);
        running.iter().all(|exit| fit.contains(exit) || !relays.exits().contains_key(exit))
    }
}
