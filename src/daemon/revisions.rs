//! The revisions: reads the source, and puts in force what [`rollout`] says. What a revision does to the host does not
//! belong here.

use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::desired::load::{self, Loaded};
use crate::desired::{Desired, Revision};
use crate::error::chain;
use crate::reconcile::history::{Ended, Kept};
use crate::rollout::{self, Decision, Situation, Version};
use crate::source::{self, Candidate, Source, Watch};
use crate::status::{Coming, Fault, Signatures, SourceError, SourceState};

use super::fault;
use super::fetching::Fetching;
use super::records::{self, Records};
use super::settings::Settings;
use super::wake::{Cause, Wakeups};

/// The source, what it offers, and what is in force.
pub(super) struct Revisions {
    source: Source,
    fetching: Option<Fetching>,
    watched: Watched,
    seen: SourceState,
    refused: Option<Revision>,
    offered: Option<Offered>,
    in_force: Option<InForce>,
    /// Who signed it; empty where nobody asks for signatures.
    signers: Vec<String>,
    pub(super) records: Records,
}

/// Whether the source says by itself that it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// It does.
    Yes,
    /// It has to be looked at again and again.
    No,
}

/// The desired state in force.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    pub(super) revision: Revision,
    pub(super) desired: Desired,
}

/// A revision that is believed and valid, and not in force.
struct Offered {
    candidate: Candidate,
    desired: Desired,
}

impl Revisions {
    pub(super) fn new(settings: &Settings) -> Self {
        let source = Source::with(settings.source.clone());
        let signatures = if source.needs_signatures() { Signatures::Required } else { Signatures::NotRequired };
        let mut revisions = Self {
            source,
            fetching: None,
            watched: Watched::No,
            seen: SourceState { signatures, ..SourceState::default() },
            refused: None,
            offered: None,
            in_force: None,
            signers: Vec::new(),
            records: Records::of(&settings.state_dir),
        };
        revisions.recall();
        revisions
    }

    /// Takes up the desired state that was in force when the last daemon ended.
    fn recall(&mut self) {
        let Some(accepted) = self.records.memory().accepted() else {
            return;
        };
        match load::load("the desired state accepted last", accepted.given()) {
            Ok(Loaded { desired, .. }) => self.set(accepted.revision, desired),
            Err(invalid) => tracing::warn!(%invalid, "the desired state accepted last is not valid any more"),
        }
    }

    fn set(&mut self, revision: Revision, desired: Desired) {
        self.seen.accepted = Some(revision.clone());
        self.signers = self.records.signers_of(&revision);
        self.seen.signers.clone_from(&self.signers);
        self.in_force = Some(InForce { revision, desired });
    }

    /// Who signed the revision in force.
    pub(super) fn signers(&self) -> &[String] {
        &self.signers
    }

    /// The desired state in force.
    pub(super) fn in_force(&self) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    /// What is known about the source.
    pub(super) fn seen(&self) -> &SourceState {
        &self.seen
    }

    /// Whether the source says by itself that it has changed.
    pub(super) fn watched(&self) -> Watched {
        self.watched
    }

    /// Begins to fetch a remote source.
    pub(super) fn fetch_source(&mut self, wakeups: &Wakeups) -> Option<JoinHandle<()>> {
        let (fetching, task) = Fetching::start(&self.source, wakeups)?;
        self.fetching = Some(fetching);
        self.watched = Watched::Yes;
        Some(task)
    }

    /// The task that fetches, where the source is remote.
    pub(super) fn fetching(&self) -> Option<Fetching> {
        self.fetching.clone()
    }

    /// Whether the source is remote, and was reached the last time.
    pub(super) fn reaches_its_remote(&self) -> bool {
        let fetched = self.fetching.as_ref().map(Fetching::fetched);
        fetched.is_some_and(|fetched| fetched.last_success.is_some() && fetched.error.is_none())
    }

    /// Watches the source; one that cannot be watched is looked at every few seconds instead.
    pub(super) fn watch_source(&mut self, wakeups: &Wakeups) -> Option<Watch> {
        if self.source.remote().is_some() {
            return None;
        }
        let wakeups = wakeups.clone();
        match self.source.watch(move || wakeups.wake(Cause::Source)) {
            Ok(watch) => {
                self.watched = Watched::Yes;
                Some(watch)
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot watch the source; looking at it every few seconds");
                None
            }
        }
    }

