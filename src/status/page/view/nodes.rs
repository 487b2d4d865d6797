//! Pools and nodes, as the page shows them: shapes in a grid, and words in a table.

use serde::Serialize;

use super::spark;
use crate::observe::GuardRelay;
use crate::status::describe::count;
use crate::status::history::Series;
use crate::status::page::Visit;
use crate::status::page::asked::{Asked, ROWS};
use crate::status::page::text::listed;
use crate::status::{NodeState, NodeStatus, PoolStatus, Status};

/// So many nodes are shown as shapes on a page, and so many pools with what they were like.
const SHAPES: usize = 1_500;
const POOLS_DRAWN: usize = 60;
/// So many shapes stand beside the name of their pool; more of them stand below it.
const SHAPES_BESIDE: usize = 120;
/// With more than these, a shape says its node's name alone.
const SHAPES_WITH_WORDS: usize = 300;

/// A state, how it looks, and how many nodes are in it.
#[derive(Debug, Serialize)]
pub(super) struct Legend {
    class: &'static str,
    word: &'static str,
    count: usize,
}

/// The pools that the page shows.
#[derive(Debug, Serialize)]
pub(super) struct Pools {
    legend: Vec<Legend>,
    shown: Vec<PoolView>,
    /// How many more there are.
    more: usize,
    none: &'static str,
}

/// A pool, with a cell for each node.
#[derive(Debug, Serialize)]
struct PoolView {
    name: String,
    link: String,
    desired: usize,
    ready: usize,
    countries: String,
    summary: String,
    /// Whether its grid needs the whole width.
    many: bool,
    cells: Vec<Cell>,
    latency: String,
    latency_line: String,
    rotations: u32,
    rotation_bars: String,
}

#[derive(Debug, Serialize)]
struct Cell {
    class: &'static str,
    title: String,
}

/// The table of nodes, or a part of it.
#[derive(Debug, Serialize)]
pub(super) struct Nodes {
    rows: Vec<NodeView>,
    /// Which of how many, where these are not all.
    part: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

/// A row of the table of nodes.
#[derive(Debug, Serialize)]
struct NodeView {
    name: String,
    socks: String,
    class: &'static str,
    state: &'static str,
    exit: String,
    country: String,
    latency: String,
    line: String,
    rotations: u64,
    restarts: u64,
    /// By which guard relays it enters Tor: what is shown of each, and its fingerprint.
    relays: Vec<(String, String)>,
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

/// Whether a pool is on the page that is asked for.
fn is_asked(asked: &Asked, pool: &crate::desired::PoolName) -> bool {
    asked.pool.as_ref().is_none_or(|asked| *asked == pool.to_string())
}

/// The nodes that are on the page.
pub(super) fn asked<'a>(status: &'a Status, visit: &Visit) -> Vec<&'a NodeStatus> {
    status.nodes.iter().filter(|node| is_asked(&visit.asked, &node.pool)).collect()
}

pub(super) fn pools(status: &Status, visit: &Visit) -> Pools {
    let nodes = asked(status, visit);
    let counted = |state| Legend {
        class: class(state),
        word: state.as_str(),
        count: nodes.iter().filter(|node| node.state == state).count(),
    };
    let pools = status.pools.iter().filter(|pool| is_asked(&visit.asked, &pool.name));
    let mut pools: Vec<&PoolStatus> = pools.collect();
    if pools.len() > POOLS_DRAWN {
        pools.sort_by_key(|pool| pool.ready == pool.desired);
    }
    let words = nodes.len() <= SHAPES_WITH_WORDS;
    let mut room = SHAPES;
    let mut shown = |pool: &&PoolStatus| {
        let nodes: Vec<&NodeStatus> = nodes.iter().copied().filter(|node| node.pool == pool.name).collect();
        let shapes = nodes.len().min(room);
        room -= shapes;
        PoolView {
            cells: nodes[..shapes].iter().map(|node| cell(node, words)).collect(),
            ..pool_view(status, visit, pool, &nodes)
        }
    };
    Pools {
        legend: NodeState::ALL
            .into_iter()
            .map(counted)
            .filter(|state| state.count > 0 || state.word == "ready")
            .collect(),
        shown: pools.iter().take(POOLS_DRAWN).map(&mut shown).collect(),
        more: pools.len().saturating_sub(POOLS_DRAWN),
        none: match status.revision {
            Some(_) => "The desired state has no pools.",
            None => "Unknown: no revision is in force.",
        },
    }
}

