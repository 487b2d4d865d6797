//! What the daemon holds between two passes: the source and what came of it, the reconciler, the published status.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::apply::{Drivers, Outcome};
use crate::audit::{Audit, Record};
use crate::desired::load::{self, Loaded};
use crate::desired::{Desired, DriverChoice, Revision};
use crate::error::chain;
use crate::firewall::{self, Firewall};
use crate::observe::Observed;
use crate::plan::Plan;
use crate::reconcile::memory::{Accepted, Memory};
use crate::reconcile::{self, Reconciler, Settled};
use crate::source::{self, Candidate, Source, Watch};
use crate::status::metrics::Metrics;
use crate::status::{self, Fault, Inputs, PassResult, Signatures, SourceError, SourceState, Status};
use crate::sys::{addresses, files};
use crate::tor::Tor;
use crate::tor::driver::{TorDriver, TorSettings};

use super::StatusReceiver;
use super::fault;
use super::fetching::Fetching;
use super::settings::Settings;
use super::socket::Report;
use super::wake::{Cause, Wakeups};

/// How long a source that cannot be watched is left alone between two looks.
const UNWATCHED_PAUSE: Duration = Duration::from_secs(5);

/// What the daemon holds between two passes.
pub(super) struct State {
    source: Source,
    fetching: Option<Fetching>,
    seen: SourceState,
    refused: Option<Revision>,
    in_force: Option<InForce>,
    reconciler: Reconciler,
    driver: Option<DriverChoice>,
    memory: Memory,
    audit: Option<Audit>,
    addresses: Vec<IpAddr>,
    converged: Option<Revision>,
    published: watch::Sender<Arc<Status>>,
    metrics: Arc<Metrics>,
    watched: bool,
    /// When everything is read anew, whatever was heard of meanwhile.
    resync_at: Instant,
}

/// The desired state in force.
#[derive(Debug, Clone)]
struct InForce {
    revision: Revision,
    desired: Desired,
}

impl State {
    pub(super) fn new(settings: &Settings) -> Self {
        let memory = Memory::new(&settings.state_dir);
        let tor = TorDriver::new(TorSettings {
            tor: settings.tor.clone(),
            layout: settings.layout(),
            geoip: settings.geoip.clone(),
            geoip6: settings.geoip6.clone(),
        });
        let drivers = Drivers { tor: Arc::new(tor), firewall: firewall::select::unchosen() };
        let addresses = addresses::of_this_host();
        let starting = Status::starting(Timestamp::now(), drivers.firewall.name(), addresses.clone());
        let metrics = Arc::new(Metrics::new());
        metrics.publish(&starting);
        let reconciler = Reconciler {
            drivers,
            layout: settings.layout(),
            panel_port: settings.panel_port(),
            applied: memory.applied(),
            backoffs: Default::default(),
        };
        let source = Source::with(settings.source.clone());
        let signatures = if source.needs_signatures() { Signatures::Required } else { Signatures::NotRequired };
        let mut state = Self {
            source,
            fetching: None,
            seen: SourceState { signatures, ..SourceState::default() },
            refused: None,
            in_force: None,
            reconciler,
            driver: None,
            audit: open_audit(settings),
            memory,
            addresses,
            converged: None,
            published: watch::Sender::new(Arc::new(starting)),
            metrics,
            watched: false,
            resync_at: Instant::now(),
        };
        state.recall();
        state
    }

