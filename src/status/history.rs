//! How the nodes were over the last hours: a bounded ring of samples, made from one status after another.
//!
//! A column is a few minutes of all nodes, three bytes a node. Columns before the newest never change, and are shared
//! by all statuses. It lives in memory alone, and begins anew with the daemon.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::NodeStatus;
use crate::desired::{NodeName, PoolName};

/// How many columns are kept: four hours.
pub const KEPT: usize = 48;
/// How long a column is, in seconds.
pub const COLUMN_SECONDS: i64 = 300;
/// The latency of a node whose latency is not known; longer ones are cut down to the one below.
const NOT_KNOWN: u16 = u16::MAX;

/// The columns, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History(VecDeque<Arc<Column>>);

/// A few minutes of all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    /// How many columns since 1970 came before it.
    slot: i64,
    /// Whose samples these are, in the order of the file; the same value in most columns.
    nodes: Arc<[NodeName]>,
    /// The latest latency of each node, in milliseconds.
    latencies: Box<[u16]>,
    /// How often each node has rotated.
    rotations: Box<[u8]>,
}

/// A node or a pool over the last hours, a value a column, the newest last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The latency in milliseconds; of a pool the median of its nodes. `None` where nobody knows.
    pub latencies: [Option<u16>; KEPT],
    /// How often it has rotated; of a pool the sum.
    pub rotations: [u32; KEPT],
}

impl History {
    /// The history with what is known now; `before` has the nodes as they were when it was made.
    pub(super) fn after(&self, before: &[NodeStatus], nodes: &[NodeStatus], now: Timestamp) -> Self {
        let mut columns = self.0.clone();
        let (slot, newest) = (slot(now), columns.back().cloned());
        let column = Column::of(slot, before, nodes, newest.as_deref());
        match columns.back_mut().filter(|newest| newest.slot >= slot) {
            Some(newest) if **newest == column => {}
            Some(newest) => *newest = Arc::new(column),
            None => columns.push_back(Arc::new(column)),
        }
        columns.drain(..columns.len().saturating_sub(KEPT));
        Self(columns)
    }

    /// A node over the last hours before `now`.
    pub fn of_node(&self, node: &NodeName, now: Timestamp) -> Series {
        self.series(now, |it| it == node)
    }

    /// A pool over the last hours before `now`.
    pub fn of_pool(&self, pool: &PoolName, now: Timestamp) -> Series {
        self.series(now, |it| it.pool() == pool)
    }

    fn series(&self, now: Timestamp, of: impl Fn(&NodeName) -> bool) -> Series {
        let mut series = Series { latencies: [None; KEPT], rotations: [0; KEPT] };
        let mut known: Option<(&Arc<[NodeName]>, Vec<usize>)> = None;
        for column in &self.0 {
            let age = usize::try_from(slot(now) - column.slot).ok();
            let Some(at) = age.and_then(|age| (KEPT - 1).checked_sub(age)) else { continue };
            let places = match known.take().filter(|(nodes, _)| Arc::ptr_eq(nodes, &column.nodes)) {
                Some((_, places)) => places,
                None => (0..column.nodes.len()).filter(|place| of(&column.nodes[*place])).collect(),
            };
            series.latencies[at] = median(places.iter().map(|place| column.latencies[*place]));
            series.rotations[at] = places.iter().map(|place| u32::from(column.rotations[*place])).sum();
            known = Some((&column.nodes, places));
        }
        series
    }
}

impl Column {
    /// A column with what is known now, which goes on with the newest one where that is of the same minutes.
    fn of(slot: i64, before: &[NodeStatus], nodes: &[NodeStatus], newest: Option<&Self>) -> Self {
        let same_nodes = newest.filter(|newest| newest.nodes.iter().eq(nodes.iter().map(|node| &node.name)));
        let names = same_nodes
            .map_or_else(|| nodes.iter().map(|node| node.name.clone()).collect(), |newest| Arc::clone(&newest.nodes));
        let begun = newest.filter(|newest| newest.slot >= slot);
        let begun: HashMap<&NodeName, (u16, u8)> = begun.map(Self::samples).unwrap_or_default();
        let earlier: HashMap<&NodeName, u64> = before.iter().map(|node| (&node.name, node.rotations)).collect();
        let sample = |node: &NodeStatus| {
            let (latency, rotated) = begun.get(&node.name).copied().unwrap_or((NOT_KNOWN, 0));
            let more = earlier.get(&node.name).map_or(0, |earlier| node.rotations.saturating_sub(*earlier));
            let latency =
                node.latency_ms.map_or(latency, |it| u16::try_from(it).unwrap_or(NOT_KNOWN).min(NOT_KNOWN - 1));
            (latency, rotated.saturating_add(u8::try_from(more).unwrap_or(u8::MAX)))
        };
        let (latencies, rotations): (Vec<u16>, Vec<u8>) = nodes.iter().map(sample).unzip();
        let slot = newest.map_or(slot, |newest| newest.slot.max(slot));
        Self { slot, nodes: names, latencies: latencies.into(), rotations: rotations.into() }
    }

