//! A change of the guard on trial: it is kept once its probes pass or an operator says so, and taken back otherwise.
//!
//! # Flow
//!
//! The probes that pass before the change are chosen; the trial is written down; the fuse is started, a process of its
//! own that lives in a session of its own; then the change is made. Who keeps the change removes what is written down.
//! When the time is over and it is still there, the fuse puts back what stood before, whether the daemon lives or not.
//!
//! # Guarantees
//!
//! - No change is made before the fuse has said that it burns.
//! - Keeping and taking back exclude each other: both hold one lock, and look again under it.
//! - The time is counted from the boot: setting the host's clock changes nothing.
//! - What is put back covers the ports of all nodes: a rollback never opens a node to whom nothing lets in.
//!
//! When a change may be made, and what a plan does about one that was taken back, does not belong here.

pub mod fuse;
pub mod place;
pub mod probes;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::desired::{Confirmation, DriverChoice};
use crate::error::{Classify, Kind};
use crate::firewall::model::Guard;
use crate::firewall::{Firewall, FirewallError};
use crate::observe::{Observation, ObservedGuard, Visitor};
use crate::sys::clock::since_boot;

use place::Place;
use probes::Probes;

/// A change on trial, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which one: no other of this boot has the same.
    pub id: u64,
    /// Until when it may be kept, in milliseconds since the boot.
    pub until_ms: u64,
    /// The driver that made it.
    pub driver: DriverChoice,
    /// What is on trial.
    pub guard: Guard,
    /// What is put back.
    pub fallback: Guard,
    /// Who may keep it.
    pub confirm: Confirmation,
    /// What has to pass.
    pub probes: Probes,
    /// How far it has come.
    pub state: State,
}

/// How far a trial has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It can be kept.
    Pending,
    /// What stood before is being put back.
    TakingBack,
    /// What stood before was put back.
    TakenBack,
    /// That could not be done.
    Failed(String),
}

/// On which terms changes are tried; the daemon says so before each pass.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Who may keep a change.
    pub confirm: Confirmation,
    /// How long it may take until somebody has.
    pub within: Duration,
    /// The guard that was left last, for when what stands cannot be told.
    pub left: Option<Guard>,
    /// Who has used this host lately.
    pub visitors: BTreeSet<Visitor>,
    /// Nodes that are ready.
    pub nodes: Vec<SocketAddr>,
    /// Whether the remote source was reached the last time.
    pub fetches: bool,
}

/// Tries changes of the guard.
#[derive(Debug)]
pub struct Trials {
    place: Place,
    terms: Mutex<Terms>,
}

/// Why a change could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// A file of the trial cannot be used.
    #[error("cannot use {path}, so no change of the firewall is made: check the runtime directory")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else holds the lock.
    #[error("an earlier change of the firewall is just being kept or taken back")]
    Busy,
    /// The process that would take the change back does not run.
    #[error(
        "no change of the firewall is made without the process that can take it back, and that does not start: {0}"
    )]
    Unarmed(String),
    /// The trial that was asked for is not there any more.
    #[error("there is no such trial")]
    Gone,
    /// The firewall itself.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
}

impl Classify for TrialError {
    fn kind(&self) -> Kind {
        match self {
            Self::Firewall(error) => error.kind(),
            Self::Busy => Kind::Timeout,
            Self::File { .. } | Self::Unarmed(_) | Self::Gone => Kind::Host,
        }
    }
}

impl Trial {
    /// How much time is left.
    pub fn left(&self) -> Duration {
        Duration::from_millis(self.until_ms).saturating_sub(since_boot())
    }
}

impl Trials {
    /// Tries changes in a runtime directory.
    pub fn new(place: Place) -> Self {
        Self { place, terms: Mutex::default() }
    }

    /// Where trials are written down.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Says on which terms changes are tried from now on.
    pub fn set(&self, terms: Terms) {
        *self.terms() = terms;
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a guard in place, on trial. Where all probes pass at once, the trial has ended with that.
    pub async fn put(&self, firewall: &dyn Firewall, guard: &Guard) -> Result<(), TrialError> {
        let terms = self.terms().clone();
        let stands = match firewall.observe(guard).await {
            Observation::Present(ObservedGuard::Exact(stands)) => Some(stands),
            _ => terms.left.clone(),
        };
        let trial = self.start(firewall, (stands.as_ref(), guard), &terms).await?;
        if trial.confirm == Confirmation::Auto && !trial.probes.fetches && trial.probes.failing(guard).await.is_none() {
            self.place.keep(trial.id)?;
        }
        Ok(())
    }

    /// Writes the trial down, lights the fuse and makes the change, all under the lock.
    async fn start(
        &self,
        firewall: &dyn Firewall,
        (stands, guard): (Option<&Guard>, &Guard),
        terms: &Terms,
    ) -> Result<Trial, TrialError> {
        let probes = Probes::choose(terms, (stands, guard)).await;
        let _lock = self.place.lock()?;
        let earlier = self.place.read();
        // What an earlier trial would have put back is still what an operator could work with.
        let fallback = match &earlier {
            Some(earlier) => earlier.fallback.covering_all(guard),
            None => Guard::to_fall_back_on(stands, guard),
        };
        let now = since_boot();
        let trial = Trial {
            id: u64::try_from(now.as_nanos()).unwrap_or_default(),
            until_ms: u64::try_from((now + terms.within).as_millis()).unwrap_or(u64::MAX),
            driver: DriverChoice::named(firewall.name()).unwrap_or_default(),
            guard: guard.clone(),
            fallback,
            confirm: terms.confirm,
            probes,
            state: State::Pending,
        };
        self.place.write(&trial)?;
        let made = match fuse::light(&self.place, trial.id).await {
            Ok(()) => firewall.apply(guard).await.map_err(TrialError::from),
            Err(unarmed) => Err(unarmed),
        };
        match (made, earlier) {
            (Ok(()), _) => Ok(trial),
            (Err(error), Some(earlier)) => self.place.write(&earlier).and(Err(error)),
            (Err(error), None) => self.place.remove().and(Err(error)),
        }
    }
}
