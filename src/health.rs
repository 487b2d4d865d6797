//! The health of the instances: who is in trouble, what is tried next, and when to leave one alone. Pure: the clock is the
//! caller's, and what is to be done reaches the plan as [`Care`].
//!
//! # What counts
//!
//! A check of an instance fails where there is no progress: its bootstrap stands where it stood, it still has no
//! circuit or builds none, its control socket still gives no answer, another probe through it has failed. Time alone never fails a
//! check: it only says how far apart two checks are.
//!
//! # The ladder
//!
//! With each failed check something else is tried, from what costs nobody anything to what cuts connections: new
//! circuits, another exit, the network joined anew, and with the check that is `health.restart_after`, the process is
//! started again, the next time with a fresh directory cache. An instance that is started again over and over is held down, longer each time.
//!
//! # What all have in common
//!
//! Where no instance can use the network, that is one incident: it is not theirs, and no restart helps.

mod patient;
mod probed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::desired::{Desired, Fingerprint, Instance, InstanceName, PoolName};
use crate::observe::{self, Begun, Observed};
use crate::plan::{Care, Repair};
use patient::Patient;
pub use patient::Restarts;
pub use probed::{Answer, Failed, Probed, Probes, Suspect};

/// So many instances of the host are restarted at once, at the most.
const RESTARTS_AT_ONCE: usize = 2;

/// An instance that was restarted counts as under way for so long, unless it serves before.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// An instance builds no circuits where so many have failed one after the other: on the Tor network one of ten does, more or
/// less, and one of a hundred thousand times that is five in a row.
const FAILED_IN_A_ROW: u64 = 5;

/// The health of all instances, as it was judged last.
#[derive(Debug, Clone, Default)]
pub struct Health {
    patients: BTreeMap<InstanceName, Patient>,
    /// What a daemon before has counted, until the instances are first judged.
    recalled: BTreeMap<InstanceName, Restarts>,
    incident: Option<Incident>,
}

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Examination<'a> {
    /// What is wished.
    pub desired: &'a Desired,
    /// What is.
    pub observed: &'a Observed,
    /// How the latest probe through each instance went.
    pub probes: &'a Probes,
    /// The instances whose options were changed and that have not shown yet that they serve with them, with the time by
    /// which they should have.
    pub settling: &'a BTreeMap<InstanceName, Timestamp>,
    /// The time.
    pub now: Timestamp,
}

/// What is wrong with one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Its control socket gives no answer.
    Hangs,
    /// Its bootstrap does not go on.
    Bootstrap {
        /// In percent.
        progress: u8,
        /// tor's own sentence.
        summary: String,
        /// Whether tor says that the problem can be ignored.
        ignorable: bool,
    },
    /// It can build no circuit.
    NoCircuit,
    /// It could, as tor says, and does not.
    NoneBuilt {
        /// So many have failed since the last one that was built.
        failed: u64,
        /// Whether it has built none since its options were changed.
        changed: bool,
    },
    /// A probe through it fails.
    Probe(Failed),
}

/// What keeps all instances from using the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Since when.
    pub since: Timestamp,
    /// What.
    pub cause: Outage,
    /// How many instances it concerns.
    pub instances: usize,
}

/// What all instances have in common that cannot use the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Every tor says that the network is down.
    NetworkDown,
    /// None of them gets anywhere.
    NoneServes,
    /// The probe fails through all of them, which can build circuits.
    ProbeFails,
}

/// What is published of one instance's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub trouble: Trouble,
    /// How many checks in a row have failed.
    pub failures: u32,
    /// After so many it is restarted.
    pub restart_after: u32,
}

impl Health {
    /// Takes up how often instances were started again, as a daemon before has counted.
    pub fn recall(restarts: BTreeMap<InstanceName, Restarts>) -> Self {
        Self { recalled: restarts, ..Self::default() }
    }

