//! The conditions that speak of the source and its revisions.

use super::{Facts, Verdict};
use crate::rollout::Why;
use crate::status::inputs::{Fault, Signatures, SourceError};
use crate::status::reason::Reason;

impl Facts<'_> {
    pub(super) fn source_error(&self, which: impl Fn(Fault) -> bool) -> Option<&SourceError> {
        self.inputs.source.error.as_ref().filter(|error| which(error.fault))
    }

    /// Absent where nobody asked for signatures.
    pub(super) fn source_verified(&self) -> Option<Verdict> {
        if self.inputs.source.signatures == Signatures::NotRequired {
            return None;
        }
        if let Some(SourceError { fault, message }) = self.source_error(Fault::is_unverified) {
            return Some(Verdict::no(fault.reason(), message.clone()));
        }
        Some(match &self.inputs.source.accepted {
            Some(revision) => {
                Verdict::yes(Reason::Succeeded, format!("{} is signed by a trusted key", revision.short()))
            }
            None => Verdict::unknown(Reason::Progressing, "no revision has been checked yet"),
        })
    }

    /// True when the source could not be read the last time.
    pub(super) fn fetch_failed(&self) -> Verdict {
        if let Some(SourceError { fault, message }) = self.source_error(|fault| !fault.is_refusal()) {
            return Verdict::yes(fault.reason(), message.clone());
        }
        match self.inputs.source.last_success {
            Some(_) => Verdict::no(Reason::GitOperationSucceeded, "the source was read"),
            None => Verdict::unknown(Reason::Progressing, "the source has not been read yet"),
        }
    }

    /// True when the source has a newer revision than the one in force.
    pub(super) fn artifact_outdated(&self) -> Verdict {
        let source = self.inputs.source;
        if let Some(SourceError { fault, .. }) = self.source_error(|fault| !fault.is_refusal()) {
            return Verdict::unknown(fault.reason(), "the source could not be read, so nobody knows what it has");
        }
        match (&source.offered, &source.accepted) {
            (Some(offered), Some(accepted)) if offered == accepted => {
                Verdict::no(Reason::ArtifactUpToDate, format!("{} is in force", accepted.short()))
            }
            (Some(offered), Some(accepted)) => {
                self.outdated(&format!("the source has {offered}, and {} is in force", accepted.short()))
            }
            (Some(offered), None) => self.outdated(&format!("the source has {offered}, and none is in force")),
            (None, _) => Verdict::unknown(Reason::Progressing, "the source has not been read yet"),
        }
    }

    /// Says why the newest revision is not in force, where that is known.
    fn outdated(&self, sentence: &str) -> Verdict {
        match self.inputs.source.withheld {
            Some(why @ Why::RolledBack) => Verdict::yes(Reason::RolledBack, format!("{sentence}: {why}")),
            Some(why @ Why::Suspended) => Verdict::yes(Reason::Suspended, format!("{sentence}: {why}")),
            Some(why @ Why::Manual) => Verdict::yes(Reason::NewRevision, format!("{sentence}: {why}")),
            None => Verdict::yes(Reason::NewRevision, sentence),
        }
    }
}
