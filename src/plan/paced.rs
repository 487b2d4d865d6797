//! What circuits wait for that a guard relay would take for too many.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A guard relay at which the tors of this host have begun as many circuits as they may for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paced {
    /// The relay as people know it: its name and fingerprint, its fingerprint, or a bridge's address.
    pub relay: String,
    /// How many circuits exitpool has them begin there.
    pub circuits: u32,
    /// Within so many seconds.
    pub seconds: u64,
}

impl fmt::Display for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { relay, circuits, seconds } = self;
        write!(
            f,
            "waiting for its turn at guard relay {relay}: exitpool begins no more than {circuits} circuits there within \
             {seconds} s"
        )
    }
}
