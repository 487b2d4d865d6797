//! The nodes of a pool, and how they are shared out among tor processes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Access, Country, ExitPolicy, InstanceName, NodeName, Pool, PoolName};

/// One SOCKS endpoint of a pool; what a consumer connects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// `<pool>-<index>`.
    pub name: NodeName,
    /// Where it listens.
    pub socks: SocketAddr,
}

/// One tor process as desired: the nodes it serves and the policy they share, as all instances of a pool do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WishedInstance")]
pub struct Instance {
    /// The name of its first node.
    pub name: InstanceName,
    /// The pool it belongs to.
    pub pool: PoolName,
    /// The nodes it serves; never empty.
    pub nodes: Vec<Node>,
    /// The countries its exits may stand in; empty means any.
    pub countries: Arc<BTreeSet<Country>>,
    /// Which exits its nodes may use, beyond their country.
    pub exits: Arc<ExitPolicy>,
    /// Extra torrc options, by name.
    pub torrc: Arc<BTreeMap<String, Vec<String>>>,
    /// Who may use its SOCKS ports, as tor's own second layer; `None` when the list is too long for it.
    #[schemars(with = "Option<BTreeSet<String>>")]
    pub socks_allow: Option<Arc<BTreeSet<IpNet>>>,
}

/// The longest whitelist that is repeated inside tor: beyond it a policy slows every connection and gains nothing.
pub const MAX_SOCKS_POLICY_ENTRIES: usize = 256;

impl Pool {
    /// Lists the pool's nodes, by index.
    pub fn nodes(&self) -> Vec<Node> {
        (0..self.size)
            .map(|index| Node {
                name: NodeName::of(&self.name, index),
                socks: SocketAddr::new(self.listen, self.socks_port + index),
            })
            .collect()
    }

    /// Whether an instance of the pool begins with the node of this index.
    pub fn has_instance_at(&self, index: u16) -> bool {
        index < self.size && index.is_multiple_of(self.nodes_per_instance.get())
    }

    /// Groups the pool's nodes into instances of `nodes_per_instance`, in the order of their indexes.
    pub(super) fn instances(&self, access: &Access) -> Vec<Instance> {
        let socks_allow = (access.socks.len() <= MAX_SOCKS_POLICY_ENTRIES).then_some(&access.socks);
        let instance = |nodes: &[Node]| Instance {
            name: InstanceName::from_first_node(&nodes[0].name),
            pool: self.name.clone(),
            nodes: nodes.to_vec(),
            countries: self.countries.clone(),
            exits: self.exits.clone(),
            torrc: self.torrc.clone(),
            socks_allow: socks_allow.cloned(),
        };
        self.nodes().chunks(usize::from(self.nodes_per_instance.get())).map(instance).collect()
    }
}
