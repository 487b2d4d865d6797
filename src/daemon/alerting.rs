//! Alerting: beside the passes, from each published status to the channels. No pass ever waits for it.
//!
//! What is decided is committed to the [`Outbox`] before anybody is told; where that fails, nothing was decided, and it
//! is decided again. This file decides and commits; `delivery` sends, `host` looks at what no status says.

mod delivery;
mod host;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alert::board::ChannelDocument;
use crate::alert::outbox::Waiting;
use crate::alert::{AlertsDocument, Board, Engine, Facts, Notice, Now, Outbox, OutboxError, Transition, judge};
use crate::audit::Audit;
use crate::desired::Alerts;
use crate::error::chain;
use crate::gate::Gate;
use crate::state::OUTBOX as FILE;
use crate::status::{self, Activity, Metrics, Status};
use crate::sys::{clock, host as this_host};

use super::StatusReceiver;
use super::wake::{Cause, Wakeups};
use delivery::Deliveries;
use host::Eye;

/// How often what no status says is looked at, and at the latest everything.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How alerting is spoken to; clones share it.
#[derive(Debug, Clone)]
pub struct Alerting {
    /// What is pending, firing and silenced.
    pub board: Board,
    trials: mpsc::Sender<Trial>,
}

/// Somebody tries a channel.
#[derive(Debug)]
struct Trial {
    channel: String,
    answer: oneshot::Sender<Result<String, String>>,
}

/// What alerting reads and writes.
pub(super) struct Setup {
    pub(super) status: StatusReceiver,
    pub(super) board: Board,
    pub(super) metrics: Arc<Metrics>,
    pub(super) trail: Option<Arc<Audit>>,
    pub(super) gate: Arc<Gate>,
    pub(super) wakeups: Wakeups,
    pub(super) state_dir: PathBuf,
    pub(super) tor: PathBuf,
    /// The certificate of the page, where it has one.
    pub(super) certificate: Option<PathBuf>,
}

impl Alerting {
    /// Begins to look.
    pub(super) fn start(setup: Setup, stop: CancellationToken) -> (Self, JoinHandle<()>) {
        let (trials, inbox) = mpsc::channel(4);
        let alerting = Self { board: setup.board.clone(), trials };
        (alerting, tokio::spawn(Task::new(setup, inbox).run(stop)))
    }

    /// Sends a message to a channel, and says what became of it.
    pub async fn try_channel(&self, channel: String) -> Result<String, String> {
        let (answer, told) = oneshot::channel();
        let gone = || "the daemon is stopping".to_owned();
        self.trials.send(Trial { channel, answer }).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

struct Task {
    status: StatusReceiver,
    inbox: mpsc::Receiver<Trial>,
    board: Board,
    wakeups: Wakeups,
    eye: Eye,
    engine: Engine,
    store: Store,
    deliveries: Deliveries,
    host_name: String,
    /// What the outbox holds for each channel, as of the last change.
    waiting: Vec<Waiting>,
    looked: Option<Looked>,
}

/// What is judged, and when.
#[derive(Clone, Copy)]
struct Sight<'a> {
    status: &'a Status,
    alerts: &'a Alerts,
    now: Now,
}

/// When and by which rules it was looked at last.
struct Looked {
    rules: Arc<Alerts>,
    again_at: Duration,
}

impl Task {
    fn new(setup: Setup, inbox: mpsc::Receiver<Trial>) -> Self {
        let now = now();
        let (store, engine) = Store::open(setup.state_dir.join(FILE), now);
        Self {
            status: setup.status,
            inbox,
            board: setup.board,
            wakeups: setup.wakeups,
            eye: Eye::new(setup.state_dir, setup.tor, setup.gate, setup.certificate),
            engine,
            store,
            deliveries: Deliveries::new(setup.metrics, setup.trail),
            host_name: this_host::name(),
            waiting: Vec::new(),
            looked: None,
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        self.waiting = self.store.with(|outbox| outbox.waiting()).await.unwrap_or_default();
        loop {
            let status = Arc::clone(&self.status.borrow_and_update());
            if let Some(alerts) = status.alerting.clone() {
                self.look(&status, &alerts).await;
                self.send(&status, &alerts).await;
            }
            let due = self.next(&status);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changed(&mut self.status) => if changed.is_err() { return },
                Some(ended) = self.deliveries.ended() => self.settle(ended).await,
                Some(trial) = self.inbox.recv() => self.try_channel(&status, trial),
                () = tokio::time::sleep(due.saturating_sub(clock::since_boot())) => {}
            }
        }
    }