    /// How often instances were started again lately: what outlives the daemon.
    pub fn restarts(&self) -> BTreeMap<InstanceName, Restarts> {
        let counted = self.patients.iter().filter_map(|(name, patient)| Some((name.clone(), patient.counted()?)));
        self.recalled.clone().into_iter().chain(counted).collect()
    }

    /// Forgets how often instances were started again, and how many checks have failed; says who is not held down any more.
    pub fn reset(&mut self, now: Timestamp) -> Vec<InstanceName> {
        self.recalled.clear();
        let is_held = |patient: &Patient| patient.held_down(now).is_some();
        let held = self.patients.iter().filter(|(_, patient)| is_held(patient)).map(|(name, _)| name.clone()).collect();
        self.patients.values_mut().for_each(Patient::reset);
        held
    }

    /// Judges every instance that is wished, and forgets the others.
    pub fn examine(&mut self, exam: &Examination<'_>) {
        let wanted = exam.desired.instances();
        let names: BTreeSet<&InstanceName> = wanted.iter().map(|instance| &instance.name).collect();
        self.patients.retain(|name, _| names.contains(name));
        for (name, restarts) in std::mem::take(&mut self.recalled) {
            let wanted = wanted.iter().find(|wanted| wanted.name == name && restarts.are_of(wanted));
            self.patients.extend(wanted.map(|wanted| (name, Patient::recalled(wanted, &restarts))));
        }
        let found: Vec<(&Instance, Option<Trouble>)> =
            wanted.iter().map(|instance| (instance, trouble(exam, instance))).collect();
        self.incident = self.incident_of(exam, &found);
        for (instance, trouble) in found {
            let probed = exam.probes.get(&instance.name);
            match self.patients.get_mut(&instance.name) {
                Some(patient) => patient.check(exam, instance, trouble, probed, self.incident.is_some()),
                None if trouble.is_some() => {
                    let mut patient = Patient::of(instance);
                    patient.check(exam, instance, trouble, probed, self.incident.is_some());
                    self.patients.insert(instance.name.clone(), patient);
                }
                None => {}
            }
        }
        self.patients.retain(|_, patient| patient.is_of_interest(exam.now));
    }

    /// Says that an instance was started again, whoever asked for it.
    pub fn restarted(&mut self, wanted: &Instance, now: Timestamp) {
        self.patients.entry(wanted.name.clone()).or_insert_with(|| Patient::of(wanted)).restarted(now);
    }

    /// Says that the repair of an instance was carried out.
    pub fn repaired(&mut self, name: &InstanceName) {
        if let Some(patient) = self.patients.get_mut(name) {
            patient.repair = None;
        }
    }

    /// What the plan has to heed. Restarts are few at once: for the host, and in a pool no more than may be unavailable.
    pub fn care(&self, desired: &Desired, now: Timestamp) -> Care {
        let mut care = Care::default();
        let under_way = |patient: &&Patient| patient.is_under_way(now);
        let mut of_host = self.patients.values().filter(under_way).count();
        let mut of_pools: BTreeMap<&PoolName, usize> = BTreeMap::new();
        for patient in self.patients.values().filter(under_way) {
            *of_pools.entry(&patient.wished.pool).or_default() += 1;
        }
        for (name, patient) in &self.patients {
            if let Some(held) = patient.held_down(now) {
                care.held_down.insert(name.clone(), held);
                continue;
            }
            let Some(repair) = &patient.repair else { continue };
            if repair.rung.restarts() {
                let of_pool = of_pools.entry(&patient.wished.pool).or_default();
                if of_host >= RESTARTS_AT_ONCE || *of_pool >= most_unavailable(desired, &patient.wished.pool) {
                    continue;
                }
                of_host += 1;
                *of_pool += 1;
            }
            care.repairs.insert(name.clone(), repair.clone());
        }
        care
    }

