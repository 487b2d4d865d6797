//! What each object was left as, the last time it was as wished: the only memory of the planner.
//!
//! It decides nothing but words: whether a difference is a change (desired moved) or drift (the world moved).
//! Losing it makes the next differences changes, and nothing else. No secret is kept: only its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::{self, InstanceName, NodeName};
use crate::firewall::model::Guard;
use crate::tor::options::digest::without_secrets;

use super::step::{Cause, Object};
use super::{Block, BlockReason, Plan, decide::Wish};

/// The wishes that were fulfilled last, by object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Applied {
    /// The wish of each instance.
    instances: BTreeMap<InstanceName, desired::Instance>,
    /// The guard that was wished.
    guard: Option<Guard>,
    /// The instances that were left closed because no exit fits.
    without_exits: BTreeSet<InstanceName>,
}

impl Applied {
    /// Why an instance differs from its wish.
    pub fn cause(&self, wanted: &desired::Instance) -> Cause {
        let left = self.instances.get(&wanted.name);
        if left == Some(&without_secrets(wanted.clone())) { Cause::Drift } else { Cause::Change }
    }

    /// Why an instance that nobody wants is there.
    pub fn cause_of_removal(&self, name: &InstanceName) -> Cause {
        if self.knows(name) { Cause::Change } else { Cause::Drift }
    }

    /// Why the guard differs from its wish.
    pub fn cause_of_guard(&self, wanted: &Guard) -> Cause {
        if self.guard.as_ref() == Some(wanted) { Cause::Drift } else { Cause::Change }
    }

    /// Says that the guard is on trial: what was left before it counts until it is kept.
    pub fn leave_guard(&mut self, guard: Option<Guard>) {
        self.guard = guard;
    }

    /// The guard that was left in place last.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// Whether an instance was ever as wished, and has not been removed since.
    pub fn knows(&self, name: &InstanceName) -> bool {
        self.instances.contains_key(name)
    }

    /// The nodes that an instance was left serving.
    pub fn nodes(&self, name: &InstanceName) -> impl Iterator<Item = &NodeName> {
        self.instances.get(name).into_iter().flat_map(|instance| instance.nodes.iter().map(|node| &node.name))
    }

    /// Whether a node was ever served by an instance that is still remembered.
    pub fn serves(&self, node: &NodeName) -> bool {
        self.instances.values().flat_map(|instance| &instance.nodes).any(|served| &served.name == node)
    }

    /// Whether an instance was left closed because no exit fits.
    pub fn lacked_exits(&self, name: &InstanceName) -> bool {
        self.without_exits.contains(name)
    }

    /// The addresses on which an instance was left listening.
    pub fn listeners(&self, name: &InstanceName) -> impl Iterator<Item = SocketAddr> {
        self.instances.get(name).into_iter().flat_map(|instance| instance.nodes.iter().map(|node| node.socks))
    }

    /// Remembers the objects that need nothing more, and forgets those that are gone; `left` is the plan that
    /// verifying found. Says whether anything is new.
    pub fn settle(&mut self, wish: &Wish<'_>, left: &Plan) -> bool {
        let open = left.objects();
        let mut is_new = false;
        let mut settled = BTreeMap::new();
        let wanted: Vec<desired::Instance> = wish.desired.instances().into_iter().map(without_secrets).collect();
        for wanted in &wanted {
            let is_open = open.contains(&Object::Instance(wanted.name.clone()));
            let known = self.instances.remove(&wanted.name);
            is_new |= !is_open && known.as_ref() != Some(wanted);
            // Where both are the same, the wish's own is kept: it shares its policy with the others of its pool.
            let left_as = if is_open { known } else { Some(wanted.clone()) };
            settled.extend(left_as.map(|instance| (instance.name.clone(), instance)));
        }
        // The nodes of an instance that is gone are known until those that serve them now are settled.
        let unsettled = |node: &desired::Node| {
            let at_work = |wanted: &&desired::Instance| open.contains(&Object::Instance(wanted.name.clone()));
            wanted.iter().filter(at_work).any(|instance| instance.nodes.iter().any(|served| served.name == node.name))
        };
        for (name, unwanted) in std::mem::take(&mut self.instances) {
            if open.contains(&Object::Instance(name.clone())) || unwanted.nodes.iter().any(unsettled) {
                settled.insert(name, unwanted);
            } else {
                is_new = true;
            }
        }
        self.instances = settled;
        let guard = if open.contains(&Object::Guard) { self.guard.clone() } else { wish.guard() };
        is_new |= guard != self.guard;
        self.guard = guard;
        let without_exits = without_exits(left);
        is_new |= without_exits != self.without_exits;
        self.without_exits = without_exits;
        is_new
    }
}

/// The instances that a plan leaves closed because no exit fits.
fn without_exits(left: &Plan) -> BTreeSet<InstanceName> {
    let name = |block: &Block| match (&block.object, &block.reason) {
        (Object::Instance(name), BlockReason::NoExits { .. } | BlockReason::TooFewExits { .. }) => Some(name.clone()),
        _ => None,
    };
    left.blocked.iter().filter_map(name).collect()
}