    /// Judges, decides and commits.
    async fn look(&mut self, status: &Status, alerts: &Arc<Alerts>) {
        let now = now();
        let is_due = |looked: &Looked| now.since_boot >= looked.again_at || !Arc::ptr_eq(&looked.rules, alerts);
        if self.looked.as_ref().is_none_or(is_due) {
            self.eye.look(alerts).await;
            self.give_up(alerts, now).await;
            self.looked = Some(Looked { rules: Arc::clone(alerts), again_at: now.since_boot + LOOK_EVERY });
        }
        self.eye.glance(alerts, self.deliveries.failing(alerts, &self.waiting));
        let judgements = judge(&Facts { status, host: self.eye.facts() }, alerts, now.of_day);
        let mut engine = self.engine.clone();
        let told = engine.step(&judgements, alerts, now);
        if self.commit(&engine, &told, Sight { status, alerts, now }).await {
            self.engine = engine;
        }
        self.show(alerts, now);
    }

    /// Writes down what was decided; says whether it is written. What fires and was written already is not written again.
    async fn commit(&mut self, engine: &Engine, told: &[Transition], sight: Sight<'_>) -> bool {
        let kept = engine.kept();
        let is_same = kept.iter().map(|kept| kept.key()).eq(self.engine.kept().iter().map(|kept| kept.key()));
        if told.is_empty() && is_same {
            return true;
        }
        let messages = self.messages(told, sight);
        let since_boot = sight.now.since_boot;
        let written = self.store.with(move |outbox| {
            outbox.commit(&kept, &messages, since_boot)?;
            outbox.waiting()
        });
        let Some(waiting) = written.await else { return false };
        self.waiting = waiting;
        for Transition { happened, rule, finding, incident, .. } in told {
            tracing::info!(
                rule = rule.word(),
                about = finding.about,
                incident,
                "alert {happened:?}: {}",
                finding.summary
            );
        }
        true
    }

    /// One message for each channel, but not to a channel about itself.
    fn messages(&self, told: &[Transition], sight: Sight<'_>) -> Vec<(String, Notice)> {
        let mut messages = Vec::new();
        for transition in told {
            let notice = self.notice(transition, sight);
            let others = sight.alerts.channels.iter().filter(|channel| !transition.is_about_channel(&channel.name));
            messages.extend(others.map(|channel| (channel.name.clone(), notice.clone())));
        }
        messages
    }

    fn notice(&self, transition: &Transition, sight: Sight<'_>) -> Notice {
        let Transition { happened, incident, sequence, rule, finding, began } = transition.clone();
        Notice {
            incident,
            sequence,
            happened,
            rule,
            about: finding.about,
            severity: finding.severity,
            summary: finding.summary,
            details: finding.details,
            host: self.host_name.clone(),
            revision: sight.status.revision.as_ref().map(ToString::to_string),
            began,
            at: sight.now.of_day,
        }
    }

    /// Gives up what nobody took for too long, and what is for a channel that is gone.
    async fn give_up(&mut self, alerts: &Alerts, now: Now) {
        let channels: Vec<String> = alerts.channels.iter().map(|channel| channel.name.clone()).collect();
        let given_up = self.store.with(move |outbox| {
            let names: Vec<&str> = channels.iter().map(String::as_str).collect();
            let given_up = outbox.give_up(&names, now.since_boot)?;
            Ok((given_up, outbox.waiting()?))
        });
        let Some((given_up, waiting)) = given_up.await else { return };
        self.waiting = waiting;
        given_up.iter().for_each(|due| self.deliveries.given_up(due, alerts));
    }

    /// Shows what is so; where another alert fires, the next status says so.
    fn show(&self, alerts: &Alerts, now: Now) {
        let shown = self.engine.shown(alerts, now);
        let firing = shown.iter().filter(|alert| alert.incident.is_some());
        let firing = firing.map(|alert| status::Alert {
            rule: alert.rule,
            about: alert.about.clone(),
            summary: alert.summary.clone(),
            since: alert.since.parse().unwrap_or(now.of_day),
        });
        let firing = firing.collect();
        let channels = alerts.channels.iter().map(|channel| self.channel(channel)).collect();
        if self.board.show(AlertsDocument { alerts: shown, channels }, firing) {
            self.wakeups.wake(Cause::Alert);
        }
    }

