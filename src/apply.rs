//! Carries a plan out. Behaviour does not belong here: what is done, and in which order, was decided in `plan`.
//!
//! # Flow
//!
//! The steps run in the plan's order. Steps of the guard run alone; between them, the instances run side by side, each
//! with its own steps in order, destructions before everything else.
//!
//! # Guarantees
//!
//! - One failing object does not hold up the others; its own further steps are skipped.
//! - After a failed step of the guard no step runs that could open a port, and the guard gives no port up while a
//!   node that should have gone is still there.

#[cfg(debug_assertions)]
mod dying;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};

use crate::error::{Classify, Kind, chain};
use crate::firewall::model::Guard;
use crate::firewall::{Firewall, FirewallError};
use crate::plan::{Action, Cause, Object, Step};
use crate::tor::{Tor, TorError};
use crate::trial::{TrialError, Trials};

/// How many instances are worked on at once for each core: a start is half waiting.
const INSTANCES_PER_CORE: usize = 4;

/// The drivers that steps are carried out with.
#[derive(Clone)]
pub struct Drivers {
    /// The tor processes.
    pub tor: Arc<dyn Tor>,
    /// The firewall.
    pub firewall: Arc<dyn Firewall>,
    /// Where changes of the guard are tried; without it they are made at once.
    pub trials: Option<Arc<Trials>>,
}

/// What became of one step.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The step.
    pub step: Step,
    /// How long it took.
    pub took: Duration,
    /// What went wrong, if anything did.
    pub result: Result<(), Failed>,
}

/// Why a step failed, in a form that can be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The error and its sources.
    pub message: String,
    /// The error's kind.
    pub kind: Kind,
}

/// Why a step was not tried.
const SKIPPED_UNGUARDED: &str = "not tried: the firewall guard could not be put in place";
const SKIPPED_STILL_THERE: &str = "not tried: a node that should be gone is still there";
const SKIPPED_AFTER_FAILURE: &str = "not tried: an earlier step of the same object failed";

/// Carries out the steps, and says what became of each.
pub async fn apply(drivers: &Drivers, steps: &[Step]) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(steps.len());
    for group in steps.chunk_by(|one, next| (one.object == Object::Guard) == (next.object == Object::Guard)) {
        let failed_before = |object: fn(&Object) -> bool| {
            outcomes.iter().any(|outcome| outcome.result.is_err() && object(&outcome.step.object))
        };
        let guard_failed = failed_before(|object| *object == Object::Guard);
        let node_failed = failed_before(|object| *object != Object::Guard);
        if group[0].object != Object::Guard {
            outcomes.extend(instances(drivers, group, guard_failed).await);
        } else if node_failed {
            outcomes.extend(group.iter().map(|step| skipped(step, SKIPPED_STILL_THERE)));
        } else {
            for step in group {
                outcomes.push(carry_out(drivers, step).await);
            }
        }
    }
    outcomes
}

/// Works on the instances of one group side by side: first those that go, then the others.
async fn instances(drivers: &Drivers, steps: &[Step], guard_failed: bool) -> Vec<Outcome> {
    let mut leaving: BTreeMap<&Object, Vec<&Step>> = BTreeMap::new();
    let mut others: BTreeMap<&Object, Vec<&Step>> = BTreeMap::new();
    for step in steps {
        let goes =
            matches!(step.action, Action::DestroyInstance | Action::DissolveInstance | Action::DrainInstance { .. });
        let group = if goes { &mut leaving } else { &mut others };
        group.entry(&step.object).or_default().push(step);
    }
    let mut outcomes = side_by_side(drivers, leaving).await;
    if guard_failed {
        outcomes.extend(others.into_values().flatten().map(|step| skipped(step, SKIPPED_UNGUARDED)));
    } else {
        outcomes.extend(side_by_side(drivers, others).await);
    }
    outcomes
}

async fn side_by_side(drivers: &Drivers, objects: BTreeMap<&Object, Vec<&Step>>) -> Vec<Outcome> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work: Vec<_> = objects.into_values().map(|steps| one_object(drivers, steps)).collect();
    stream::iter(work).buffered(cores * INSTANCES_PER_CORE).concat().await
}

