//! Addresses, networks and ports.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::amounts::plain_number;
use super::{ValueError, written_as_text};

/// A TCP port, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "u16")]
#[schemars(inline, extend("minimum" = 1))]
pub struct Port(pub u16);

impl TryFrom<u16> for Port {
    type Error = ValueError;

    fn try_from(number: u16) -> Result<Self, ValueError> {
        if number == 0 { Err(ValueError::new("`0` is not a port; use one from 1 to 65535")) } else { Ok(Self(number)) }
    }
}

/// TCP ports from the first to the last, as in `40000-40099`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange(pub RangeInclusive<u16>);

written_as_text!(PortRange, "PortRange", {
    "description": "TCP ports from the first to the last, as in `40000-40099`.",
    "pattern": "^[1-9][0-9]{0,4}-[1-9][0-9]{0,4}$"
});

impl FromStr for PortRange {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let port = |digits: &str| digits.parse::<u16>().ok().filter(|port| *port > 0 && plain_number(digits));
        let range = text.split_once('-').and_then(|(first, last)| Some(port(first)?..=port(last)?));
        let refuse = || ValueError::new(format!("`{text}` is not a range of ports; write it as in `40000-40099`"));
        range.filter(|range| !range.is_empty()).map(Self).ok_or_else(refuse)
    }
}

/// The address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ListenAddress(pub IpAddr);

written_as_text!(ListenAddress, "IpAddress", {
    "description": "An IPv4 or IPv6 address.",
    "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }],
    "pattern": "^[0-9A-Fa-f:.]+$"
});

impl Default for ListenAddress {
    fn default() -> Self {
        Self(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

impl FromStr for ListenAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = |_| ValueError::new(format!("`{text}` is not an address; write it as in `0.0.0.0` or `::1`"));
        text.parse().map(Self).map_err(refuse)
    }
}

/// An address or a network that is let in, as it was written: host bits are still set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Peer(pub IpNet);

written_as_text!(Peer, "IpOrCidr", {
    "description": "An IPv4 or IPv6 address, or a network as in `203.0.113.0/24`.",
    "pattern": "^([0-9]{1,3}(\\.[0-9]{1,3}){3}(/([0-9]|[12][0-9]|3[0-2]))?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))?)$"
});

impl FromStr for Peer {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "any" {
            return Err(ValueError::new(
                "`any` is not said here; write `0.0.0.0/0` and `::/0` if the whole world is meant",
            ));
        }
        let refuse = || {
            ValueError::new(format!(
                "`{text}` is not an address or a network; write it as in `198.51.100.7`, `203.0.113.0/24` or `2001:db8::/32`"
            ))
        };
        if let Some((_, prefix)) = text.split_once('/')
            && !plain_number(prefix)
        {
            return Err(refuse());
        }
        let host = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| host()).map(Self).map_err(|_| refuse())
    }
}

impl Peer {
    /// The network with its host bits cleared.
    pub fn network(self) -> IpNet {
        self.0.trunc()
    }

    /// Whether an address inside the network was written in place of the network's own.
    pub fn has_host_bits(self) -> bool {
        self.0.addr() != self.0.network()
    }
}

/// Who may reach SSH: an address, a network, or anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SshPeer {
    /// Anybody.
    Any,
    /// These.
    Peer(Peer),
}

written_as_text!(SshPeer, "IpOrCidrOrAny", {
    "description": "An IPv4 or IPv6 address, a network as in `203.0.113.0/24`, or `any`.",
    "pattern": "^(any|[0-9]{1,3}(\\.[0-9]{1,3}){3}(/([0-9]|[12][0-9]|3[0-2]))?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))?)$"
});

impl FromStr for SshPeer {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "any" { Ok(Self::Any) } else { text.parse().map(Self::Peer) }
    }
}
