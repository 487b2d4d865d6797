//! The JSON Schemas of the documents, and the closed lists of words in them.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{DriftDocument, EventsDocument, NodesDocument, StatusDocument};
use crate::export::wire::{ListDocument, ProblemDocument};
use crate::status::{ConditionStatus, ConditionType, NodeState, Reason, Severity, Warning};

/// The schemas of the documents, by the names of their committed files.
pub fn schemas() -> [(&'static str, Schema); 6] {
    // What is written always has every field, so every field is required.
    fn of<T: JsonSchema>() -> Schema {
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
    }
    [
        ("status.v1.schema.json", of::<StatusDocument>()),
        ("nodes.v1.schema.json", of::<NodesDocument>()),
        ("drift.v1.schema.json", of::<DriftDocument>()),
        ("events.v1.schema.json", of::<EventsDocument>()),
        ("export.v1.schema.json", of::<ListDocument>()),
        ("problem.v1.schema.json", of::<ProblemDocument>()),
    ]
}

pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> Schema {
    let words: Vec<&str> = words.collect();
    json_schema!({"type": "string", "enum": words})
}

pub(super) fn condition_types(_: &mut SchemaGenerator) -> Schema {
    words(ConditionType::ALL.iter().map(|kind| kind.as_str()))
}

pub(super) fn condition_statuses(_: &mut SchemaGenerator) -> Schema {
    words(ConditionStatus::ALL.iter().map(|status| status.as_str()))
}

pub(super) fn reasons(_: &mut SchemaGenerator) -> Schema {
    words(Reason::ALL.iter().map(|reason| reason.as_str()))
}

pub(super) fn warnings(_: &mut SchemaGenerator) -> Schema {
    words(Warning::REASONS.iter().map(|reason| reason.as_str()))
}

pub(super) fn node_states(_: &mut SchemaGenerator) -> Schema {
    words(NodeState::ALL.iter().map(|state| state.as_str()))
}

pub(super) fn severities(_: &mut SchemaGenerator) -> Schema {
    words(Severity::ALL.iter().map(|severity| severity.as_str()))
}
