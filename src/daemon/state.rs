//! What the daemon holds between two passes: the revisions, the reconciler, the published status.

mod notes;
mod orders;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alert::Board;
use crate::apply::Drivers;
use crate::audit::Audit;
use crate::desired::{self, Desired, DriverChoice, Revision};
use crate::error::chain;
use crate::export::Desk;
use crate::firewall::{self, Firewall};
use crate::gate::Gate;
use crate::observe::Observed;
use crate::plan::{Mandate, Plan};
use crate::probe::{Prober, Target};
use crate::reconcile::efforts::Efforts;
use crate::reconcile::{self, Reconciler};
use crate::rollout;
use crate::state::note::Note;
use crate::status::http::Shared;
use crate::status::metrics::Metrics;
use crate::status::{self, Inputs, NodeState, PassResult, Rollbacks, Status, Suspension, Visitors};
use crate::sys::{addresses, clock};
use crate::tor::Tor;
use crate::tor::driver::{TorDriver, TorSettings};
use crate::trial::Terms;

use super::StatusReceiver;
use super::exports::Trail;
use super::journal::{self, Journal, Signed};
use super::lockouts::{self, Keeping, Told};
use super::revisions::{InForce, Revisions, Watched};
use super::rotating::Rotating;
use super::settings::Settings;
use super::socket::Report;
use super::trying::Trying;
use super::wake::{self, Wakeups};

/// How long a source that cannot be watched is left alone between two looks.
const UNWATCHED_PAUSE: Duration = Duration::from_secs(5);

/// So many ready nodes are asked to find one that answers.
const MOST_NODES_ASKED: usize = 3;

/// What the daemon holds between two passes.
pub(super) struct State {
    revisions: Revisions,
    reconciler: Reconciler,
    driver: Option<DriverChoice>,
    journal: Journal,
    /// The revision that the audit trail knows to be in force.
    noted: Option<Revision>,
    page_in_the_clear: bool,
    addresses: Vec<IpAddr>,
    converged: Option<Revision>,
    rollbacks: Rollbacks,
    trying: Trying,
    rotating: Rotating,
    prober: Prober,
    published: watch::Sender<Arc<Status>>,
    metrics: Arc<Metrics>,
    visitors: Arc<Visitors>,
    board: Board,
    gate: Arc<Gate>,
    /// Who keeps its lockouts, until that begins.
    keeping: Option<Keeping>,
    /// When everything is read anew, whatever was heard of meanwhile.
    resync_at: Instant,
}

impl State {
    pub(super) fn new(settings: &Settings, wakeups: &Wakeups) -> Self {
        let revisions = Revisions::new(settings);
        let tor = TorDriver::new(TorSettings {
            tor: settings.tor.clone(),
            layout: settings.layout(),
            geoip: settings.geoip.clone(),
            geoip6: settings.geoip6.clone(),
        });
        let noted = revisions.in_force().map(|in_force| in_force.revision.clone());
        let trying = Trying::new(&settings.runtime_dir, wakeups);
        let rotating = Rotating::of(revisions.records.memory().clone());
        let probed = wakeups.clone();
        let efforts = Efforts::of(revisions.records.memory().clone());
        let (backoffs, wellbeing) = efforts.recall();
        let prober = Prober::new(move || probed.wake(wake::Cause::Probe), wellbeing.budget.probes());
        let firewall = firewall::select::unchosen();
        let drivers = Drivers { tor: Arc::new(tor), firewall, trials: Some(trying.trials()) };
        let addresses = addresses::of_this_host();
        let (gate, keeping) = lockouts::open(&settings.state_dir);
        let lockouts = gate.lockouts(lockouts::now());
        let starting = Status::starting(Timestamp::now(), drivers.firewall.name(), addresses.clone());
        let starting = Status { lockouts, ..starting };
        let metrics = Arc::new(Metrics::new());
        metrics.publish(&starting);
        let reconciler = Reconciler {
            drivers,
            layout: settings.layout(),
            panel_port: settings.panel_port(),
            applied: revisions.records.memory().applied(),
            mandate: Default::default(),
            visitors: Default::default(),
            backoffs,
            wellbeing,
            efforts: Some(efforts),
        };
        Self {
            revisions,
            reconciler,
            driver: None,
            journal: Journal::open(settings),
            noted,
            page_in_the_clear: settings.page_in_the_clear(),
            addresses,
            converged: None,
            rollbacks: Rollbacks::default(),
            trying,
            rotating,
            prober,
            published: watch::Sender::new(Arc::new(starting)),
            metrics,
            visitors: Arc::default(),
            board: Board::default(),
            gate,
            keeping: Some(keeping),
            resync_at: Instant::now(),
        }
    }

