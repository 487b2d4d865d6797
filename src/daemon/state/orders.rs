//! The orders of operators, as the state takes them: the next pass does what follows from one.

use std::sync::Arc;

use jiff::Timestamp;

use super::State;
use crate::daemon::lockouts;
use crate::daemon::obey::{self, Refused};
use crate::daemon::socket::{Request, Verb};
use crate::error::chain;
use crate::rollout;

impl State {
    /// Takes an operator's order; the next pass does what follows from it.
    pub(in crate::daemon) fn obey(&mut self, request: &Request) -> Result<Vec<String>, String> {
        self.revisions.records.expire(Timestamp::now());
        let published = Arc::clone(&self.published.borrow());
        let kept = self.keep_what_is_on_trial(&request.verb);
        let obeyed = match (obey::obey(&mut self.revisions, &published, &request.verb, &request.by), kept) {
            (Err(Refused::NothingToConfirm), Some(kept)) => Ok(vec![kept]),
            (Ok(said), kept) => Ok(kept.into_iter().chain(said).collect()),
            (Err(refused), _) => Err(chain(&refused)),
        };
        let obeyed = match &request.verb {
            Verb::Reset => Ok(self.reset()),
            Verb::Rotate { names } => self.rotate(names),
            Verb::Unlock { address } => lockouts::unlock(&self.gate, *address),
            _ => obeyed,
        };
        if matches!(request.verb, Verb::Rollback { .. }) && obeyed.is_ok() {
            self.rollbacks.operator += 1;
        }
        self.record_order(request, &obeyed);
        obeyed
    }

    /// Forgets what was counted of failures and restarts; the next pass tries again.
    fn reset(&mut self) -> Vec<String> {
        let said = self.reconciler.reset();
        if said.is_empty() { vec!["nothing has failed, and no node is held down".to_owned()] } else { said }
    }

    /// Takes an order to rotate; the next pass begins with it.
    fn rotate(&mut self, names: &[String]) -> Result<Vec<String>, String> {
        let in_force = self.revisions.in_force().cloned();
        let suspended = in_force.as_ref().map(|it| self.revisions.records.orders().mandate(&it.revision).suspended);
        let desired = in_force.as_ref().map(|in_force| &in_force.desired);
        let budget = &self.reconciler.wellbeing.budget;
        let ordered = self.rotating.order(desired, &suspended.unwrap_or_default(), names, budget);
        ordered.map_err(|refused| chain(&refused))
    }

    /// Keeps the change of the guard that is on trial, where that is confirmed; says so.
    fn keep_what_is_on_trial(&mut self, verb: &Verb) -> Option<String> {
        let Verb::Confirm { revision } = verb else { return None };
        let in_force = &self.revisions.in_force()?.revision;
        let is_meant = revision.as_ref().is_none_or(|name| rollout::is_named(in_force, name));
        (is_meant && self.trying.keep()).then(|| "the change of the firewall is kept".to_owned())
    }

    fn record_order(&self, request: &Request, obeyed: &Result<Vec<String>, String>) {
        let (sentences, result) = match obeyed {
            Ok(said) => (said.as_slice(), "done"),
            Err(refused) => (std::slice::from_ref(refused), "refused"),
        };
        for sentence in sentences {
            tracing::info!(by = request.by, result, "order: {sentence}");
            let revision = self.revisions.in_force().map(|in_force| in_force.revision.clone());
            self.journal.order(request, sentence, result, revision);
        }
    }
}
