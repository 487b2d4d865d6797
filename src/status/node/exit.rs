//! The exits of a node: the one it leaves from, and those between which it has rotated.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;

use super::Inputs;
use crate::desired::{Country, Fingerprint};
use crate::rotation::Rotation;

/// The exit that a node's connections leave from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitStatus {
    /// The relay.
    pub fingerprint: Fingerprint,
    /// Its address in the consensus, where it is in there.
    pub ip: Option<IpAddr>,
    /// The country of that address, where it is known.
    pub country: Option<Country>,
}

/// A change of a node's exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationStatus {
    /// When its new exit was read.
    pub at: Timestamp,
    /// The exit before, where it was known.
    pub from: Option<ExitStatus>,
    /// The new exit.
    pub to: ExitStatus,
    /// Whether a connection was seen to use it; otherwise it is the newest idle circuit's, a good guess.
    pub confirmed: bool,
}

/// Looks an exit up in the consensus.
pub(super) fn of(inputs: &Inputs<'_>, fingerprint: Fingerprint) -> ExitStatus {
    let relay = inputs.observed.relays.present().and_then(|relays| relays.exits().get(&fingerprint));
    ExitStatus { fingerprint, ip: relay.map(|relay| relay.address), country: relay.and_then(|relay| relay.country) }
}

/// Tells of a rotation.
pub(super) fn rotation(inputs: &Inputs<'_>, last: &Rotation) -> RotationStatus {
    let Rotation { at, from, to, confirmed } = *last;
    RotationStatus { at, from: from.map(|from| of(inputs, from)), to: of(inputs, to), confirmed }
}

impl fmt::Display for ExitStatus {
    /// Says `192.0.2.1 in de`, or the fingerprint where the address is not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => write!(f, "{ip}")?,
            None => write!(f, "{}", self.fingerprint)?,
        }
        self.country.map_or(Ok(()), |country| write!(f, " in {country}"))
    }
}

impl fmt::Display for RotationStatus {
    /// Says `from 192.0.2.1 in de to 192.0.2.2 in nl (guessed)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Some(from) => write!(f, "from {from}")?,
            None => f.write_str("from an exit that was not known")?,
        }
        write!(f, " to {} ({})", self.to, if self.confirmed { "confirmed" } else { "guessed" })
    }
}
