//! What a pass finds to have happened, for the audit trail.

use crate::desired::Revision;
use crate::error::chain;
use crate::plan::TakeBack;
use crate::rollout::{Orders, Retreat};

use super::super::journal::Signed;
use super::State;

impl State {
    /// Tells the audit trail when another revision is in force than before.
    pub(super) fn note_what_is_in_force(&mut self, revision: &Revision) {
        if self.noted.as_ref() != Some(revision) {
            self.journal.in_force(&Signed { revision, signers: self.revisions.signers() });
            self.noted = Some(revision.clone());
        }
    }

    /// Remembers that a change of the guard was taken back, counts it, and tells the audit trail.
    pub(super) async fn note_what_was_taken_back(&mut self) {
        let Some(in_force) = self.revisions.in_force().map(|in_force| in_force.revision.clone()) else { return };
        let Some(taken_back) = self.trying.ended() else { return };
        match taken_back.cause {
            TakeBack::ProbeFailed(_) => self.rollbacks.probe_failed += 1,
            TakeBack::Unconfirmed => self.rollbacks.unconfirmed += 1,
        }
        let result = taken_back.failed.as_deref().unwrap_or("done");
        tracing::warn!(cause = %taken_back.cause, result, revision = %in_force, "the change of the firewall was taken back");
        self.journal.taken_back(&taken_back, &in_force);
        let orders = self.revisions.records.orders().clone();
        let retreat = Retreat { revision: in_force, taken_back };
        match self.revisions.records.order(Orders { taken_back: Some(retreat), ..orders }) {
            Ok(()) => self.trying.forget().await,
            Err(error) => {
                tracing::error!(error = chain(&error), "a restart would try the change of the firewall again")
            }
        }
    }
}