    /// The instances that are to use new circuits, with how often each had done so before.
    pub fn renewals(&self) -> impl Iterator<Item = (&InstanceName, u64)> {
        self.patients.iter().filter_map(|(name, patient)| Some((name, patient.renewed?)))
    }

    /// The exits that instances leave alone for now, since they did not serve.
    pub fn avoided(&self, now: Timestamp) -> impl Iterator<Item = (&InstanceName, BTreeSet<Fingerprint>)> {
        self.patients.iter().filter_map(move |(name, patient)| Some((name, patient.avoided(now)?)))
    }

    /// The instances that make no progress: nobody waits for them.
    pub fn stuck(&self, now: Timestamp) -> BTreeSet<&InstanceName> {
        let is_stuck = |patient: &Patient| patient.stands_still(now);
        self.patients.iter().filter(|(_, patient)| is_stuck(patient)).map(|(name, _)| name).collect()
    }

    /// The instances in trouble, by name.
    pub fn in_trouble(&self) -> impl Iterator<Item = &InstanceName> {
        self.patients.iter().filter(|(_, patient)| patient.trouble.is_some()).map(|(name, _)| name)
    }

    /// What keeps all instances from using the network, where something does.
    pub fn incident(&self) -> Option<&Incident> {
        self.incident.as_ref()
    }

    /// The instances in trouble.
    pub fn findings(&self, desired: &Desired) -> BTreeMap<InstanceName, Finding> {
        let restart_after = desired.health.restart_after;
        let finding = |patient: &Patient| {
            Some(Finding { trouble: patient.trouble.clone()?, failures: patient.failures, restart_after })
        };
        self.patients.iter().filter_map(|(name, patient)| Some((name.clone(), finding(patient)?))).collect()
    }

    /// When something of an instance in trouble has to be looked at again; `None` while all are well.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.patients.values().filter_map(|patient| patient.next(now)).filter(|at| *at > now).min()
    }

    fn incident_of(&self, exam: &Examination<'_>, found: &[(&Instance, Option<Trouble>)]) -> Option<Incident> {
        let asked: Vec<(&observe::Control, &Option<Trouble>)> =
            found.iter().filter_map(|(instance, trouble)| Some((control(exam, instance)?, trouble))).collect();
        let all = |wrong: fn(&observe::Control, &Option<Trouble>) -> bool| {
            !asked.is_empty() && asked.iter().all(|(control, trouble)| wrong(control, trouble))
        };
        let cause = if all(|control, _| control.network_live == Some(false)) {
            Outage::NetworkDown
        } else if asked.len() < 2 {
            return None;
        } else if all(|_, trouble| matches!(trouble, Some(Trouble::Probe(_)))) {
            Outage::ProbeFails
        } else if all(|_, trouble| trouble.is_some()) && self.all_stand_still(exam, found) {
            Outage::NoneServes
        } else {
            return None;
        };
        let since = self.incident.as_ref().filter(|before| before.cause == cause).map_or(exam.now, |it| it.since);
        Some(Incident { since, cause, instances: asked.len() })
    }

    /// Whether all that are in trouble have made no progress for a while: a pool that has just started has no circuits yet.
    fn all_stand_still(&self, exam: &Examination<'_>, found: &[(&Instance, Option<Trouble>)]) -> bool {
        let stands_still = |instance: &Instance| {
            self.patients.get(&instance.name).is_some_and(|patient| patient.stands_still(exam.now))
        };
        found.iter().all(|(instance, trouble)| trouble.is_none() || stands_still(instance))
    }
}

/// How many instances of a pool may be unavailable at once; one can always be.
fn most_unavailable(desired: &Desired, pool: &PoolName) -> usize {
    let size = desired.pool(pool).map_or(0, |pool| usize::from(pool.size));
    (size * usize::from(desired.reconcile.max_unavailable_percent) / 100).max(1)
}

fn control<'a>(exam: &Examination<'a>, instance: &Instance) -> Option<&'a observe::Control> {
    exam.observed.instances.get(&instance.name)?.control.present().map(Arc::as_ref)
}

