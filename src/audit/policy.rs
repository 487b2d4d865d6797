//! What of the trail is kept, and what of addresses is written at all.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::desired::AddressPolicy;

/// What is left of an IPv4 address where it is cut down.
const V4_PREFIX: u8 = 24;
/// What is left of an IPv6 address where it is cut down: what a provider hands to one site.
const V6_PREFIX: u8 = 48;

/// Writes an address as the policy says; `None` where it is not written.
pub fn written(policy: AddressPolicy, address: IpAddr) -> Option<String> {
    let address = address.to_canonical();
    match policy {
        AddressPolicy::Full => Some(address.to_string()),
        AddressPolicy::Prefix => Some(network(address).to_string()),
        AddressPolicy::None => None,
    }
}

fn network(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::new(address, V4_PREFIX).unwrap_or_default().trunc()),
        IpAddr::V6(address) => IpNet::V6(Ipv6Net::new(address, V6_PREFIX).unwrap_or_default().trunc()),
    }
}

/// Reads an address or a network, as rows have them and as operators write them.
pub fn read(text: &str) -> Option<IpNet> {
    let alone = |text: &str| text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    alone(text).or_else(|| text.parse::<IpNet>().ok().map(|network| network.trunc()))
}

/// Whether two networks have an address in common.
pub fn meet(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn addresses_are_written_as_the_policy_says() {
        let v4 = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
        let v6: IpAddr = "2001:db8:1:2::9".parse().unwrap();
        let mapped = IpAddr::V6(Ipv4Addr::new(203, 0, 113, 9).to_ipv6_mapped());
        for (policy, written_v4, written_v6) in [
            (AddressPolicy::Full, Some("203.0.113.9"), Some("2001:db8:1:2::9")),
            (AddressPolicy::Prefix, Some("203.0.113.0/24"), Some("2001:db8:1::/48")),
            (AddressPolicy::None, None, None),
        ] {
            assert_eq!(written(policy, v4).as_deref(), written_v4);
            assert_eq!(written(policy, mapped).as_deref(), written_v4);
            assert_eq!(written(policy, v6).as_deref(), written_v6);
        }
        assert_eq!(read("::"), Some(IpNet::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED))));
    }

    #[test]
    fn what_has_an_address_in_common_meets() {
        let meets = |one: &str, other: &str| meet(&read(one).unwrap(), &read(other).unwrap());
        assert!(meets("203.0.113.9", "203.0.113.9"));
        assert!(meets("203.0.113.9", "203.0.113.0/24") && meets("203.0.113.0/24", "203.0.113.9"));
        assert!(!meets("203.0.113.9", "203.0.113.8") && !meets("203.0.113.9", "2001:db8::/32"));
        assert_eq!(read("example.org"), None);
    }
}
