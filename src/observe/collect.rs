//! Asks the drivers and the kernel, and puts the answers side by side. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use crate::firewall::Firewall;
use crate::firewall::model::Guard;
use crate::tor::Tor;

use super::{Instance, Observation, Observed, ObservedGuard, Stranger, Visitor, listeners};

/// What is looked at besides everything of ours.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The guard that is wished; the empty one where none is.
    pub guard: Guard,
    /// Where nodes are wished to listen.
    pub addresses: BTreeSet<SocketAddr>,
    /// The visitors who are known already.
    pub visitors: BTreeSet<Visitor>,
}

/// Takes a snapshot of the world.
pub async fn observe(tor: &dyn Tor, firewall: &dyn Firewall, scope: &Scope) -> Observed {
    let (seen, guard) = tokio::join!(tor.observe(), firewall.observe(&scope.guard));
    let (ours, pids) = sockets_and_pids(seen.instances.values());
    let missing: BTreeSet<SocketAddr> = scope.addresses.difference(&ours).copied().collect();
    let strangers = listeners::strangers(&missing, &ours, &pids).unwrap_or_else(|error| {
        // A node that cannot listen says so itself; only the name of who is in its way is missing then.
        tracing::warn!(%error, "cannot read the table of listening sockets");
        BTreeMap::new()
    });
    let mut visitors = scope.visitors.clone();
    // Nobody is locked out where nothing changes, and then the table need not be read.
    let mut guard_author = None;
    if guard != Observation::Present(ObservedGuard::Exact(scope.guard.clone())) {
        visitors.extend(sessions(&scope.guard));
        guard_author = firewall.changed_by();
    }
    let (instances, relays, tor) = (seen.instances, seen.relays, seen.program);
    Observed { instances, relays, guard, guard_author, strangers, visitors, tor }
}

/// Finds the sessions of SSH at every port that it may have: those that a guard says, 22, and sshd's, as far as they
/// can be seen. None can be told where the kernel's tables cannot be read.
pub fn sessions(guard: &Guard) -> BTreeSet<Visitor> {
    let is_guarded = |port| port == 22 || guard.ssh_ports.iter().any(|range| range.contains(port));
    listeners::sessions(is_guarded).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the tables of connections: who uses SSH now is not known");
        BTreeSet::new()
    })
}

/// Lists everybody else who listens on this host.
pub fn others(observed: &Observed) -> io::Result<Vec<Stranger>> {
    let (ours, pids) = sockets_and_pids(observed.instances.values());
    listeners::others(&ours, &pids)
}

/// Where our instances listen, and their processes.
fn sockets_and_pids<'a>(
    instances: impl Iterator<Item = &'a Instance> + Clone,
) -> (BTreeSet<SocketAddr>, BTreeSet<u32>) {
    let pids = instances.clone().filter_map(|it| it.process.present()).map(|process| process.pid).collect();
    (instances.flat_map(Instance::listeners).collect(), pids)
}
