//! Who may ask: this host, and whoever `access.panel` names.
//!
//! The firewall says the same; this is the second layer, for when the first is not there yet or not any more.

use super::Peer;
use crate::status::Status;

/// Whether a peer may ask.
pub(super) fn allows(status: &Status, peer: &Peer) -> bool {
    is_this_host(status, peer) || status.access.panel_has(peer.address)
}

/// Whether a peer is this host itself.
pub(super) fn is_this_host(status: &Status, peer: &Peer) -> bool {
    peer.address.is_loopback()
        || peer.address == peer.reached
        || status.server_addresses.iter().any(|own| own.to_canonical() == peer.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::world::World;

    #[test]
    fn only_this_host_and_the_list_may_ask() {
        let mut world = World::healthy(3);
        let panel = &mut world.desired.as_mut().unwrap().access.panel;
        panel.extend(["198.51.100.7/32".parse::<ipnet::IpNet>().unwrap(), "2001:db8:5::/48".parse().unwrap()]);
        let status = world.status();
        let ask = |address: &str| {
            let reached = "192.0.2.99".parse().unwrap();
            allows(&status, &Peer { address: address.parse().unwrap(), reached })
        };
        for allowed in ["127.0.0.1", "::1", "198.51.100.7", "2001:db8:5::1", "192.0.2.10", "192.0.2.99"] {
            assert!(ask(allowed), "{allowed}");
        }
        // On the SOCKS list is not on the panel list.
        for refused in ["203.0.113.9", "198.51.100.8", "2001:db8::1", "10.0.0.1"] {
            assert!(!ask(refused), "{refused}");
        }
    }

    #[test]
    fn without_a_desired_state_only_this_host_may_ask() {
        let status = World::without_revision().status();
        let ask = |address: &str| {
            let reached = "192.0.2.99".parse().unwrap();
            allows(&status, &Peer { address: address.parse().unwrap(), reached })
        };
        assert!(ask("127.0.0.1") && !ask("198.51.100.7"));
    }
}