    /// Reads the source, and puts its newest revision in force where that may be done; `asked` is the revision that an
    /// operator asks for.
    pub(super) fn read(&mut self, asked: Option<&Revision>) {
        let candidate = self.source.candidate();
        self.seen.offered = self.source.offered().or(self.seen.offered.take());
        match candidate {
            Ok(candidate) => self.consider(candidate),
            Err(source::SourceError::NotFetched { .. }) => self.seen.error = None,
            Err(error) => self.cannot_read(&error),
        }
        self.roll_out(asked);
        self.tell_of_fetching();
    }

    /// Understands a candidate, once.
    fn consider(&mut self, candidate: Candidate) {
        self.seen.last_success = Some(Timestamp::now());
        self.seen.offered = Some(candidate.revision.clone());
        if self.in_force.as_ref().is_some_and(|in_force| in_force.revision == candidate.revision) {
            self.seen.error = None;
            self.refused = None;
            self.offered = None;
        } else if self.offered.as_ref().is_some_and(|offered| offered.candidate.revision == candidate.revision) {
            self.seen.error = None;
        } else if self.refused.as_ref() != Some(&candidate.revision) {
            self.understand(candidate);
        }
    }

    fn understand(&mut self, candidate: Candidate) {
        let revision = candidate.revision.clone();
        match load::load(&candidate.file, candidate.given()) {
            Ok(Loaded { desired, warnings }) => {
                warnings.iter().for_each(|warning| tracing::warn!(%revision, "{}", warning.one_line()));
                self.seen.error = None;
                self.refused = None;
                self.offered = Some(Offered { candidate, desired });
            }
            Err(invalid) => {
                tracing::error!(%revision, "refused: {invalid}");
                self.seen.error = Some(SourceError { fault: Fault::Malformed, message: invalid.to_string() });
                self.refused = Some(revision);
                self.offered = None;
            }
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
        self.refused = None;
        self.offered = None;
    }

    /// Says of a remote source when it was last reached, and why not, unless there is worse to say.
    fn tell_of_fetching(&mut self) {
        let Some(fetched) = self.fetching.as_ref().map(Fetching::fetched) else { return };
        self.seen.last_success = fetched.last_success;
        if self.seen.error.is_none() {
            self.seen.error = fetched.error;
        }
    }

    /// Puts the offered revision in force, or says why not.
    fn roll_out(&mut self, asked: Option<&Revision>) {
        self.seen.coming = None;
        let Some(offered) = self.offered.take() else {
            self.seen.withheld = None;
            return;
        };
        let in_force = self.in_force.as_ref();
        let decision = rollout::decide(&Situation {
            offered: Version { revision: &offered.candidate.revision, desired: &offered.desired },
            in_force: in_force.map(|InForce { revision, desired }| Version { revision, desired }),
            asked,
            orders: self.records.orders(),
        });
        let before = self.seen.withheld.take();
        match decision {
            Decision::Keep => {}
            Decision::TakeUp => self.accept(offered),
            Decision::Leave(why) => {
                if before != Some(why) {
                    tracing::info!(revision = %offered.candidate.revision, "not put in force: {why}");
                }
                self.seen.withheld = Some(why);
                self.seen.coming = Some(Coming { panel: offered.desired.access.panel.clone() });
                self.offered = Some(offered);
            }
        }
    }

    /// Puts a candidate in force. The ratchet goes first: what it does not remember, a restart would take back.
    fn accept(&mut self, offered: Offered) {
        let Offered { candidate, desired } = offered;
        if let Err(error) = self.source.accept(&candidate) {
            return self.cannot_read(&error);
        }
        tracing::info!(revision = %candidate.revision, "accepted a new revision");
        self.forgive(&candidate.revision);
        self.records.in_force(records::kept(&candidate));
        self.set(candidate.revision, desired);
    }

    /// An operator has insisted on a revision that was rolled back.
    fn forgive(&mut self, revision: &Revision) {
        if !self.records.orders().is_bad(revision) {
            return;
        }
        let mut orders = self.records.orders().clone();
        orders.forgive(revision);
        if let Err(error) = self.records.order(orders) {
            tracing::warn!(error = chain(&error), "the revision keeps the mark of its rollback");
        }
    }

    /// Goes back to a revision that was in force before. The ratchet stays where it is: what comes next has to descend
    /// from what was accepted last, and not from what is in force.
    pub(super) fn go_back(&mut self, kept: Kept, desired: Desired) {
        let revision = kept.entry.revision.clone();
        tracing::info!(%revision, "went back to an earlier revision");
        let entry = crate::reconcile::history::Entry {
            taken_up: Timestamp::now(),
            result: Ended::Applying,
            ..kept.entry.clone()
        };
        self.records.in_force(Kept { entry, ..kept });
        self.offered = None;
        self.set(revision, desired);
    }
}
