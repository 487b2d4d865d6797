//! Who takes part in the private network, and at which addresses. Pure: nothing here touches the system.
//!
//! The addresses exist inside the pool's network namespace only, on its `lo`. They are not loopback addresses, because
//! tor binds no outbound address on its way to one, and an exit's outbound address is how the echo server knows it.
//! Each country has a /16, as in a GeoIP file of the real world, and each exit a /24 of its own in it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::Error;
use crate::desired::Country;

/// How many directory authorities vote: the fewest with a majority that outlives the loss of one.
const AUTHORITIES: u8 = 3;
/// How many guards there are: a client samples some, and wants another one in the middle of its circuits.
const GUARDS: u8 = 4;
/// The most exits a network may have: at about 14 MB each they fit on a small machine.
const MOST_EXITS: usize = 200;
/// The second octet of the first country's addresses; below it are those that belong to no exit.
const FIRST_COUNTRY: u8 = 16;
/// The port on which relays speak the onion routing protocol.
pub const OR_PORT: u16 = 9001;
/// The port on which authorities speak the directory protocol.
pub const DIR_PORT: u16 = 9030;

/// What a relay is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Votes on the consensus, and carries no traffic: authorities measure all relays but each other.
    Authority,
    /// A guard and a middle relay.
    Guard,
    /// Leaves the network, from an address of this country.
    Exit(Country),
}

/// A relay, before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the consensus: letters and digits.
    pub nickname: String,
    /// What it is there for.
    pub role: Role,
    /// Where it listens, and where what it sends comes from.
    pub address: Ipv4Addr,
}

/// A range of addresses and its country, as in a line of a GeoIP file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first address of the /16.
    pub first: Ipv4Addr,
    /// The last one.
    pub last: Ipv4Addr,
    /// The country, in lower case.
    pub country: String,
}

/// Everyone who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The relays; authorities first.
    pub members: Vec<Member>,
    /// Which addresses are in which country.
    pub ranges: Vec<Range>,
    /// What the authorities vote for beside relays.
    pub consensus_params: Vec<String>,
}

impl Layout {
    /// Lays a network out with this many exits in each country.
    pub fn new(exits: &BTreeMap<Country, u8>) -> Result<Self, Error> {
        let total: usize = exits.values().copied().map(usize::from).sum();
        if total == 0 || total > MOST_EXITS || exits.len() > usize::from(u8::MAX - FIRST_COUNTRY) {
            return Err(Error::Exits { total, most: MOST_EXITS });
        }
        let mut members = row("authority", Role::Authority, 1, AUTHORITIES);
        members.extend(row("guard", Role::Guard, 2, GUARDS));
        // A country that is known and has guards, but no exit unless one is asked for: wishes for it must fail.
        let mut ranges = vec![range(1, "se"), range(2, "se")];
        for (octet, (country, count)) in (FIRST_COUNTRY..).zip(exits) {
            members.extend(row(&country.to_string(), Role::Exit(*country), octet, *count));
            ranges.push(range(octet, &country.to_string()));
        }
        Ok(Self { members, ranges, consensus_params: Vec::new() })
    }

    /// Where the echo server listens: an address that no relay has.
    pub fn echo() -> SocketAddr {
        SocketAddr::from(([10, 3, 0, 1], 80))
    }

    /// Lists every address that the namespace's `lo` needs.
    pub fn addresses(&self) -> impl Iterator<Item = std::net::IpAddr> {
        self.members.iter().map(|member| member.address.into()).chain([Self::echo().ip()])
    }
}

impl Role {
    /// Whether clients get the directory from it.
    pub fn serves_the_directory(self) -> bool {
        !matches!(self, Self::Exit(_))
    }

    /// The flags without which a relay is of no use in this role.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Authority => &["Authority", "Running", "Valid"],
            Self::Guard => &["Fast", "Guard", "Running", "Stable", "V2Dir", "Valid"],
            Self::Exit(_) => &["Exit", "Fast", "Running", "Stable", "Valid"],
        }
    }
}

/// Makes `count` members of one role in one /16.
fn row(name: &str, role: Role, octet: u8, count: u8) -> Vec<Member> {
    let member =
        |index| Member { nickname: format!("{name}{index}"), role, address: Ipv4Addr::new(10, octet, index, 1) };
    (1..=count).map(member).collect()
}

/// Makes the /16 of an octet a country's.
fn range(octet: u8, country: &str) -> Range {
    Range {
        first: Ipv4Addr::new(10, octet, 0, 0),
        last: Ipv4Addr::new(10, octet, 255, 255),
        country: country.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn exits(wanted: &[(&str, u8)]) -> BTreeMap<Country, u8> {
        wanted.iter().map(|(code, count)| (code.parse().unwrap(), *count)).collect()
    }

    #[test]
    fn every_member_has_an_address_and_a_nickname_of_its_own_and_exits_stand_in_their_country() {
        let layout = Layout::new(&exits(&[("us", 3), ("de", 200 - 4), ("se", 1)])).unwrap();
        let nicknames: BTreeSet<_> = layout.members.iter().map(|member| &member.nickname).collect();
        let addresses: BTreeSet<_> = layout.addresses().collect();
        assert_eq!(nicknames.len(), layout.members.len());
        assert_eq!(addresses.len(), layout.members.len() + 1);
        for member in &layout.members {
            let range = layout.ranges.iter().find(|range| (range.first..=range.last).contains(&member.address));
            let country = match member.role {
                Role::Exit(country) => country.to_string(),
                Role::Authority | Role::Guard => "se".to_owned(),
            };
            assert_eq!(range.unwrap().country, country, "{member:?}");
        }
    }

    #[test]
    fn a_network_without_exits_or_with_too_many_is_refused() {
        for wanted in [exits(&[]), exits(&[("us", 0)]), exits(&[("us", 200), ("de", 1)])] {
            assert!(matches!(Layout::new(&wanted), Err(Error::Exits { .. })), "{wanted:?}");
        }
    }
}
