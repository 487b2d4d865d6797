//! Changes of the guard on trial, as the daemon sees them: it judges them beside its passes, and adopts those of a daemon
//! that has died. Taking back is the fuse's business; only where that has died as well, it is done here.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::desired::Confirmation;
use crate::error::chain;
use crate::firewall::Firewall;
use crate::plan::{OnTrial, TakeBack, TakenBack};
use crate::trial::place::Place;
use crate::trial::{State, Trial, Trials, fuse};

use super::fetching::Fetching;
use super::wake::{Cause, Wakeups};

/// How often a trial is judged.
const JUDGED_EVERY: Duration = Duration::from_millis(500);

/// How long putting back may take: the fuse's attempts, each with the deadline of the firewall's tool.
const LONGEST_TAKING_BACK: Duration = Duration::from_secs(60);
const LOOKED_AT_EVERY: Duration = Duration::from_millis(20);

/// Changes of the guard on trial.
pub(super) struct Trying {
    trials: Arc<Trials>,
    wakeups: Wakeups,
    /// The trial that is judged, by whom.
    judge: Option<(u64, JoinHandle<()>)>,
    failing: Failing,
}

/// The probe that has not passed, of the trial that is judged.
#[derive(Debug, Clone, Default)]
struct Failing(Arc<Mutex<Option<String>>>);

impl Failing {
    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trying {
    pub(super) fn new(runtime_dir: &Path, wakeups: &Wakeups) -> Self {
        let trials = Arc::new(Trials::new(Place::of(runtime_dir)));
        Self { trials, wakeups: wakeups.clone(), judge: None, failing: Failing::default() }
    }

    pub(super) fn trials(&self) -> Arc<Trials> {
        Arc::clone(&self.trials)
    }

    /// Looks at what is on trial. Where nobody is left who could take it back, that is done at once.
    pub(super) async fn look(&self, firewall: &dyn Firewall) -> Option<OnTrial> {
        let place = self.trials.place();
        let trial = place.read()?;
        if trial.state == State::Pending && !place.burns(trial.id) {
            tracing::warn!("the process that watches over a change of the firewall has died");
            if let Err(error) = fuse::take_back(place, trial.id, firewall).await {
                tracing::error!(error = chain(&error), "a change of the firewall cannot be taken back");
            }
        }
        self.until_taken_back(trial.id).await;
        self.on_trial(&place.read()?)
    }

    /// A pass that began while what stood before is put back would fight against it.
    async fn until_taken_back(&self, id: u64) {
        let place = self.trials.place();
        let is_under_way = || place.read().is_some_and(|it| it.state == State::TakingBack) && place.burns(id);
        let end = tokio::time::Instant::now() + LONGEST_TAKING_BACK;
        while is_under_way() && tokio::time::Instant::now() < end {
            tokio::time::sleep(LOOKED_AT_EVERY).await;
        }
    }

    fn on_trial(&self, trial: &Trial) -> Option<OnTrial> {
        let failing = self.failing.lock().clone();
        (trial.state == State::Pending).then_some(OnTrial { confirm: trial.confirm, failing })
    }

    /// What became of a trial that was not kept.
    pub(super) fn ended(&self) -> Option<TakenBack> {
        let trial = self.trials.place().read().filter(|trial| trial.state != State::Pending)?;
        let cause = match trial.confirm {
            Confirmation::Manual => TakeBack::Unconfirmed,
            Confirmation::Auto => {
                let failing = self.failing.lock().clone();
                TakeBack::ProbeFailed(failing.unwrap_or_else(|| "nobody said in time that it works".to_owned()))
            }
        };
        let failed = match trial.state {
            State::Failed(why) => Some(why),
            State::TakingBack => Some("the process that does it has died".to_owned()),
            _ => None,
        };
        Some(TakenBack { fallback: trial.fallback, cause, failed })
    }

    /// Forgets what is written down of a trial.
    pub(super) async fn forget(&self) {
        if let Err(error) = self.trials.place().clear().await {
            tracing::warn!(error = chain(&error), "the trial of a change of the firewall is not forgotten yet");
        }
    }

    /// Keeps what is on trial; says whether there was something, in time.
    pub(super) fn keep(&mut self) -> bool {
        let place = self.trials.place();
        place.current().is_some_and(|trial| place.keep(trial.id).unwrap_or_default())
    }

    /// Lets a trial that has begun be judged; says what is on trial.
    pub(super) fn judge(&mut self, fetching: Option<Fetching>) -> Option<OnTrial> {
        let trial = self.trials.place().current();
        let judged = self.judge.as_ref().map(|(id, _)| *id);
        if judged != trial.as_ref().map(|trial| trial.id) {
            if let Some((_, task)) = self.judge.take() {
                task.abort();
            }
            if trial.is_some() {
                self.failing.lock().take();
            }
            let judge = Judge {
                place: self.trials.place().clone(),
                fetching,
                failing: self.failing.clone(),
                wakeups: self.wakeups.clone(),
            };
            self.judge = trial.clone().map(|trial| (trial.id, tokio::spawn(judge.run(trial))));
        }
        self.on_trial(&trial?)
    }
}

impl Drop for Trying {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.judge {
            task.abort();
        }
    }
}

/// Who judges one trial.
struct Judge {
    place: Place,
    fetching: Option<Fetching>,
    failing: Failing,
    wakeups: Wakeups,
}

impl Judge {
    /// Judges until the trial has ended, well or not; a pass follows from that.
    async fn run(self, trial: Trial) {
        while self.place.pending(trial.id).is_some() {
            if trial.confirm == Confirmation::Auto {
                let failing = self.failing_probe(&trial).await;
                let passed = failing.is_none();
                *self.failing.lock() = failing;
                if passed && let Err(error) = self.place.keep(trial.id) {
                    tracing::debug!(error = chain(&error), "the change of the firewall is not kept yet");
                }
            }
            if self.place.pending(trial.id).is_some() {
                tokio::time::sleep(JUDGED_EVERY).await;
            }
        }
        self.wakeups.wake(Cause::Timer);
    }

    async fn failing_probe(&self, trial: &Trial) -> Option<String> {
        let failing = trial.probes.failing(&trial.guard).await;
        match &self.fetching {
            Some(fetching) if failing.is_none() && trial.probes.fetches => {
                fetching.now().await;
                fetching.fetched().error.map(|error| format!("the source cannot be reached: {}", error.message))
            }
            _ => failing,
        }
    }
}
