//! A lockout, as it is told and kept over a restart.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A caller who is not let in for a while: too many tokens or passwords from there were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lockout {
    /// The caller: an IPv4 address, or the first address of an IPv6 network of 64 bits.
    pub address: IpAddr,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How many failures in a row led to it.
    pub failures: u32,
}

impl std::fmt::Display for Lockout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let network = if self.address.is_ipv6() { "/64" } else { "" };
        write!(f, "{}{network} until {:.0} after {} failures", self.address, self.until, self.failures)
    }
}
