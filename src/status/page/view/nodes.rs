//! Pools and nodes, as the page shows them: shapes in a grid, and words in a table.

use serde::Serialize;

use crate::desired::NodeName;
use crate::status::page::text::listed;
use crate::status::{NodeState, NodeStatus, PoolStatus, Status};

/// A state, how it looks, and how many nodes are in it.
#[derive(Debug, Serialize)]
pub(super) struct Legend {
    class: &'static str,
    word: &'static str,
    count: usize,
}

/// A pool, with a cell for each node.
#[derive(Debug, Serialize)]
pub(super) struct PoolView {
    name: String,
    desired: usize,
    ready: usize,
    countries: String,
    summary: String,
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
pub(super) struct Cell {
    class: &'static str,
    title: String,
}

/// A row of the table of nodes.
#[derive(Debug, Serialize)]
pub(super) struct NodeView {
    name: String,
    socks: String,
    class: &'static str,
    state: &'static str,
    exit: String,
    country: String,
    latency: String,
    restarts: u64,
    why: String,
}

/// The class that gives a state its shape and its colour.
fn class(state: NodeState) -> &'static str {
    match state {
        NodeState::Ready => "r",
        NodeState::Bootstrapping => "b",
        NodeState::Pending => "p",
        NodeState::Degraded => "d",
        NodeState::Failed => "f",
        NodeState::Suspended => "s",
    }
}

pub(super) fn legend(status: &Status) -> Vec<Legend> {
    let counted = |state| Legend {
        class: class(state),
        word: state.as_str(),
        count: status.nodes.iter().filter(|node| node.state == state).count(),
    };
    NodeState::ALL.into_iter().map(counted).collect()
}

pub(super) fn pools(status: &Status) -> Vec<PoolView> {
    let pool = |pool: &PoolStatus| {
        let nodes: Vec<&NodeStatus> = status.nodes.iter().filter(|node| node.pool == pool.name).collect();
        let countries = nodes.first().map(|node| listed(&*node.countries, " ").to_uppercase()).unwrap_or_default();
        PoolView {
            name: pool.name.to_string(),
            desired: pool.desired,
            ready: pool.ready,
            countries: if countries.is_empty() { "any country".to_owned() } else { countries },
            summary: summary(&nodes),
            cells: nodes.iter().map(|node| cell(&node.name, node.state)).collect(),
        }
    };
    status.pools.iter().map(pool).collect()
}

/// Says in words what the grid of a pool shows in shapes.
fn summary(nodes: &[&NodeStatus]) -> String {
    let counts = NodeState::ALL.into_iter().filter_map(|state| {
        let count = nodes.iter().filter(|node| node.state == state).count();
        (count > 0).then(|| format!("{count} {}", state.as_str()))
    });
    counts.collect::<Vec<_>>().join(", ")
}

fn cell(name: &NodeName, state: NodeState) -> Cell {
    Cell { class: class(state), title: format!("{name} {}", state.as_str()) }
}

/// Lists the nodes: those that are not ready come first.
pub(super) fn nodes(status: &Status) -> Vec<NodeView> {
    let mut nodes: Vec<&NodeStatus> = status.nodes.iter().collect();
    nodes.sort_by_key(|node| node.state == NodeState::Ready);
    nodes.into_iter().map(node).collect()
}

fn node(node: &NodeStatus) -> NodeView {
    let exit = node.exit.as_ref();
    NodeView {
        name: node.name.to_string(),
        socks: node.socks.to_string(),
        class: class(node.state),
        state: node.state.as_str(),
        exit: exit.and_then(|exit| exit.ip).map(|ip| ip.to_string()).unwrap_or_default(),
        country: exit
            .and_then(|exit| exit.country)
            .map(|country| country.to_string().to_uppercase())
            .unwrap_or_default(),
        latency: node.latency_ms.map(|latency| latency.to_string()).unwrap_or_default(),
        restarts: node.restarts,
        why: node.trouble().map_or_else(|| rotated(node), ToOwned::to_owned),
    }
}

/// Says from where to where a node has rotated, where it has.
fn rotated(node: &NodeStatus) -> String {
    node.last_rotation.as_ref().map(|last| format!("rotated at {:.0} {last}", last.at)).unwrap_or_default()
}
