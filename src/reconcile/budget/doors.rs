//! Where the circuits of each instance begin, as far as that is known or can be told from its options. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::desired::{Desired, Fingerprint, Instance, InstanceName};
use crate::observe::{GuardRelay, Observed};
use crate::plan::draw::draw;
use crate::tor::options::{Entrance, entrances};

/// So many of the guard relays that its options name a tor uses at a time, at the most.
const USED_AT_A_TIME: usize = 2;

/// Where the circuits of each instance begin.
///
/// A tor that has built circuits was seen to begin them somewhere, and keeps that while it is down. Until then it is
/// what its options name: one or two guard relays are those, and of more it is counted at two that are drawn by lot.
#[derive(Debug, Clone, Default)]
pub(super) struct Doors {
    instances: BTreeMap<InstanceName, Known>,
    /// The bridges whose fingerprint was seen where the options have an address.
    bridges: BTreeMap<SocketAddr, Fingerprint>,
    nicknames: BTreeMap<Fingerprint, String>,
}

/// What is known of one instance.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    at: BTreeSet<Entrance>,
    /// Whether it was seen, and not told from its options.
    was_seen: bool,
}

impl Doors {
    /// Takes in what was seen of each instance, and what is wished of it.
    pub(super) fn follow(&mut self, desired: &Desired, observed: &Observed) {
        let wished = desired.instances();
        let named: BTreeMap<&InstanceName, Vec<Entrance>> =
            wished.iter().map(|instance| (&instance.name, entrances(&instance.torrc))).collect();
        for (name, instance) in &observed.instances {
            let relays = instance.control.present().map(|control| &control.guard_relays).filter(|it| !it.is_empty());
            if let Some(relays) = relays {
                self.learn(relays, named.get(name).map(Vec::as_slice).unwrap_or_default());
                let at = relays.iter().map(|relay| Entrance::Relay(relay.fingerprint)).collect();
                self.instances.insert(name.clone(), Known { at, was_seen: true });
            }
        }
        self.instances.retain(|name, known| known.was_seen && observed.instances.contains_key(name));
        for instance in &wished {
            self.take_from_options(instance, &named[&instance.name]);
        }
    }

    /// Where the circuits of an instance begin; nothing where that is not known.
    pub(super) fn of(&self, name: &InstanceName) -> impl Iterator<Item = Entrance> {
        self.instances.get(name).into_iter().flat_map(|known| known.at.iter().copied())
    }

    /// Whether those of an instance begin at this one.
    pub(super) fn has(&self, name: &InstanceName, door: Entrance) -> bool {
        self.instances.get(name).is_some_and(|known| known.at.contains(&door))
    }

    /// How many instances begin circuits there.
    pub(super) fn users(&self, door: Entrance) -> u32 {
        let here = self.instances.values().filter(|known| known.at.contains(&door)).count();
        u32::try_from(here).unwrap_or(u32::MAX)
    }

    /// A guard relay as people know it.
    pub(super) fn told(&self, door: Entrance) -> String {
        match door {
            Entrance::Relay(fingerprint) => {
                let nickname = self.nicknames.get(&fingerprint).cloned().unwrap_or_default();
                GuardRelay { fingerprint, nickname }.to_string()
            }
            Entrance::Bridge(address) => address.to_string(),
        }
    }

    /// Notes how relays are called, and which fingerprint a bridge has of which the options say an address alone.
    fn learn(&mut self, relays: &BTreeSet<GuardRelay>, named: &[Entrance]) {
        let names = relays.iter().map(|relay| (relay.fingerprint, relay.nickname.clone()));
        self.nicknames.extend(names.filter(|(_, nickname)| !nickname.is_empty()));
        if let ([Entrance::Bridge(address)], Some(only)) = (named, relays.first().filter(|_| relays.len() == 1)) {
            self.bridges.insert(*address, only.fingerprint);
        }
    }

    /// Counts an instance at what its options name, unless it was seen, and what was seen is still among these.
    fn take_from_options(&mut self, instance: &Instance, named: &[Entrance]) {
        let as_seen = |door: &Entrance| match door {
            Entrance::Bridge(address) => self.bridges.get(address).map_or(*door, |it| Entrance::Relay(*it)),
            Entrance::Relay(_) => *door,
        };
        let mut named: Vec<Entrance> = named.iter().map(as_seen).collect();
        let says_all = named.iter().all(|door| matches!(door, Entrance::Relay(_)));
        let is_among = |known: &Known| named.is_empty() || !says_all || known.at.iter().any(|at| named.contains(at));
        if self.instances.get(&instance.name).is_some_and(is_among) {
            return;
        }
        let lot = |door: &Entrance| draw(&[instance.name.to_string().as_bytes(), door.to_string().as_bytes()]);
        if named.len() > USED_AT_A_TIME {
            named.sort_by(|one, other| lot(one).total_cmp(&lot(other)));
            named.truncate(USED_AT_A_TIME);
        }
        self.instances.insert(instance.name.clone(), Known { at: named.into_iter().collect(), was_seen: false });
    }
}