    pub(super) fn tor(&self) -> Arc<dyn Tor> {
        Arc::clone(&self.reconciler.drivers.tor)
    }

    pub(super) fn firewall(&self) -> Arc<dyn Firewall> {
        Arc::clone(&self.reconciler.drivers.firewall)
    }

    pub(super) fn subscribe(&self) -> StatusReceiver {
        self.published.subscribe()
    }

    pub(super) fn visitors(&self) -> Arc<Visitors> {
        Arc::clone(&self.visitors)
    }

    /// What is pending, firing and silenced.
    pub(super) fn board(&self) -> Board {
        self.board.clone()
    }

    /// The audit trail, where there is one.
    pub(super) fn trail(&self) -> Option<Arc<Audit>> {
        self.journal.trail()
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Who asks too often, and who is locked out.
    pub(super) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Keeps the lockouts until `stop`.
    pub(super) fn keep_lockouts(&mut self, stop: CancellationToken) -> Option<JoinHandle<()>> {
        let told = Told { audit: self.journal.trail(), status: self.published.clone() };
        let keeping = self.keeping.take()?;
        Some(tokio::spawn(keeping.run(Arc::clone(&self.gate), told, stop)))
    }

    /// What the HTTP server reads; lists are handed out with this host's audit trail.
    pub(super) fn shared(&self) -> Shared {
        let trail = self.journal.trail().map(Trail);
        Shared {
            status: self.subscribe(),
            metrics: Arc::clone(&self.metrics),
            visitors: self.visitors(),
            gate: Arc::clone(&self.gate),
            desk: Arc::new(trail.map_or_else(Desk::default, |trail| Desk::with(Box::new(trail)))),
            tls: None,
            now: Timestamp::now,
        }
    }

    /// The source, what it offers, and what is in force.
    pub(super) fn revisions(&mut self) -> &mut Revisions {
        &mut self.revisions
    }

    /// Lets the next pass read everything anew.
    pub(super) fn forget(&mut self) {
        self.resync_at = Instant::now();
    }

    /// Forgets what was seen when it is time, however many passes there were meanwhile.
    fn resync(&mut self, desired: &Desired) {
        let now = Instant::now();
        if now < self.resync_at {
            return;
        }
        self.resync_at = now + desired.reconcile.resync_every;
        self.reconciler.drivers.tor.forget();
        self.reconciler.drivers.firewall.forget();
    }

    /// Reads the source, reconciles, publishes; says when to look again.
    pub(super) async fn pass(&mut self) -> Instant {
        self.published.send_modify(|status| *status = Arc::new(status.passing(Timestamp::now())));
        self.revisions.records.expire(Timestamp::now());
        // Before a newer revision: what was taken back is the older one's.
        let on_trial = self.trying.look(&*self.reconciler.drivers.firewall).await;
        self.note_what_was_taken_back().await;
        self.revisions.read(None);
        self.revisions.records.settle();
        let Some(InForce { revision, desired }) = self.revisions.in_force().cloned() else {
            self.publish(None, None, &Observed::default(), &Plan::default());
            return Instant::now() + UNWATCHED_PAUSE;
        };
        self.note_what_is_in_force(&revision);
        self.journal.follow(desired.audit);
        self.choose_firewall(desired.firewall.driver).await;
        self.resync(&desired);
        let mandate = self.revisions.records.orders().mandate(&revision);
        self.reconciler.mandate =
            self.rotating.instruct(&desired, Mandate { on_trial, ..mandate }, &self.reconciler.wellbeing.budget);
        self.reconciler.visitors = self.visitors.lately(Timestamp::now());
        self.set_terms(&desired);
        self.reconciler.wellbeing.probes = self.prober.probes();
        let stood = self.reconciler.applied.guard().cloned();
        let mut pass = self.reconciler.pass(&desired).await;
        self.prober.follow(desired.health.probe.as_ref(), &targets(&desired, &pass.observed));
        if let Some(on_trial) = self.trying.judge(self.revisions.fetching()) {
            self.reconciler.put_on_trial(&desired, &mut pass, on_trial);
            // Where the host is booted meanwhile, it is what stood that stands again.
            self.reconciler.applied.leave_guard(stood);
        }
        self.reconciler.backoffs.settle(|object| pass.left.concerns(object));
        self.reconciler.keep_efforts();
        for (name, told) in self.rotating.follow(&desired, &pass.observed) {
            self.journal.rotation(name, told, &revision);
        }
        self.remember(&pass, &revision);
        let summary = summary(&pass);
        self.publish(Some(&desired), Some(&summary), &pass.observed, &pass.left);
        if pass.goes_on() { Instant::now() } else { self.next(&desired) }
    }

    /// Says on which terms this pass may change the guard.
    fn set_terms(&self, desired: &Desired) {
        let published = self.published.borrow();
        let ready = published.nodes.iter().filter(|node| node.state == NodeState::Ready);
        self.trying.trials().set(Terms {
            confirm: desired.firewall.confirm,
            within: desired.firewall.confirm_within,
            left: self.reconciler.applied.guard().cloned(),
            visitors: self.reconciler.visitors.clone(),
            nodes: ready.map(|node| node.socks).take(MOST_NODES_ASKED).collect(),
            fetches: self.revisions.reaches_its_remote(),
        });
    }

    /// Makes sure that the driver is the one that desired names; one that cannot be had is tried again each pass.
    async fn choose_firewall(&mut self, choice: DriverChoice) {
        if self.driver == Some(choice) {
            return;
        }
        match firewall::select::select(choice).await {
            Ok(driver) => {
                self.reconciler.drivers.firewall = driver;
                self.driver = Some(choice);
            }
            Err(error) => {
                self.reconciler.drivers.firewall = firewall::select::unavailable(choice, chain(&error));
                self.driver = None;
            }
        }
    }

    fn remember(&mut self, pass: &reconcile::Pass, revision: &Revision) {
        let asked_by = Signed { revision, signers: self.revisions.signers() };
        for outcome in &pass.outcomes {
            self.journal.outcome(outcome, pass.guard_author.as_ref(), &asked_by);
        }
        if pass.left.is_converged() && self.converged.as_ref() != Some(revision) {
            self.revisions.records.converged(revision);
            self.converged = Some(revision.clone());
        }
        self.revisions.records.applied(&self.reconciler.applied, pass.settled);
        self.revisions.records.endangered(revision, &pass.left);
    }

    fn publish(&mut self, desired: Option<&Desired>, pass: Option<&status::Pass>, observed: &Observed, plan: &Plan) {
        let previous = Arc::clone(&self.published.borrow());
        let failures = self.reconciler.backoffs.failures();
        let fights = self.reconciler.backoffs.fights(clock::steady());
        let health = &self.reconciler.wellbeing.health;
        let findings = desired.map(|desired| health.findings(desired)).unwrap_or_default();
        let orders = self.revisions.records.orders();
        let suspended = orders.host.as_ref().map(suspension);
        let pools = orders.pools.iter().map(|(pool, order)| (pool.clone(), suspension(order))).collect();
        let status = status::of(&Inputs {
            now: Timestamp::now(),
            previous: Some(&previous),
            source: self.revisions.seen(),
            desired,
            applied: self.converged.as_ref(),
            observed,
            plan,
            failures: &failures,
            fights: &fights,
            findings: &findings,
            incident: health.incident(),
            probes: &self.reconciler.wellbeing.probes,
            driver: self.reconciler.drivers.firewall.name(),
            page_in_the_clear: self.page_in_the_clear,
            server_addresses: &self.addresses,
            suspended: suspended.as_ref(),
            suspended_pools: &pools,
            rollbacks: self.rollbacks,
            alerts: &self.board.firing(),
            rotations: self.rotating.rotations(),
            audit: &self.journal.told(),
            lockouts: &self.gate.lockouts(lockouts::now()),
            pass,
        });
        journal::warn_anew(&previous.warnings, &status.warnings);
        self.metrics.publish(&status);
        let backups = Note::read(&self.reconciler.layout.state_dir);
        self.metrics.backed_up(backups.succeeded, backups.failed);
        self.published.send_replace(Arc::new(status));
    }

    /// The resync, or the end of the first backoff, check, drain or suspension, or the next rotation, or the next look at a source that cannot be watched.
    fn next(&self, desired: &Desired) -> Instant {
        let (now, today) = (clock::steady(), Timestamp::now());
        let from = |now: Timestamp, at: Timestamp| at.duration_since(now).try_into().unwrap_or(Duration::ZERO);
        let until = |at| from(now, at);
        let sooner = self.reconciler.next(now).map(until);
        // An operator has said until when.
        let resumed = self.revisions.records.orders().next_end().map(|end| from(today, end));
        let unwatched = (self.revisions.watched() == Watched::No).then_some(UNWATCHED_PAUSE);
        let rotation = self.rotating.next(desired, now).map(until);
        let earlier =
            [sooner, resumed, rotation, unwatched].into_iter().flatten().min().map(|pause| Instant::now() + pause);
        earlier.map_or(self.resync_at, |earlier| earlier.min(self.resync_at))
    }

    /// Removes everything of ours from this host.
    pub(super) async fn down(&mut self) -> Report {
        self.trying.forget().await;
        let outcomes = self.reconciler.down().await;
        self.revisions.records.forget();
        self.rotating.forget();
        Report::of_down(&outcomes)
    }
}

/// The instances that can be probed: bootstrapped, and listening for their first node.
fn targets(desired: &Desired, observed: &Observed) -> Vec<Target> {
    if desired.health.probe.is_none() {
        return Vec::new();
    }
    let target = |instance: desired::Instance| {
        let control = observed.instances.get(&instance.name)?.control.present()?;
        let is_up = control.bootstrap.is_done() && control.listens_for(&instance);
        let socks = instance.nodes.first().filter(|_| is_up)?.socks;
        Some(Target { name: instance.name, socks })
    };
    desired.instances().into_iter().filter_map(target).collect()
}

/// What the status tells of a suspension.
fn suspension(order: &rollout::Suspension) -> Suspension {
    Suspension { reason: order.reason.clone(), until: Some(order.until), by: order.by.clone() }
}

/// What the status tells of a pass.
fn summary(pass: &reconcile::Pass) -> status::Pass {
    let failed = pass.outcomes.iter().any(|outcome| outcome.result.is_err());
    let result = match (failed, pass.left.is_converged()) {
        (true, _) => PassResult::Error,
        (false, true) => PassResult::Success,
        (false, false) => PassResult::Requeue,
    };
    let applied = pass.outcomes.iter().filter(|outcome| outcome.result.is_ok()).map(|outcome| outcome.step.clone());
    let (applied, guard_author) = (applied.collect(), pass.guard_author.clone());
    status::Pass { started: pass.started, duration: pass.took, result, applied, guard_author }
}