/// Finds what is wrong with an instance whose process runs; what desired still has to make of it is no trouble.
fn trouble(exam: &Examination<'_>, instance: &Instance) -> Option<Trouble> {
    if exam.observed.instances.get(&instance.name)?.hangs {
        return Some(Trouble::Hangs);
    }
    let control = control(exam, instance)?;
    let observe::Bootstrap { progress, summary, ignorable, .. } = &control.bootstrap;
    if *progress < 100 {
        return Some(Trouble::Bootstrap { progress: *progress, summary: summary.clone(), ignorable: *ignorable });
    }
    if !control.listens_for(instance) {
        return None;
    }
    if !control.circuit_established {
        return Some(Trouble::NoCircuit);
    }
    let probed = exam.probes.get(&instance.name).and_then(|probed| probed.outcome.as_ref().err());
    probed.map(|failed| Trouble::Probe(failed.clone())).or_else(|| none_built(exam, instance, control.begun))
}

/// Finds an instance of which tor says that it can build circuits, since its directory would do, and that builds none: they
/// fail one after the other, or after a change there is not even one.
fn none_built(exam: &Examination<'_>, instance: &Instance, begun: Begun) -> Option<Trouble> {
    let Begun { built, failed } = begun;
    match exam.settling.get(&instance.name).filter(|_| built == 0) {
        Some(by) if failed > 0 || exam.now >= *by => Some(Trouble::NoneBuilt { failed, changed: true }),
        _ if failed >= FAILED_IN_A_ROW => Some(Trouble::NoneBuilt { failed, changed: false }),
        _ => None,
    }
}

impl Trouble {
    /// Whether there is no progress since it was another trouble: of one sort, and at the same point.
    fn is_as(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Probe(_), Self::Probe(_)) | (Self::NoneBuilt { .. }, Self::NoneBuilt { .. }) => true,
            (Self::Bootstrap { progress, summary, .. }, Self::Bootstrap { progress: at, summary: phase, .. }) => {
                progress == at && summary == phase
            }
            (now, before) => now == before,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hangs => f.write_str("its control socket gives no answer"),
            Self::Bootstrap { progress, summary, .. } => {
                write!(f, "its bootstrap does not go on at {progress} % ({summary})")
            }
            Self::NoCircuit => f.write_str("it can build no circuit"),
            Self::NoneBuilt { changed: true, .. } => {
                f.write_str("it has built no circuit since its options were changed")
            }
            Self::NoneBuilt { failed, .. } => write!(f, "the last {failed} circuits that it began have failed"),
            Self::Probe(failed) => write!(f, "its probe fails: {}", failed.why),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failures {
            0 => self.trouble.fmt(f),
            1 => write!(f, "{}; 1 check has failed (health.restart_after: {})", self.trouble, self.restart_after),
            many => {
                write!(f, "{}; {many} checks have failed (health.restart_after: {})", self.trouble, self.restart_after)
            }
        }
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = match self.instances {
            1 => "the only tor".to_owned(),
            many => format!("all {many} tors"),
        };
        match self.cause {
            Outage::NetworkDown => write!(f, "the network is down: so {all} of this host say")?,
            Outage::NoneServes => write!(f, "{all} of this host get nowhere: the network is down, or shut off")?,
            Outage::ProbeFails => {
                write!(
                    f,
                    "the probe fails through {all} of this host: its site is down, refuses Tor or is not believed; the nodes say which"
                )?;
            }
        }
        f.write_str("; nobody is restarted for it")
    }
}

/// Says of a repair what it is for.
fn repair(rung: crate::plan::Rung, trouble: &Trouble, failures: u32) -> Repair {
    let checks = if failures == 1 { "1 check" } else { &format!("{failures} checks in a row") };
    Repair { rung, why: format!("{trouble}, at {checks}") }
}

#[cfg(test)]
mod tests;
