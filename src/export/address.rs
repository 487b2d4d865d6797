//! Who asks: the address that counts, behind proxies or not, and whether networks hold it.
//!
//! A proxy's word is believed only where `access.trusted_proxies` has the proxy. Of what it says, the last hop counts
//! that is no trusted proxy itself: everything before it may be made up.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::desired::exports::canonical;

/// A trusted proxy says where a request comes from, and nobody can tell what that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proxy does not say where this request comes from in a way that is understood")]
pub struct Unreadable;

/// What proxies have said of a request: the values of each header, in the order in which they came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forwarding<'a> {
    /// `X-Forwarded-For`.
    pub x_forwarded_for: &'a [&'a str],
    /// `Forwarded`, RFC 7239.
    pub forwarded: &'a [&'a str],
}

/// The address that a request comes from, given the one that the connection comes from.
pub fn client(connected: IpAddr, said: Forwarding<'_>, trusted: &[IpNet]) -> Result<IpAddr, Unreadable> {
    let connected = connected.to_canonical();
    if !holds(trusted, connected) {
        return Ok(connected);
    }
    let named = [hops(said.x_forwarded_for, plain), hops(said.forwarded, element)];
    let found = named.map(|hops| hops.map(|hops| last_untrusted(&hops, trusted)));
    match found {
        [None, None] => Ok(connected),
        [Some(one), None] | [None, Some(one)] => one,
        // A proxy sets one of them, and may hand on what the client has written into the other.
        [Some(one), Some(other)] => one.and_then(|address| (other == Ok(address)).then_some(address).ok_or(Unreadable)),
    }
}

/// The hops that a header names, the nearest last; `None` where it is not there.
fn hops(values: &[&str], read: fn(&str) -> Option<IpAddr>) -> Option<Vec<Option<IpAddr>>> {
    let hops: Vec<_> = values.iter().flat_map(|value| value.split(',')).map(|hop| read(hop.trim())).collect();
    (!hops.is_empty()).then_some(hops)
}

fn last_untrusted(hops: &[Option<IpAddr>], trusted: &[IpNet]) -> Result<IpAddr, Unreadable> {
    let is_trusted = |hop: &Option<IpAddr>| hop.is_some_and(|address| holds(trusted, address));
    let counts = hops.iter().rev().find(|hop| !is_trusted(hop)).or(hops.first());
    counts.copied().flatten().map(|address| address.to_canonical()).ok_or(Unreadable)
}

/// A hop of `X-Forwarded-For`: an address, and with some proxies its port.
fn plain(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// A hop of `Forwarded`, such as `for="[2001:db8::1]:4711";proto=https`.
fn element(hop: &str) -> Option<IpAddr> {
    let pairs = hop.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    plain(node.trim().trim_matches('"'))
}

/// Whether one of some networks holds an address. An IPv4 address within IPv6 is that IPv4 address, on both sides.
pub fn holds<'a>(networks: impl IntoIterator<Item = &'a IpNet>, address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.into_iter().any(|network| canonical(*network).contains(&address))
}

/// Whom an address counts as where requests are counted: itself, and all of a network of 64 bits with IPv6, since
/// whoever has one address of such a network has all of them.
pub fn caller(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() & !u128::from(u64::MAX)).to_be_bytes()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn said(connected: &str, x: &[&str], forwarded: &[&str]) -> Option<String> {
        let trusted = nets(&["127.0.0.1/32", "10.0.0.0/8", "2001:db8:f::/48"]);
        let said = Forwarding { x_forwarded_for: x, forwarded };
        client(ip(connected), said, &trusted).ok().map(|address| address.to_string())
    }

    #[test]
    fn nobody_is_believed_who_is_not_a_trusted_proxy() {
        assert_eq!(said("203.0.113.9", &["198.51.100.7"], &["for=198.51.100.7"]).unwrap(), "203.0.113.9");
        assert_eq!(said("::ffff:203.0.113.9", &["198.51.100.7"], &[]).unwrap(), "203.0.113.9");
        assert_eq!(said("127.0.0.1", &[], &[]).unwrap(), "127.0.0.1");
    }

    #[test]
    fn the_last_hop_counts_that_is_no_trusted_proxy() {
        for (x, expected) in [
            (&["198.51.100.7"][..], "198.51.100.7"),
            (&["127.0.0.1, 198.51.100.7"], "198.51.100.7"),
            (&["198.51.100.7, 10.1.2.3"], "198.51.100.7"),
            (&["192.0.2.1, 198.51.100.7", "10.1.2.3,10.1.2.4"], "198.51.100.7"),
            (&["10.1.2.3, 10.1.2.4"], "10.1.2.3"),
            (&["198.51.100.7:4711"], "198.51.100.7"),
            (&["::ffff:198.51.100.7"], "198.51.100.7"),
            (&["[2001:db8::7]:4711"], "2001:db8::7"),
            (&["made up, 2001:db8::7, 2001:db8:f::1"], "2001:db8::7"),
        ] {
            assert_eq!(said("127.0.0.1", x, &[]).as_deref(), Some(expected), "{x:?}");
        }
    }

    #[test]
    fn the_header_of_the_standard_is_read_as_well() {
        for (value, expected) in [
            ("for=198.51.100.7", "198.51.100.7"),
            ("For=192.0.2.1, for=198.51.100.7;proto=https;by=10.0.0.1", "198.51.100.7"),
            ("proto=http;for=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            ("for=\"198.51.100.7:80\", for=10.0.0.9", "198.51.100.7"),
        ] {
            assert_eq!(said("10.0.0.1", &[], &[value]).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_not_understood_counts_as_nobody() {
        for x in ["unknown", "", "198.51.100.7, nonsense", "198.51.100.7,"] {
            assert_eq!(said("127.0.0.1", &[x], &[]), None, "{x}");
        }
        for forwarded in ["for=unknown", "for=_hidden", "proto=https", "for=198.51.100.7, for=_x"] {
            assert_eq!(said("127.0.0.1", &[], &[forwarded]), None, "{forwarded}");
        }
        // What the client has slipped past a proxy that sets the other header.
        assert_eq!(said("127.0.0.1", &["198.51.100.7"], &["for=127.0.0.1"]), None);
        assert_eq!(said("127.0.0.1", &["198.51.100.7"], &["for=198.51.100.7"]).unwrap(), "198.51.100.7");
    }

    #[test]
    fn v4_within_v6_is_v4_on_both_sides() {
        let networks = nets(&["::ffff:203.0.113.0/120", "198.51.100.7/32", "2001:db8::/32"]);
        for inside in ["203.0.113.9", "::ffff:203.0.113.9", "::ffff:198.51.100.7", "2001:db8::1"] {
            assert!(holds(&networks, ip(inside)), "{inside}");
        }
        for outside in ["203.0.114.1", "::ffff:198.51.100.8", "2001:db9::1", "::203.0.113.9"] {
            assert!(!holds(&networks, ip(outside)), "{outside}");
        }
        assert!(!holds(&nets(&["0.0.0.0/0"]), ip("2001:db8::1")));
    }

    #[test]
    fn a_network_of_64_bits_is_one_caller() {
        assert_eq!(caller(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(caller(ip("::ffff:203.0.113.9")), ip("203.0.113.9"));
        assert_ne!(caller(ip("203.0.113.9")), caller(ip("203.0.113.10")));
    }
}