    /// Takes up the desired state that was in force when the last daemon ended.
    fn recall(&mut self) {
        let Some(accepted) = self.memory.accepted() else {
            return;
        };
        match load::load("the desired state accepted last", &accepted.bytes) {
            Ok(Loaded { desired, .. }) => {
                self.seen.accepted = Some(accepted.revision.clone());
                self.in_force = Some(InForce { revision: accepted.revision, desired });
            }
            Err(invalid) => tracing::warn!(%invalid, "the desired state accepted last is not valid any more"),
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

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Begins to fetch a remote source.
    pub(super) fn fetch_source(&mut self, wakeups: &Wakeups) -> Option<JoinHandle<()>> {
        let (fetching, task) = Fetching::start(&self.source, wakeups)?;
        self.fetching = Some(fetching);
        self.watched = true;
        Some(task)
    }

    /// The task that fetches, where the source is remote.
    pub(super) fn fetching(&self) -> Option<Fetching> {
        self.fetching.clone()
    }

    /// Watches the source; one that cannot be watched is looked at every few seconds instead.
    pub(super) fn watch_source(&mut self, wakeups: &Wakeups) -> Option<Watch> {
        if self.source.remote().is_some() {
            return None;
        }
        let wakeups = wakeups.clone();
        match self.source.watch(move || wakeups.wake(Cause::Source)) {
            Ok(watch) => {
                self.watched = true;
                Some(watch)
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot watch the source; looking at it every few seconds");
                None
            }
        }
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
        self.read_source();
        let Some(InForce { revision, desired }) = self.in_force.clone() else {
            self.publish(None, None, &Observed::default(), &Plan::default());
            return Instant::now() + UNWATCHED_PAUSE;
        };
        self.choose_firewall(desired.firewall.driver).await;
        self.resync(&desired);
        let pass = self.reconciler.pass(&desired).await;
        self.reconciler.backoffs.settle(|object| pass.left.concerns(object));
        self.remember(&pass, &revision);
        let summary = summary(&pass);
        self.publish(Some(&desired), Some(&summary), &pass.observed, &pass.left);
        self.next()
    }

    /// Reads the source, and takes its newest revision up when it is believed and valid.
    fn read_source(&mut self) {
        let candidate = self.source.candidate();
        self.seen.offered = self.source.offered().or(self.seen.offered.take());
        match candidate {
            Ok(candidate) => self.consider(candidate),
            Err(source::SourceError::NotFetched { .. }) => self.seen.error = None,
            Err(error) => self.cannot_read(&error),
        }
        self.tell_of_fetching();
    }

    fn consider(&mut self, candidate: Candidate) {
        self.seen.last_success = Some(Timestamp::now());
        self.seen.offered = Some(candidate.revision.clone());
        if self.seen.accepted.as_ref() == Some(&candidate.revision) && self.in_force.is_some() {
            self.seen.error = None;
            self.refused = None;
        } else if self.refused.as_ref() != Some(&candidate.revision) {
            self.take_up(candidate);
        }
    }

    fn cannot_read(&mut self, error: &source::SourceError) {
        let error = SourceError { fault: fault::of_source(error), message: chain(error) };
        if self.seen.error.as_ref().is_none_or(|seen| seen.message != error.message) {
            tracing::warn!(error = error.message, "cannot use the source; what is in force stays in force");
        }
        if error.fault.is_refusal() {
            self.seen.last_success = Some(Timestamp::now());
        }
        self.seen.error = Some(error);
    }

    /// Says of a remote source when it was last reached, and why not, unless there is worse to say.
    fn tell_of_fetching(&mut self) {
        let Some(fetched) = self.fetching.as_ref().map(Fetching::fetched) else { return };
        self.seen.last_success = fetched.last_success;
        if self.seen.error.is_none() {
            self.seen.error = fetched.error;
        }
    }

    fn take_up(&mut self, candidate: Candidate) {
        let revision = candidate.revision.clone();
        match load::load(&candidate.file, &candidate.bytes) {
            Ok(Loaded { desired, warnings }) => {
                warnings.iter().for_each(|warning| tracing::warn!(%revision, "{}", warning.one_line()));
                self.accept(candidate, desired);
            }
            Err(invalid) => {
                tracing::error!(%revision, "refused: {invalid}");
                self.seen.error = Some(SourceError { fault: Fault::Malformed, message: invalid.to_string() });
                self.refused = Some(revision);
            }
        }
    }

    /// Puts a candidate in force. The ratchet goes first: what it does not remember, a restart would take back.
    fn accept(&mut self, candidate: Candidate, desired: Desired) {
        if let Err(error) = self.source.accept(&candidate) {
            return self.cannot_read(&error);
        }
        let revision = candidate.revision;
        tracing::info!(%revision, "accepted a new revision");
        let accepted = Accepted { revision: revision.clone(), bytes: candidate.bytes };
        if let Err(error) = self.memory.remember_accepted(&accepted) {
            tracing::error!(error = chain(&error), "a restart would not know the revision in force");
        }
        self.seen.error = None;
        self.refused = None;
        self.seen.accepted = Some(revision.clone());
        self.in_force = Some(InForce { revision, desired });
    }

    /// Makes sure that the driver is the one that desired names; one that cannot be had is tried again each pass.
    async fn choose_firewall(&mut self, choice: DriverChoice) {
        if self.driver == Some(choice) {
            return;
        }
        match firewall::select::select(choice).await {
            Ok(driver) => {
                tracing::info!(driver = driver.name(), "chose the firewall driver");
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
        for (outcome, audit) in pass.outcomes.iter().zip(self.audit.iter().cycle()) {
            audit.append(record(outcome, revision));
        }
        if pass.left.is_converged() {
            self.converged = Some(revision.clone());
        }
        if pass.settled == Settled::Anew
            && let Err(error) = self.memory.remember_applied(&self.reconciler.applied)
        {
            tracing::error!(error = chain(&error), "a restart would call drift a change");
        }
    }

    fn publish(&mut self, desired: Option<&Desired>, pass: Option<&status::Pass>, observed: &Observed, plan: &Plan) {
        let previous = Arc::clone(&self.published.borrow());
        let failures = self.reconciler.backoffs.failures();
        let status = status::of(&Inputs {
            now: Timestamp::now(),
            previous: Some(&previous),
            source: &self.seen,
            desired,
            applied: self.converged.as_ref(),
            observed,
            plan,
            failures: &failures,
            driver: self.reconciler.drivers.firewall.name(),
            server_addresses: &self.addresses,
            suspended: None,
            pass,
        });
        self.metrics.publish(&status);
        self.published.send_replace(Arc::new(status));
    }

    /// The resync, or the end of the first backoff, or the next look at a source that cannot be watched.
    fn next(&self) -> Instant {
        let now = Timestamp::now();
        let backoff = self.reconciler.backoffs.next(now).map(|at| at.duration_since(now).unsigned_abs());
        let unwatched = (!self.watched).then_some(UNWATCHED_PAUSE);
        let earlier = [backoff, unwatched].into_iter().flatten().min().map(|pause| Instant::now() + pause);
        earlier.map_or(self.resync_at, |earlier| earlier.min(self.resync_at))
    }

    /// Removes everything of ours from this host.
    pub(super) async fn down(&mut self) -> Report {
        let outcomes = self.reconciler.down().await;
        self.memory.forget();
        Report::of_down(&outcomes)
    }
}

/// Opens the audit trail; without it the pool goes on, and the log says what is missing.
fn open_audit(settings: &Settings) -> Option<Audit> {
    if let Err(error) = files::make_private_directory(&settings.state_dir) {
        tracing::error!(%error, directory = %settings.state_dir.display(), "cannot make the state directory");
    }
    Audit::open(&settings.state_dir.join("audit.sqlite"))
        .inspect_err(|error| tracing::error!(error = chain(error), "no audit trail is kept"))
        .ok()
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
    status::Pass { started: pass.started, duration: pass.took, result, applied: applied.collect() }
}

fn record(outcome: &Outcome, revision: &Revision) -> Record {
    Record {
        at: Timestamp::now(),
        revision: Some(revision.clone()),
        object: outcome.step.object.to_string(),
        action: outcome.step.to_string(),
        cause: outcome.step.cause.to_string(),
        result: outcome.result.as_ref().map_or_else(|failed| failed.message.clone(), |()| "done".to_owned()),
    }
}