async fn one_object(drivers: &Drivers, steps: Vec<&Step>) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(steps.len());
    for step in steps {
        let failed = outcomes.last().is_some_and(|outcome| outcome.result.is_err());
        outcomes.push(if failed { skipped(step, SKIPPED_AFTER_FAILURE) } else { carry_out(drivers, step).await });
    }
    outcomes
}

async fn carry_out(drivers: &Drivers, step: &Step) -> Outcome {
    let started = Instant::now();
    #[cfg(debug_assertions)]
    dying::pass(dying::Side::Before);
    let result = execute(drivers, step).await;
    #[cfg(debug_assertions)]
    dying::pass(dying::Side::After);
    let outcome = Outcome { step: step.clone(), took: started.elapsed(), result };
    log(&outcome);
    outcome
}

/// The one place where steps become deeds.
async fn execute(drivers: &Drivers, step: &Step) -> Result<(), Failed> {
    let (tor, firewall) = (&drivers.tor, &drivers.firewall);
    match (&step.object, &step.action) {
        (Object::Guard, Action::InstallGuard { guard } | Action::UpdateGuard { guard, .. }) => {
            put(drivers, step.cause, guard).await
        }
        (Object::Guard, Action::RemoveGuard) => Ok(firewall.remove().await?),
        (Object::Instance(name), Action::StartInstance { torrc, .. }) => Ok(tor.start(name, torrc).await?),
        (Object::Instance(name), Action::ReplaceInstance { torrc, .. }) => {
            tor.stop(name).await?;
            Ok(tor.start(name, torrc).await?)
        }
        (Object::Instance(name), Action::SetOptions { changes }) => Ok(tor.set_options(name, changes).await?),
        (Object::Instance(name), Action::NewCircuits) => Ok(tor.new_circuits(name).await?),
        (Object::Instance(name), Action::WriteTorrc { torrc }) => Ok(tor.write_torrc(name, torrc).await?),
        (Object::Instance(name), Action::DrainInstance { .. }) => Ok(tor.close(name).await?),
        (Object::Instance(name), Action::ReconnectInstance { .. }) => Ok(tor.reconnect(name).await?),
        (Object::Instance(name), Action::RestartInstance { torrc, afresh, .. }) => {
            tor.stop(name).await?;
            let started = if *afresh { tor.start_afresh(name, torrc) } else { tor.start(name, torrc) };
            Ok(started.await?)
        }
        (Object::Instance(name), Action::DestroyInstance | Action::DissolveInstance) => Ok(tor.destroy(name).await?),
        (object, action) => Err(Failed { message: format!("{object} has no step `{action}`"), kind: Kind::Bug }),
    }
}

/// A change of the guard is tried; a repair was tried before.
async fn put(drivers: &Drivers, cause: Cause, guard: &Guard) -> Result<(), Failed> {
    match drivers.trials.as_ref().filter(|_| cause != Cause::Drift) {
        Some(trials) => Ok(trials.put(&*drivers.firewall, guard).await?),
        None => Ok(drivers.firewall.apply(guard).await?),
    }
}

fn skipped(step: &Step, why: &str) -> Outcome {
    let result = Err(Failed { message: why.to_owned(), kind: Kind::Host });
    Outcome { step: step.clone(), took: Duration::ZERO, result }
}

fn log(outcome: &Outcome) {
    let Outcome { step, took, result } = outcome;
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match result {
        Ok(()) => tracing::info!(object = %step.object, cause = %step.cause, took_ms, "applied: {step}"),
        Err(failed) => {
            tracing::warn!(object = %step.object, cause = %step.cause, took_ms, error = failed.message, "failed: {step}");
        }
    }
}

impl From<TorError> for Failed {
    fn from(error: TorError) -> Self {
        Self { message: chain(&error), kind: error.kind() }
    }
}

impl From<TrialError> for Failed {
    fn from(error: TrialError) -> Self {
        Self { message: chain(&error), kind: error.kind() }
    }
}

impl From<FirewallError> for Failed {
    fn from(error: FirewallError) -> Self {
        Self { message: chain(&error), kind: error.kind() }
    }
}