    fn channel(&self, channel: &crate::desired::alerts::Channel) -> ChannelDocument {
        let waiting = self.waiting.iter().find(|waiting| waiting.channel == channel.name);
        ChannelDocument {
            name: channel.name.clone(),
            way: channel.way.word().to_owned(),
            waiting: waiting.map_or(0, |waiting| waiting.messages),
            failing: self
                .deliveries
                .failure(&channel.name)
                .or_else(|| waiting.and_then(|waiting| waiting.error.clone())),
        }
    }

    /// Sends what is due, as much at once as may be under way.
    async fn send(&mut self, status: &Status, alerts: &Arc<Alerts>) {
        let now = clock::since_boot();
        for channel in self.deliveries.ready(alerts, &self.waiting, now) {
            let name = channel.name.clone();
            let due = self.store.with(move |outbox| outbox.due(&name, now)).await.flatten();
            if let Some(due) = due {
                self.deliveries.begin(due, &channel, status, alerts.repeat_every);
            }
        }
    }

    /// Writes down what became of a delivery.
    async fn settle(&mut self, ended: delivery::Ended) {
        let outcome = self.deliveries.settle(&ended, clock::since_boot());
        let id = ended.due.id;
        let written = self.store.with(move |outbox| {
            match &outcome {
                delivery::Outcome::Taken => outbox.delivered(id)?,
                delivery::Outcome::Later { why, due } => outbox.failed(id, why, *due)?,
            }
            outbox.waiting()
        });
        if let Some(waiting) = written.await {
            self.waiting = waiting;
        }
    }

    fn try_channel(&mut self, status: &Status, Trial { channel, answer }: Trial) {
        let alerts = status.alerting.clone().unwrap_or_default();
        let Some(found) = alerts.channel(&channel) else {
            let names: Vec<&str> = alerts.channels.iter().map(|channel| channel.name.as_str()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let _ = answer.send(Err(format!("the desired state in force has no channel `{channel}`; it has {names}")));
            return;
        };
        let notice = Notice::test(&channel, &self.host_name, Timestamp::now());
        self.deliveries.try_channel(found, notice, status, answer);
    }

    /// When to look again, since the boot, whatever is heard of meanwhile.
    fn next(&self, status: &Status) -> Duration {
        let looks = self.looked.as_ref().map_or(Duration::MAX, |looked| looked.again_at);
        let Some(alerts) = &status.alerting else { return clock::since_boot() + LOOK_EVERY };
        let decides = self.engine.next(alerts).unwrap_or(Duration::MAX);
        looks.min(decides).min(self.deliveries.next(&self.waiting))
    }
}

/// Waits for a status of a pass that has ended.
async fn changed(status: &mut StatusReceiver) -> Result<(), RecvError> {
    loop {
        status.changed().await?;
        if status.borrow_and_update().activity == Activity::Idle {
            return Ok(());
        }
    }
}

/// The outbox; where there is none, alerts are told while the daemon runs, and a crash forgets those on their way.
#[derive(Clone)]
struct Store(Arc<Mutex<Outbox>>);

impl Store {
    fn open(path: PathBuf, now: Now) -> (Self, Engine) {
        let boot = this_host::boot().unwrap_or_default();
        let opened = Outbox::open(&path, &boot, now.since_boot).or_else(|error| {
            tracing::error!(error = chain(&error), "alerts that are on their way are forgotten by a restart");
            Outbox::open(std::path::Path::new(":memory:"), &boot, now.since_boot)
        });
        match opened {
            Ok((outbox, held)) => (Self(Arc::new(Mutex::new(outbox))), Engine::recall(held.kept, held.boot, now)),
            Err(error) => unreachable!("SQLite cannot keep a table in memory: {}", chain(&error)),
        }
    }

    /// Works on the outbox where it may wait for the disk; what goes wrong is logged.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Outbox) -> Result<T, OutboxError> + Send + 'static,
    ) -> Option<T> {
        let outbox = Arc::clone(&self.0);
        let worked =
            tokio::task::spawn_blocking(move || work(&mut outbox.lock().unwrap_or_else(PoisonError::into_inner)));
        match worked.await.ok()? {
            Ok(done) => Some(done),
            Err(error) => {
                tracing::error!(error = chain(&error), "an alert cannot be written down; it is decided again");
                None
            }
        }
    }
}

/// The time, by both clocks.
fn now() -> Now {
    Now { since_boot: clock::since_boot(), of_day: Timestamp::now() }
}
