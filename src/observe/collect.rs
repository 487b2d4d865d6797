//! Asks the drivers and the kernel, and puts the answers side by side. It decides nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::firewall::Firewall;
use crate::firewall::model::Guard;
use crate::sys::listeners;
use crate::tor::Tor;

use super::{Observation, Observed};

/// What is looked at besides everything of ours.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The guard that is wished; the empty one where none is.
    pub guard: Guard,
    /// Where nodes are wished to listen.
    pub addresses: BTreeSet<SocketAddr>,
}

/// Takes a snapshot of the world.
pub async fn observe(tor: &dyn Tor, firewall: &dyn Firewall, scope: &Scope) -> Observed {
    let (seen, guard) = tokio::join!(tor.observe(), firewall.observe(&scope.guard));
    let ours: BTreeSet<SocketAddr> = seen
        .instances
        .values()
        .filter_map(|instance| instance.control.present())
        .flat_map(|control| control.socks_listeners.iter().copied())
        .collect();
    let missing: BTreeSet<SocketAddr> = scope.addresses.difference(&ours).copied().collect();
    Observed {
        instances: seen.instances,
        relays: seen.relays,
        guard,
        strangers: listeners::strangers(&missing),
        tor: seen.program,
    }
}
