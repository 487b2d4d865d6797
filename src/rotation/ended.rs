//! What came of a rotation.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::desired::Fingerprint;

/// A rotation that has ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// When its new exit was read.
    pub at: Timestamp,
    /// The exit before, where it was known.
    pub from: Option<Fingerprint>,
    /// The exit of new connections.
    pub to: Fingerprint,
    /// Whether a connection was seen to use it; otherwise it is the newest idle circuit's, a good guess.
    pub confirmed: bool,
}

/// How a rotation has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// New connections leave from another exit.
    Elsewhere,
    /// They leave from the same one: no other could be had.
    AtTheSame,
    /// No exit could be read in time.
    Unread,
    /// Nobody wants the instance any more.
    Gone,
}
