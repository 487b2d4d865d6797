//! Asks the drivers and the kernel, and puts the answers side by side. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::firewall::Firewall;
use crate::firewall::model::Guard;
use crate::tor::Tor;

use super::{Instance, Observed, listeners};

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
    let instances = || seen.instances.values();
    let ours: BTreeSet<SocketAddr> = instances().flat_map(Instance::listeners).collect();
    let pids: BTreeSet<u32> = instances().filter_map(|it| it.process.present()).map(|process| process.pid).collect();
    let missing: BTreeSet<SocketAddr> = scope.addresses.difference(&ours).copied().collect();
    let strangers = listeners::strangers(&missing, &ours, &pids).unwrap_or_else(|error| {
        // A node that cannot listen says so itself; only the name of who is in its way is missing then.
        tracing::warn!(%error, "cannot read the table of listening sockets");
        BTreeMap::new()
    });
    Observed { instances: seen.instances, relays: seen.relays, guard, strangers, tor: seen.program }
}
