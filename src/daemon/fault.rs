//! What sort of fault of the source an error is, for conditions and metrics.

use crate::source::SourceError;
use crate::source::remote::FetchError;
use crate::source::verify::{self, Refusal};
use crate::status::Fault;

/// The fault behind a source that could not be read, or a revision that was refused.
pub(super) fn of_source(error: &SourceError) -> Fault {
    use SourceError as Error;
    match error {
        Error::Unreadable { .. }
        | Error::NotOwned { .. }
        | Error::Repository { .. }
        | Error::Watch { .. }
        | Error::NotFetched { .. } => Fault::Unreachable,
        Error::TooLarge { .. } => Fault::Malformed,
        Error::Refused(refusal) => of_refusal(refusal),
        Error::Signers(_) => Fault::UnknownKey,
        Error::Ratchet(_) => Fault::Unpinned,
        Error::Unsignable { .. } => Fault::Unsigned,
        _ => Fault::Missing,
    }
}

/// The fault behind a fetch that failed.
pub(super) fn of_fetch(error: &FetchError) -> Fault {
    match error {
        FetchError::HostKey { .. } | FetchError::Credentials { .. } | FetchError::Certificate { .. } => {
            Fault::Unauthenticated
        }
        FetchError::BranchMissing { .. } => Fault::Missing,
        _ => Fault::Unreachable,
    }
}

fn of_refusal(refusal: &Refusal) -> Fault {
    use verify::Fault as Signature;
    match refusal {
        Refusal::Unsigned { .. } | Refusal::TooFewSigners { .. } => Fault::Unsigned,
        Refusal::Malformed { .. } => Fault::BadSignature,
        Refusal::Signature { why, .. } => match why {
            Signature::Distrusted { .. } | Signature::Software { .. } | Signature::Untouched { .. } => {
                Fault::UnknownKey
            }
            Signature::OtherKind | Signature::Damaged | Signature::Namespace { .. } | Signature::Wrong { .. } => {
                Fault::BadSignature
            }
        },
        Refusal::Rewritten { .. } | Refusal::OtherBeginning { .. } => Fault::Rewritten,
        Refusal::Stale { .. } => Fault::Stale,
        Refusal::Unpinned { .. } | Refusal::TooMany { .. } => Fault::Unpinned,
    }
}
