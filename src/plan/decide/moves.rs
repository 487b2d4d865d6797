//! Addresses that go from one of our instances to another, as when a pool's nodes are shared out anew among its tor
//! processes.
//!
//! An address is given up by the instance that has it only once the instance that is to have it can take it, and no
//! more of a pool at once than `reconcile.max_unavailable` lets go. It is opened only after it was given up: two plans,
//! one behind the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Action, BlockReason, Cause, Deciding, Object, OptionChange, Parting, WaitReason};
use crate::desired::{self, InstanceName, NodeName};
use crate::observe::{Control, Instance, overlap};
use crate::tor::options;

/// How many nodes of a pool may be made unavailable now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    left: usize,
    untouched: bool,
}

impl Budget {
    /// The budget of a pool of so many nodes, so many of which are unavailable; at least one node may always go.
    pub(super) fn new(nodes: usize, percent: u8, unavailable: usize) -> Self {
        let allowed = (nodes * usize::from(percent) / 100).max(1);
        Self { left: allowed.saturating_sub(unavailable), untouched: unavailable == 0 }
    }

    /// Takes so many nodes out, where that is allowed: the nodes of one instance go together, however many they are.
    pub(super) fn take(&mut self, nodes: usize) -> bool {
        let fits = nodes <= self.left || self.untouched;
        if fits {
            self.left = self.left.saturating_sub(nodes);
            self.untouched = false;
        }
        fits
    }
}

/// Which instance of ours listens where, and which one is to. Made when something has to move.
#[derive(Debug)]
pub(super) struct Addresses<'a> {
    held: ByPort<&'a InstanceName>,
    wanted: ByPort<&'a desired::Instance>,
}

/// Who has which address. Whoever listens on all addresses of the host has those of several.
#[derive(Debug)]
struct ByPort<T>(BTreeMap<u16, Vec<(SocketAddr, T)>>);

impl<T: Copy> ByPort<T> {
    /// Who has an address, or a part of it.
    fn around(&self, address: SocketAddr) -> impl Iterator<Item = T> {
        let at_port = self.0.get(&address.port()).into_iter().flatten();
        at_port.filter(move |(at, _)| overlap(*at, address)).map(|(_, who)| *who)
    }
}

impl<T> FromIterator<(SocketAddr, T)> for ByPort<T> {
    fn from_iter<I: IntoIterator<Item = (SocketAddr, T)>>(all: I) -> Self {
        let mut by_port: BTreeMap<u16, Vec<_>> = BTreeMap::new();
        all.into_iter().for_each(|(at, who)| by_port.entry(at.port()).or_default().push((at, who)));
        Self(by_port)
    }
}

impl<'a> Addresses<'a> {
    pub(super) fn new(
        observed: &'a BTreeMap<InstanceName, Instance>,
        wanted: &'a BTreeMap<InstanceName, desired::Instance>,
    ) -> Self {
        let held = observed.iter().flat_map(|(name, instance)| instance.listeners().map(move |at| (at, name)));
        let owners = wanted.values().flat_map(|instance| instance.nodes.iter().map(move |node| (node.socks, instance)));
        Self { held: held.collect(), wanted: owners.collect() }
    }

    /// The instance that has an address which another one is to have.
    fn holder(&self, address: SocketAddr, other_than: &InstanceName) -> Option<&'a InstanceName> {
        self.held.around(address).find(|holder| *holder != other_than)
    }

    /// The instances that are to have an address which another one has, or a part of it.
    fn heirs(&self, address: SocketAddr, other_than: &InstanceName) -> impl Iterator<Item = &'a desired::Instance> {
        self.wanted.around(address).filter(move |heir| &heir.name != other_than)
    }

    fn has_heir(&self, address: SocketAddr, other_than: &InstanceName) -> bool {
        self.heirs(address, other_than).next().is_some()
    }
}

impl<'a> Deciding<'a> {
    /// Says where an instance is to listen for now, each in the form of its option: at the addresses of its nodes, save
    /// for those that must not or cannot open, and at those that it keeps for now.
    pub(super) fn ports(&mut self, wanted: &desired::Instance, control: &Control) -> Vec<String> {
        let own = wanted.nodes.iter().map(|node| node.socks);
        if control.socks_listeners.iter().copied().eq(own.clone()) {
            return own.map(|address| address.to_string()).collect();
        }
        let mut ports = Vec::with_capacity(wanted.nodes.len());
        for address in own {
            if control.socks_listeners.contains(&address) || self.may_open(wanted, address) {
                ports.push(address.to_string());
            }
        }
        let all_open = ports.len() == wanted.nodes.len();
        let is_own = |address: &SocketAddr| wanted.nodes.iter().any(|node| node.socks == *address);
        for address in control.socks_listeners.iter().filter(|address| !is_own(address)) {
            if !self.may_give_up(&wanted.name, *address, all_open) {
                ports.push(kept(control, *address));
            }
            if self.addresses().has_heir(*address, &wanted.name) {
                self.wait(&wanted.name, WaitReason::Successors);
            }
        }
        ports
    }

