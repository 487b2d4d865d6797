//! What the daemon has written down, and what it still has to: a full disk today is no forgotten revision tomorrow.

use std::path::Path;

use jiff::Timestamp;

use crate::desired::Revision;
use crate::error::chain;
use crate::plan::{Applied, HoldReason, Plan};
use crate::reconcile::Settled;
use crate::reconcile::history::{Ended, Entry, History, Kept};
use crate::reconcile::memory::{Accepted, Memory, MemoryError};
use crate::rollout::Orders;
use crate::source::Candidate;

/// What is written in the state directory.
pub(super) struct Records {
    memory: Memory,
    history: History,
    orders: Orders,
    /// The revision in force, while it could not be written.
    owed: Option<Kept>,
    applied: Owed,
}

/// Whether a file is behind what it should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    Write,
}

impl Records {
    pub(super) fn of(state_dir: &Path) -> Self {
        let memory = Memory::new(state_dir);
        let orders = memory.orders().unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "what operators had said is forgotten");
            Orders::default()
        });
        Self { history: History::of(state_dir), orders, memory, owed: None, applied: Owed::Nothing }
    }

    /// The desired state in force, and what each object was left as.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The revisions that were in force.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Who signed a revision, as far as the history knows.
    pub(super) fn signers_of(&self, revision: &Revision) -> Vec<String> {
        let owed = self.owed.iter().map(|kept| &kept.entry);
        if let Some(entry) = owed.into_iter().find(|entry| entry.revision == *revision) {
            return entry.signers.clone();
        }
        let kept = self.history.list();
        let found = kept.into_iter().find(|kept| kept.entry.revision == *revision);
        found.map(|kept| kept.entry.signers).unwrap_or_default()
    }

    /// What operators have said.
    pub(super) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Takes new orders; they stand only if a restart will know them.
    pub(super) fn order(&mut self, orders: Orders) -> Result<(), MemoryError> {
        self.memory.remember_orders(&orders)?;
        self.orders = orders;
        Ok(())
    }

    /// Ends the suspensions whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let ended = self.orders.expire(now);
        ended.iter().for_each(|sentence| tracing::info!("{sentence}"));
        if !ended.is_empty()
            && let Err(error) = self.memory.remember_orders(&self.orders)
        {
            tracing::warn!(error = chain(&error), "a restart has to find out again that a suspension is over");
        }
    }

    /// Writes down which revision is in force; what cannot be written now is written later.
    pub(super) fn in_force(&mut self, kept: Kept) {
        self.owed = Some(kept);
        self.settle();
    }

    /// Writes what is owed.
    pub(super) fn settle(&mut self) {
        let Some(kept) = self.owed.take() else { return };
        if let Err(error) = write(&self.memory, &self.history, &kept) {
            tracing::error!(
                error,
                "a restart would not know the revision in force; it is written again at the next pass"
            );
            self.owed = Some(kept);
        }
    }

    /// Writes down what each object was left as, where that is new or still owed.
    pub(super) fn applied(&mut self, applied: &Applied, settled: Settled) {
        if settled == Settled::Unchanged && self.applied == Owed::Nothing {
            return;
        }
        self.applied = match self.memory.remember_applied(applied) {
            Ok(()) => Owed::Nothing,
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    "a restart would call drift a change; it is written again at the next pass"
                );
                Owed::Write
            }
        };
    }

    /// Writes down whom the plan of a revision spares, for it to be so when they have left.
    pub(super) fn endangered(&mut self, revision: &Revision, left: &Plan) {
        let spared = left.held.iter().filter_map(|held| match &held.reason {
            HoldReason::Lockout { visitors, .. } => Some(visitors),
            _ => None,
        });
        let spared = spared.flatten().copied().collect();
        if self.orders.endanger(revision, spared)
            && let Err(error) = self.memory.remember_orders(&self.orders)
        {
            tracing::warn!(error = chain(&error), "a restart would not know who would be locked out");
        }
    }

    /// Writes down that the host matches a revision.
    pub(super) fn converged(&self, revision: &Revision) {
        if let Err(error) = self.history.converged(revision, Timestamp::now()) {
            tracing::warn!(%error, "the history does not say that the revision was applied");
        }
    }

    /// Forgets everything but the history: the host is down.
    pub(super) fn forget(&mut self) {
        self.memory.forget();
        self.orders = Orders::default();
    }
}

fn write(memory: &Memory, history: &History, kept: &Kept) -> Result<(), String> {
    let Kept { entry, bytes, lists } = kept.clone();
    let accepted = Accepted { revision: entry.revision, bytes, lists };
    memory.remember_accepted(&accepted).map_err(|error| chain(&error))?;
    history.put(kept).map_err(|error| format!("cannot write the history: {error}"))
}

/// A candidate as it is kept when it is put in force.
pub fn kept(candidate: &Candidate) -> Kept {
    let signers = candidate.verdict.iter().flat_map(|verdict| &verdict.signers);
    let entry = Entry {
        revision: candidate.revision.clone(),
        taken_up: Timestamp::now(),
        signers: signers.map(|signer| format!("{} ({})", signer.principals, signer.key)).collect(),
        result: Ended::Applying,
    };
    Kept { entry, bytes: candidate.bytes.clone(), lists: candidate.lists.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state directory that cannot be written, and becomes one that can: a file stands where it should be.
    #[test]
    fn what_a_full_disk_swallowed_is_written_when_there_is_room() {
        let place = tempfile::tempdir().unwrap();
        let state_dir = place.path().join("state");
        std::fs::write(&state_dir, "").unwrap();
        let mut records = Records::of(&state_dir);
        let entry = Entry {
            revision: Revision::of_file(&[1; 32]),
            taken_up: Timestamp::UNIX_EPOCH,
            signers: Vec::new(),
            result: Ended::Applying,
        };
        records.in_force(Kept { entry, bytes: b"version: 1\n".to_vec(), lists: Default::default() });
        records.applied(&Applied::default(), Settled::Anew);
        assert!(records.order(Orders { may_delete: Some(Revision::of_file(&[1; 32])), ..Orders::default() }).is_err());
        assert_eq!(records.orders(), &Orders::default(), "an order that a restart would forget does not stand");

        std::fs::remove_file(&state_dir).unwrap();
        records.settle();
        records.applied(&Applied::default(), Settled::Unchanged);
        assert!(records.memory().accepted().is_some() && state_dir.join("applied.json").exists());
        assert_eq!(records.history().list().len(), 1);
    }
}
