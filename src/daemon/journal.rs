//! What the daemon has done and was told, for the audit trail. Without one the pool goes on.

use std::sync::Arc;

use jiff::Timestamp;

use crate::apply::Outcome;
use crate::audit::{Audit, Record, Who};
use crate::desired::{AuditPolicy, InstanceName, Revision};
use crate::error::chain;
use crate::observe::Author;
use crate::plan::step::Cause;
use crate::plan::{Object, TakenBack};
use crate::status::{self, AuditTrail, Warning};
use crate::sys::files;

use super::rotating::Told;
use super::settings::Settings;
use super::socket::{Request, Verb};

pub use crate::state::TRAIL as FILE;

/// The daemon's hand on the audit trail.
pub(super) struct Journal(Option<Arc<Audit>>);

/// An order that is about an address has it beside its row, where it can be erased, and not in its sentence.
fn without_addresses(request: &Request, sentence: &str, result: &str) -> (String, Who) {
    match &request.verb {
        Verb::Unlock { address: Some(address) } => {
            let sentence = if result == "done" { "a client is let in again" } else { "a client is not locked out" };
            (sentence.to_owned(), Who { address: Some(*address), ..request.who.clone() })
        }
        _ => (sentence.to_owned(), request.who.clone()),
    }
}

/// A revision, and who signed it.
pub(super) struct Signed<'a> {
    pub(super) revision: &'a Revision,
    pub(super) signers: &'a [String],
}

impl Journal {
    /// Opens the audit trail; where that cannot be, the log says why, and it is tried again.
    pub(super) fn open(settings: &Settings) -> Self {
        if let Err(error) = files::make_private_directory(&settings.state_dir) {
            tracing::error!(%error, directory = %settings.state_dir.display(), "cannot make the state directory");
        }
        let opened = Audit::keep(&settings.state_dir.join(FILE));
        Self(
            opened
                .inspect_err(|error| tracing::error!(error = chain(error), "no audit trail is kept"))
                .ok()
                .map(Arc::new),
        )
    }

    /// The trail, for those who write into it by themselves.
    pub(super) fn trail(&self) -> Option<Arc<Audit>> {
        self.0.clone()
    }

    /// How it goes, for the status.
    pub(super) fn told(&self) -> AuditTrail {
        let Some(audit) = &self.0 else { return AuditTrail::default() };
        let (condition, key) = (audit.condition(), audit.key().map(|key| key.to_string()));
        AuditTrail { key, lost: condition.lost, trouble: condition.trouble }
    }

    /// Says what is kept from now on, and how long.
    pub(super) fn follow(&self, policy: AuditPolicy) {
        if let Some(audit) = &self.0 {
            audit.follow(policy);
        }
    }

    /// A revision that is in force from now on, and who signed it.
    pub(super) fn in_force(&self, Signed { revision, signers }: &Signed<'_>) {
        let record = || Record {
            at: Timestamp::now(),
            revision: Some((*revision).clone()),
            object: "host".to_owned(),
            action: format!("{revision} is in force"),
            cause: Cause::Change.to_string(),
            result: "done".to_owned(),
        };
        self.write(record, || Who { signers: signers.to_vec(), ..Who::default() });
    }

    /// An operator's order, in one sentence, and what became of it.
    pub(super) fn order(&self, request: &Request, sentence: &str, result: &str, revision: Option<Revision>) {
        let (sentence, who) = without_addresses(request, sentence, result);
        let record = || Record {
            at: Timestamp::now(),
            revision,
            object: "host".to_owned(),
            action: sentence,
            cause: format!("order of {}", request.by),
            result: result.to_owned(),
        };
        self.write(record, || who);
    }

    /// A step, and what became of it; where its revision is the reason, those who signed that are named.
    pub(super) fn outcome(&self, outcome: &Outcome, guard_author: Option<&Author>, asked_by: &Signed<'_>) {
        let Signed { revision, signers } = asked_by;
        let record = || Record {
            at: Timestamp::now(),
            revision: Some((*revision).clone()),
            object: outcome.step.object.to_string(),
            action: outcome.step.to_string(),
            cause: status::event::cause(&outcome.step, guard_author),
            result: outcome.result.as_ref().map_or_else(|failed| failed.message.clone(), |()| "done".to_owned()),
        };
        let signers = if outcome.step.cause == Cause::Change { *signers } else { &[] };
        self.write(record, || Who { signers: signers.to_vec(), ..Who::default() });
    }

    /// What became of a rotation that was ordered or under way.
    pub(super) fn rotation(&self, name: InstanceName, told: Told, revision: &Revision) {
        let record = || Record {
            at: Timestamp::now(),
            revision: Some(revision.clone()),
            object: Object::Instance(name).to_string(),
            action: told.action().to_owned(),
            cause: told.cause().to_owned(),
            result: "done".to_owned(),
        };
        self.write(record, Who::default);
    }

    /// A change of the guard that was taken back.
    pub(super) fn taken_back(&self, taken_back: &TakenBack, revision: &Revision) {
        let record = || Record {
            at: Timestamp::now(),
            revision: Some(revision.clone()),
            object: Object::Guard.to_string(),
            action: "the guard before the change is put back".to_owned(),
            cause: taken_back.cause.to_string(),
            result: taken_back.failed.clone().unwrap_or_else(|| "done".to_owned()),
        };
        self.write(record, Who::default);
    }

    fn write(&self, record: impl FnOnce() -> Record, who: impl FnOnce() -> Who) {
        if let Some(audit) = &self.0 {
            audit.append_of(record(), who());
        }
    }
}

/// Writes the warnings to the log that are of a sort that was not known before.
pub(super) fn warn_anew(before: &[Warning], now: &[Warning]) {
    for warning in now.iter().filter(|warning| before.iter().all(|known| known.reason != warning.reason)) {
        tracing::warn!(reason = %warning.reason, "{}", warning.message);
    }
}