    /// Whether a port that is closed can open and may; says why where it does not.
    fn may_open(&mut self, wanted: &desired::Instance, address: SocketAddr) -> bool {
        let object = || Object::Instance(wanted.name.clone());
        if let Some(stranger) = self.observed.strangers.get(&address) {
            self.block(object(), BlockReason::PortTaken { address, holder: stranger.to_string() });
            return false;
        }
        if !address.ip().is_loopback() && !self.guarded {
            self.block(object(), BlockReason::Unguarded);
            return false;
        }
        if let Some(holder) = self.addresses().holder(address, &wanted.name).cloned() {
            self.wait(&wanted.name, WaitReason::Address { address, holder });
            return false;
        }
        true
    }

    /// Lets an instance go whose nodes go on in others: its addresses close once these can take them, no more at once than
    /// may be unavailable, and its connections have some time.
    pub(super) fn dissolve(&mut self, name: &InstanceName, seen: &Instance) {
        let (closing, staying): (Vec<SocketAddr>, Vec<SocketAddr>) =
            seen.listeners().partition(|address| self.may_give_up(name, *address, true));
        if !staying.is_empty() {
            self.wait(name, WaitReason::Successors);
        }
        match (self.parting(name), seen.control.present()) {
            (Parting::Wait(connections), _) => self.wait(name, WaitReason::Draining { connections }),
            (Parting::Go, _) if staying.is_empty() => {
                let held = self.wish.mandate.hold(&Object::Instance(name.clone()));
                self.remove(name, Action::DissolveInstance, held);
            }
            (_, Some(control)) if !closing.is_empty() => {
                let changes = vec![without(control, &closing)];
                self.step(Object::Instance(name.clone()), Cause::Change, Action::SetOptions { changes });
            }
            _ => {}
        }
    }

    /// Of what is to be set, what closes ports and opens none: all of them, or those that go to other instances.
    pub(super) fn closing(
        &mut self,
        wanted: &desired::Instance,
        control: &Control,
        changes: &[OptionChange],
    ) -> Option<OptionChange> {
        let ports = changes.iter().find(|change| change.name == options::SOCKS_PORT)?;
        if ports.closes_socks() {
            return Some(ports.clone());
        }
        let stays = |address: &SocketAddr| ports.to.iter().any(|port| options::is_at(port, *address));
        let handed_on: Vec<SocketAddr> = control
            .socks_listeners
            .iter()
            .filter(|address| !stays(address) && self.addresses().has_heir(**address, &wanted.name))
            .copied()
            .collect();
        (!handed_on.is_empty()).then(|| without(control, &handed_on))
    }

    /// Whether an address is nobody's any more and its instance has what it wants instead, or may go to the instance
    /// that is to have it.
    fn may_give_up(&mut self, name: &InstanceName, address: SocketAddr, all_open: bool) -> bool {
        let heirs: Vec<_> = self.addresses().heirs(address, name).collect();
        match heirs.iter().find(|heir| self.can_take(heir)) {
            None => heirs.is_empty() && all_open,
            Some(heir) => self.budget(&heir.pool).take(1),
        }
    }

    /// Whether an instance could serve at once at an address that it is given.
    fn can_take(&self, heir: &desired::Instance) -> bool {
        let control = self.observed.instances.get(&heir.name).and_then(|seen| seen.control.present());
        control.is_some_and(|control| control.can_serve())
    }

    fn addresses(&mut self) -> &Addresses<'a> {
        let (observed, wanted) = (&self.observed.instances, self.wanted);
        self.addresses.get_or_insert_with(|| Addresses::new(observed, wanted))
    }

    /// The nodes that an observed instance was left serving, or the one that it is named after.
    fn served(&self, name: &InstanceName) -> Vec<NodeName> {
        let left: Vec<NodeName> = self.wish.applied.nodes(name).cloned().collect();
        if left.is_empty() { vec![name.first_node().clone()] } else { left }
    }

    /// Counts the nodes of an observed instance that nobody wants any more: the others go on elsewhere.
    pub(super) fn lost(&self, name: &InstanceName) -> usize {
        let is_wanted = |node: &NodeName| self.wish.desired.has(node);
        self.served(name).iter().filter(|node| !is_wanted(node)).count()
    }

    /// Counts the nodes that exist.
    pub(super) fn existing(&self) -> usize {
        self.observed.instances.keys().map(|name| self.served(name).len()).sum()
    }
}

/// The change that closes some of the ports of an instance.
fn without(control: &Control, addresses: &[SocketAddr]) -> OptionChange {
    let from = control.options.values(options::SOCKS_PORT).to_vec();
    let goes = |port: &&String| addresses.iter().any(|address| options::is_at(port, *address));
    let left: Vec<String> = from.iter().filter(|port| !goes(port)).cloned().collect();
    let to = if left.is_empty() { vec![options::CLOSED.to_owned()] } else { left };
    OptionChange { name: options::SOCKS_PORT.to_owned(), from, to }
}

/// The option for an address that an instance keeps for now, as it runs.
fn kept(control: &Control, address: SocketAddr) -> String {
    let ports = control.options.values(options::SOCKS_PORT);
    let running = ports.iter().find(|port| options::is_at(port, address));
    running.cloned().unwrap_or_else(|| address.to_string())
}