/// A pool without its cells.
fn pool_view(status: &Status, visit: &Visit, pool: &PoolStatus, nodes: &[&NodeStatus]) -> PoolView {
    let countries = nodes.first().map(|node| listed(&*node.countries, " ").to_uppercase()).unwrap_or_default();
    let Series { latencies, rotations } = status.history.of_pool(&pool.name, visit.now);
    let link = Asked { pool: Some(pool.name.to_string()), from: 0, ..visit.asked.clone() };
    PoolView {
        name: pool.name.to_string(),
        link: link.link(),
        desired: pool.desired,
        ready: pool.ready,
        countries: if countries.is_empty() { "any country".to_owned() } else { countries },
        summary: summary(nodes),
        many: nodes.len() > SHAPES_BESIDE,
        cells: Vec::new(),
        latency: latencies
            .iter()
            .rev()
            .find_map(|latency| *latency)
            .map_or_else(|| "not known".to_owned(), |it| format!("{it} ms")),
        latency_line: spark::line(&latencies),
        rotations: rotations.iter().sum(),
        rotation_bars: spark::bars(&rotations),
    }
}

/// Says in words what the grid of a pool shows in shapes.
fn summary(nodes: &[&NodeStatus]) -> String {
    let counts = NodeState::ALL.into_iter().filter_map(|state| {
        let count = nodes.iter().filter(|node| node.state == state).count();
        (count > 0).then(|| format!("{count} {}", state.as_str()))
    });
    counts.collect::<Vec<_>>().join(", ")
}

fn cell(node: &NodeStatus, words: bool) -> Cell {
    let NodeStatus { name, state, .. } = node;
    let title = if words { format!("{name} {}", state.as_str()) } else { name.to_string() };
    Cell { class: class(*state), title }
}

/// Lists the nodes, those that are not ready first, a page of them.
pub(super) fn nodes(status: &Status, visit: &Visit) -> Nodes {
    let mut nodes = asked(status, visit);
    nodes.sort_by_key(|node| node.state == NodeState::Ready);
    let all = nodes.len();
    let from = if visit.asked.from < all { visit.asked.from } else { 0 };
    let to = (from + ROWS).min(all);
    let link = |from: usize| Asked { from, ..visit.asked.clone() }.link();
    Nodes {
        rows: nodes[from..to].iter().map(|node| row(status, visit, node)).collect(),
        part: (to - from < all).then(|| format!("{} to {to} of {}", from + 1, count(all, "node"))),
        before: (from > 0).then(|| link(from.saturating_sub(ROWS))),
        after: (to < all).then(|| link(to)),
    }
}

fn row(status: &Status, visit: &Visit, node: &NodeStatus) -> NodeView {
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
        line: spark::short_line(&status.history.of_node(&node.name, visit.now).latencies),
        rotations: node.rotations,
        restarts: node.restarts,
        relays: node.instance.guard_relays.iter().map(relay).collect(),
        why: node.trouble().or(node.patience()).map_or_else(|| rotated(node), ToOwned::to_owned),
    }
}

/// A guard relay by its name, or where that is not known by the first digits of its fingerprint; and all of these.
fn relay(relay: &GuardRelay) -> (String, String) {
    let fingerprint = relay.fingerprint.to_string();
    let name = if relay.nickname.is_empty() { format!("{}…", &fingerprint[..8]) } else { relay.nickname.clone() };
    (name, fingerprint)
}

/// Says from where to where a node has rotated, where it has.
fn rotated(node: &NodeStatus) -> String {
    node.last_rotation.as_ref().map(|last| format!("rotated at {:.0} {last}", last.at)).unwrap_or_default()
}
