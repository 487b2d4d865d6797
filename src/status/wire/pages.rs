//! Documents that are cut down to what a request asks for.

use super::query::{DriftQuery, EventsQuery, NodesQuery};
use super::{
    DriftDocument, DriftItemDocument, EventDocument, EventsDocument, NodeDocument, NodesDocument, RepairDocument, known,
};
use crate::status::metrics::Endpoint;
use crate::status::{ConditionType, NodeStatus, Status};

impl NodesDocument {
    /// The nodes that are asked for, by pool and index, so that a place among them outlives every change of the file.
    pub fn of(status: &Status, query: &NodesQuery) -> Self {
        let mut nodes: Vec<&NodeStatus> = status.nodes.iter().filter(|node| query.wants(node)).collect();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        let last = query.page.cut(&mut nodes, |node| node.name.clone());
        Self {
            nodes: nodes.into_iter().map(NodeDocument::from).collect(),
            next: last.map(|last| query.page.behind(Endpoint::Nodes, &last)),
        }
    }
}

impl EventsDocument {
    /// The events that are asked for, oldest first.
    pub fn of(status: &Status, query: &EventsQuery) -> Self {
        let mut events: Vec<_> = status.events.iter().filter(|event| query.wants(event)).collect();
        let last = query.page.cut(&mut events, |event| event.id);
        Self {
            events: events.into_iter().map(|event| EventDocument::from(event.as_ref())).collect(),
            next: last.map(|last| query.page.behind(Endpoint::Events, &last)),
        }
    }
}

impl DriftDocument {
    /// The drift that is asked for; whether anything drifted is said of the whole host.
    pub fn of(status: &Status, query: &DriftQuery) -> Self {
        let (items, lately) = (status.drift.items.iter(), status.drift.lately.iter());
        Self {
            drifted: known(status.condition_status(ConditionType::Drifted)),
            items: items.filter(|item| query.wants(item.object.kind())).map(DriftItemDocument::from).collect(),
            repaired: lately
                .filter(|repair| query.wants(repair.item.object.kind()))
                .map(RepairDocument::from)
                .collect(),
        }
    }
}
