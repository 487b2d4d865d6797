//! What the conditions say of steps that wait for an operator's word.

use super::{Facts, Verdict};
use crate::desired::Confirmation;
use crate::plan::{Held, HoldReason, Wait, WaitReason};
use crate::status::describe::reason_of_hold;
use crate::status::reason::Reason;

impl Facts<'_> {
    /// Steps that only an operator can set free.
    pub(super) fn stopped(&self) -> Option<Verdict> {
        self.held_for_a_word().map(|(reason, sentence)| Verdict::no(reason, sentence))
    }

    /// The same, as a reason and a sentence.
    pub(super) fn held_for_a_word(&self) -> Option<(Reason, String)> {
        self.held(|reason| *reason != HoldReason::Suspended).or_else(|| self.unconfirmed_trial())
    }

    /// A change of the guard that an operator has to confirm in time.
    fn unconfirmed_trial(&self) -> Option<(Reason, String)> {
        let manual =
            |wait: &&Wait| matches!(&wait.reason, WaitReason::OnTrial(it) if it.confirm == Confirmation::Manual);
        let wait = self.inputs.plan.waiting.iter().find(manual)?;
        Some((Reason::ConfirmationNeeded, format!("{}: {}", wait.object, wait.reason)))
    }

    /// Changes that wait until they are resumed.
    pub(super) fn left_alone(&self) -> Option<Verdict> {
        self.held(|reason| *reason == HoldReason::Suspended).map(|(reason, sentence)| Verdict::no(reason, sentence))
    }

    fn held(&self, which: impl Fn(&HoldReason) -> bool) -> Option<(Reason, String)> {
        let held: Vec<&Held> = self.inputs.plan.held.iter().filter(|held| which(&held.reason)).collect();
        let first = &held.first()?.reason;
        let alike = held.iter().filter(|held| held.reason == *first).count();
        Some((reason_of_hold(first), first.advice(alike)))
    }
}
