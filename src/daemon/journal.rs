//! What the daemon has done and was told, for the audit trail. Without one the pool goes on.

use std::sync::Arc;

use jiff::Timestamp;

use crate::apply::Outcome;
use crate::audit::{Audit, Record};
use crate::desired::Revision;
use crate::error::chain;
use crate::observe::Author;
use crate::plan::{Object, TakenBack};
use crate::status::{self, Warning};
use crate::sys::files;

use super::settings::Settings;

/// The daemon's hand on the audit trail.
pub(super) struct Journal(Option<Arc<Audit>>);

impl Journal {
    /// Opens the audit trail; where that cannot be, the log says what is missing.
    pub(super) fn open(settings: &Settings) -> Self {
        if let Err(error) = files::make_private_directory(&settings.state_dir) {
            tracing::error!(%error, directory = %settings.state_dir.display(), "cannot make the state directory");
        }
        let opened = Audit::open(&settings.state_dir.join("audit.sqlite"));
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

    /// An operator's order, in one sentence, and what became of it.
    pub(super) fn order(&self, by: &str, sentence: &str, result: &str, revision: Option<Revision>) {
        self.write(|| Record {
            at: Timestamp::now(),
            revision,
            object: "host".to_owned(),
            action: sentence.to_owned(),
            cause: format!("order of {by}"),
            result: result.to_owned(),
        });
    }

    /// A step, and what became of it.
    pub(super) fn outcome(&self, outcome: &Outcome, guard_author: Option<&Author>, revision: &Revision) {
        self.write(|| Record {
            at: Timestamp::now(),
            revision: Some(revision.clone()),
            object: outcome.step.object.to_string(),
            action: outcome.step.to_string(),
            cause: status::event::cause(&outcome.step, guard_author),
            result: outcome.result.as_ref().map_or_else(|failed| failed.message.clone(), |()| "done".to_owned()),
        });
    }

    /// A change of the guard that was taken back.
    pub(super) fn taken_back(&self, taken_back: &TakenBack, revision: &Revision) {
        self.write(|| Record {
            at: Timestamp::now(),
            revision: Some(revision.clone()),
            object: Object::Guard.to_string(),
            action: "the guard before the change is put back".to_owned(),
            cause: taken_back.cause.to_string(),
            result: taken_back.failed.clone().unwrap_or_else(|| "done".to_owned()),
        });
    }

    fn write(&self, record: impl FnOnce() -> Record) {
        if let Some(audit) = &self.0 {
            audit.append(record());
        }
    }
}

/// Writes the warnings to the log that are of a sort that was not known before.
pub(super) fn warn_anew(before: &[Warning], now: &[Warning]) {
    for warning in now.iter().filter(|warning| before.iter().all(|known| known.reason != warning.reason)) {
        tracing::warn!(reason = %warning.reason, "{}", warning.message);
    }
}
