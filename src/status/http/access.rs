//! Who may ask: this host, and whoever `access.panel` names.
//!
//! The firewall says the same; this is the second layer, for when the first is not there yet or not any more.

use std::net::IpAddr;

use hyper::header::{self, AsHeaderName, HeaderMap};

use super::Peer;
use super::listener::Over;
use super::routes::Asked;
use crate::export::address::{self, Forwarding, Unreadable};
use crate::status::Status;

/// The address that a request comes from, behind the proxies that are trusted.
///
/// Whoever may connect to a socket in the file system is one of them: its mode says so. One that does not say for whom
/// it asks is not believed to be this host itself, unless root or the daemon's own user is at the other end.
pub(super) fn client(status: &Status, asked: &Asked) -> Result<IpAddr, Unreadable> {
    let x_forwarded_for = values(&asked.headers, "x-forwarded-for");
    let forwarded = values(&asked.headers, header::FORWARDED);
    if asked.over == Over::Socket && x_forwarded_for.is_empty() && forwarded.is_empty() {
        return Err(Unreadable);
    }
    let mut trusted = status.access.trusted_proxies.clone();
    if matches!(asked.over, Over::Socket | Over::OwnSocket) {
        trusted.push(asked.peer.connected.into());
    }
    let said = Forwarding { x_forwarded_for: &x_forwarded_for, forwarded: &forwarded };
    address::client(asked.peer.connected, said, &trusted)
}

/// The values of a header; one that is no text is none that anybody understands.
pub(super) fn values(headers: &HeaderMap, name: impl AsHeaderName) -> Vec<&str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect()
}

/// Whether a peer may ask for lists: whoever may see the page, and whom a grant names.
pub(super) fn allows_exports(status: &Status, peer: &Peer) -> bool {
    let grants = status.exports.iter().flat_map(|exports| exports.grants.values());
    allows(status, peer) || grants.into_iter().any(|grant| address::holds(&grant.allow, peer.address))
}

/// Whether a peer may see the page, and all that it is made from: also whom the lockout guard spares, since one who
/// reads what is wrong can mend it.
pub(super) fn allows(status: &Status, peer: &Peer) -> bool {
    let is_spared = peer.address == peer.connected && status.access.spared.contains(&peer.address);
    is_this_host(status, peer) || status.access.panel_has(peer.address) || is_spared
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
    use crate::desired::exports::Grant;
    use crate::status::tests::world::World;

    fn peer(address: &str, reached: IpAddr) -> Peer {
        let address = address.parse().unwrap();
        Peer { address, connected: address, reached }
    }

    #[test]
    fn only_this_host_and_the_list_may_ask() {
        let mut world = World::healthy(3);
        let panel = &mut world.desired.as_mut().unwrap().access.panel;
        panel.extend(["198.51.100.7/32".parse::<ipnet::IpNet>().unwrap(), "2001:db8:5::/48".parse().unwrap()]);
        let status = world.status();
        let ask = |address: &str| {
            let reached = "192.0.2.99".parse().unwrap();
            allows(&status, &peer(address, reached))
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
            allows(&status, &peer(address, reached))
        };
        assert!(ask("127.0.0.1") && !ask("198.51.100.7"));
    }

    #[test]
    fn whom_a_grant_names_may_have_lists_and_nothing_else() {
        let mut world = World::healthy(3);
        let grant = Grant {
            pools: Default::default(),
            formats: Default::default(),
            allow: ["203.0.113.9/32".parse().unwrap()].into(),
            max_ttl: Default::default(),
            limit: None,
            quota: None,
        };
        world.desired.as_mut().unwrap().exports.grants.insert("crawler".to_owned(), grant);
        let status = world.status();
        let may = |address| {
            let peer = peer(address, "192.0.2.99".parse().unwrap());
            (allows(&status, &peer), allows_exports(&status, &peer))
        };
        assert_eq!(may("203.0.113.9"), (false, true));
        assert_eq!(may("203.0.113.10"), (false, false));
        assert_eq!(may("127.0.0.1"), (true, true));
    }
}