    fn samples(&self) -> HashMap<&NodeName, (u16, u8)> {
        let samples = self.latencies.iter().copied().zip(self.rotations.iter().copied());
        self.nodes.iter().zip(samples).collect()
    }
}

fn slot(at: Timestamp) -> i64 {
    at.as_second().div_euclid(COLUMN_SECONDS)
}

/// The median of what is known, the upper one of two.
fn median(latencies: impl Iterator<Item = u16>) -> Option<u16> {
    let mut known: Vec<u16> = latencies.filter(|latency| *latency != NOT_KNOWN).collect();
    known.sort_unstable();
    known.get(known.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::status::tests::world::{World, noon};

    fn nodes(latencies: &[(u32, u64)]) -> Vec<NodeStatus> {
        let mut nodes = World::healthy(u16::try_from(latencies.len()).unwrap()).status().nodes;
        for (node, (latency, rotations)) in nodes.iter_mut().zip(latencies) {
            (node.latency_ms, node.rotations) = (Some(*latency).filter(|it| *it > 0), *rotations);
        }
        nodes
    }

    fn at(minutes: i64) -> Timestamp {
        noon() + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn a_column_has_the_latest_latency_and_all_rotations_of_its_minutes() {
        let first = nodes(&[(100, 7), (90_000, 0), (0, 0)]);
        let then = nodes(&[(120, 9), (0, 0), (0, 1)]);
        let history = History::default().after(&[], &first, at(0)).after(&first, &then, at(2));
        let eu_0 = history.of_node(&then[0].name, at(4));
        assert_eq!(
            (eu_0.latencies[KEPT - 1], eu_0.rotations[KEPT - 1]),
            (Some(120), 2),
            "what was before is not counted"
        );
        assert_eq!(history.of_node(&then[1].name, at(4)).latencies[KEPT - 1], Some(u16::MAX - 1));
        let pool = history.of_pool(&then[0].pool, at(4));
        assert_eq!(pool.latencies[KEPT - 1], Some(u16::MAX - 1), "the upper median of two");
        assert_eq!((history.of_pool(&then[2].pool, at(4)).latencies[KEPT - 1], pool.rotations[KEPT - 1]), (None, 2));
        assert_eq!(history.of_node(&then[0].name, at(5)).latencies[KEPT - 2..], [Some(120), None], "time goes on");
    }

    #[test]
    fn only_the_last_hours_are_kept_and_a_pause_is_a_gap() {
        let mut history = History::default();
        for minutes in (0..600).step_by(5) {
            let now = nodes(&[(u32::try_from(minutes).unwrap() + 1, 0)]);
            history = history.after(&now, &now, at(minutes));
        }
        assert_eq!(history.0.len(), KEPT);
        let name = &nodes(&[(1, 0)])[0].name;
        let series = history.of_node(name, at(599));
        assert_eq!((series.latencies[0], series.latencies[KEPT - 1]), (Some(361), Some(596)));
        let now = nodes(&[(5, 0)]);
        let later = history.after(&now, &now, at(620));
        assert_eq!(later.of_node(name, at(620)).latencies[KEPT - 6..], [Some(596), None, None, None, None, Some(5)]);
        assert_eq!(later.of_node(name, at(6_000)).latencies, [None; KEPT]);
    }

    #[test]
    fn nodes_keep_their_samples_when_others_come_and_go_and_share_their_names() {
        let few = nodes(&[(10, 0), (20, 0), (30, 0)]);
        let more = nodes(&[(10, 0), (20, 0), (25, 0), (0, 0), (40, 0), (50, 0)]);
        let history = History::default().after(&[], &few, at(0)).after(&few, &more, at(5)).after(&more, &more, at(10));
        let us_0 = few.iter().find(|node| node.name.to_string() == "us-0").unwrap();
        assert_eq!(history.of_node(&us_0.name, at(10)).latencies[KEPT - 3..], [Some(30), Some(40), Some(40)]);
        assert!(Arc::ptr_eq(&history.0[1].nodes, &history.0[2].nodes) && history.0[0].nodes.len() == 3);
        let unchanged = history.after(&more, &more, at(11));
        assert!(Arc::ptr_eq(&history.0[2], &unchanged.0[2]), "nothing new makes nothing new");
    }

    /// The clock of a host is set back now and then.
    #[test]
    fn a_clock_that_goes_back_neither_ends_nor_reorders_it() {
        let now = nodes(&[(10, 0)]);
        let history = History::default().after(&now, &now, at(60)).after(&now, &nodes(&[(11, 0)]), at(0));
        assert_eq!((history.0.len(), &*history.0[0].latencies), (1, &[11][..]));
    }
}
