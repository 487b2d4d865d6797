//! Sets of addresses as sorted, disjoint, not adjacent intervals of whole numbers.
//!
//! nft writes one and the same set as addresses, prefixes or ranges, depending on its version and on how the elements
//! came in; as intervals there is one way to write it.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

/// All addresses from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    family: Family,
    first: u128,
    last: u128,
}

/// A set of addresses; two sets with the same members are equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intervals(Vec<Interval>);

impl Interval {
    /// Makes an interval; `None` when the families differ or the last address comes before the first.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let (family, first) = number(first);
        let (other, last) = number(last);
        (family == other && first <= last).then_some(Self { family, first, last })
    }

    /// The smallest list of networks that holds exactly these addresses.
    fn networks(self) -> Vec<IpNet> {
        match (address(self.family, self.first), address(self.family, self.last)) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect(),
            (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect(),
            _ => Vec::new(),
        }
    }
}

impl Intervals {
    /// The smallest sorted list of networks that holds exactly these addresses.
    pub fn networks(&self) -> Vec<IpNet> {
        self.0.iter().flat_map(|interval| interval.networks()).collect()
    }

    /// The members that `other` has not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = Vec::new();
        let mut holes = other.0.iter().peekable();
        for &interval in &self.0 {
            let mut left = Some(interval);
            while let (Some(part), Some(hole)) = (left, holes.peek()) {
                match side(part, **hole) {
                    Ordering::Less => break,
                    Ordering::Greater => {
                        holes.next();
                    }
                    Ordering::Equal => {
                        let (before, after) = cut(part, **hole);
                        rest.extend(before);
                        left = after;
                    }
                }
            }
            rest.extend(left);
        }
        Self(rest)
    }

    /// The intervals, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Interval> {
        self.0.iter()
    }
}

/// Where `part` lies, seen from `hole`; `Equal` when they share an address.
fn side(part: Interval, hole: Interval) -> Ordering {
    if (part.family, part.last) < (hole.family, hole.first) {
        Ordering::Less
    } else if (part.family, part.first) > (hole.family, hole.last) {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

/// What is left of `part` before and after an overlapping `hole`.
fn cut(part: Interval, hole: Interval) -> (Option<Interval>, Option<Interval>) {
    let before = (part.first < hole.first).then(|| Interval { last: hole.first - 1, ..part });
    let after = (part.last > hole.last).then(|| Interval { first: hole.last + 1, ..part });
    (before, after)
}

fn number(address: IpAddr) -> (Family, u128) {
    match address {
        IpAddr::V4(address) => (Family::V4, u128::from(address.to_bits())),
        IpAddr::V6(address) => (Family::V6, address.to_bits()),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        // A number of this family was made from 32 bits, or lies between two that were.
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

impl FromIterator<Interval> for Intervals {
    fn from_iter<I: IntoIterator<Item = Interval>>(intervals: I) -> Self {
        let mut sorted: Vec<Interval> = intervals.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<Interval> = Vec::with_capacity(sorted.len());
        for next in sorted {
            match merged.last_mut() {
                Some(last) if last.family == next.family && next.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(next.last);
                }
                _ => merged.push(next),
            }
        }
        Self(merged)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (address(self.family, self.first), address(self.family, self.last));
        match self.networks().as_slice() {
            _ if first == last => write!(f, "{first}"),
            [network] => write!(f, "{network}"),
            _ => write!(f, "{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> Intervals {
        let parse = |text: &&str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Interval::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
        };
        texts.iter().map(parse).collect()
    }

    fn shown(set: &Intervals) -> Vec<String> {
        set.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn neighbours_and_overlaps_become_one() {
        let merged = set(&["10.0.0.2", "10.0.0.0-10.0.0.1", "10.0.0.1-10.0.0.3", "::1", "::", "255.255.255.255"]);
        assert_eq!(shown(&merged), ["10.0.0.0/30", "255.255.255.255", "::/127"]);
    }

    #[test]
    fn a_range_that_is_no_network_is_shown_as_range() {
        assert_eq!(shown(&set(&["10.0.0.1-10.0.0.4"])), ["10.0.0.1-10.0.0.4"]);
        let networks = set(&["10.0.0.1-10.0.0.4"]).networks();
        assert_eq!(
            networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"]
        );
    }

    #[test]
    fn the_whole_of_a_family_is_one_network() {
        let whole = set(&["0.0.0.0-255.255.255.255", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]);
        assert_eq!(shown(&whole), ["0.0.0.0/0", "::/0"]);
    }

    #[test]
    fn differences_are_exact() {
        let left = set(&["10.0.0.0-10.0.0.255", "10.0.2.0-10.0.2.9", "::1-::9"]);
        let right = set(&["10.0.0.7", "10.0.0.255-10.0.2.3", "::-::4", "::8-::20"]);
        assert_eq!(
            shown(&left.without(&right)),
            ["10.0.0.0-10.0.0.6", "10.0.0.8-10.0.0.254", "10.0.2.4-10.0.2.9", "::5-::7"]
        );
        assert_eq!(left.without(&left), Intervals::default());
        assert_eq!(left.without(&Intervals::default()), left);
    }

    #[test]
    fn a_wrong_order_is_no_interval() {
        assert_eq!(Interval::new("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()), None);
        assert_eq!(Interval::new("10.0.0.2".parse().unwrap(), "::1".parse().unwrap()), None);
    }
}
