//! The JSON documents of the verbs that read the state directory, and their schemas.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::desired::Revision;
use crate::reconcile::history::{Ended, Entry};
use crate::rollout::Orders;

/// `exitpool history -o json`: the revisions that were in force.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HistoryDocument {
    /// The revisions, the one that was put in force last first.
    pub revisions: Vec<RevisionDocument>,
}

/// A revision that was in force.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RevisionDocument {
    /// The revision, `main@sha1:<40 hex>` or `file@sha256:<64 hex>`.
    pub revision: String,
    /// Whether it is in force.
    pub in_force: bool,
    /// When it was last put in force, RFC 3339.
    pub taken_up: String,
    /// Who signed it; empty where nobody asked for signatures.
    pub signers: Vec<String>,
    /// `applying`, `converged` or `superseded`.
    pub result: String,
    /// How long it took until the host matched it, in milliseconds; null where it did not.
    pub after_ms: Option<u64>,
    /// The rollback that left it; null where none did.
    pub rolled_back: Option<RollbackDocument>,
}

/// A rollback that left a revision.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RollbackDocument {
    /// The user who went back.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
}

/// `exitpool trace NODE -o json`: where a node comes from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TraceDocument {
    /// The node.
    pub node: String,
    /// The revision that made it what it is.
    pub revision: String,
    /// When that revision was put in force, RFC 3339.
    pub taken_up: String,
    /// Who signed it; empty where nobody asked for signatures.
    pub signers: Vec<String>,
    /// Whether it is known that no earlier revision said the same; false where the earlier ones are not kept.
    pub exact: bool,
}

impl RevisionDocument {
    /// Tells an entry of the history.
    pub fn of(entry: &Entry, in_force: Option<&Revision>, orders: &Orders) -> Self {
        let (result, after_ms) = match entry.result {
            Ended::Applying => ("applying", None),
            Ended::Converged { after_ms } => ("converged", Some(after_ms)),
            Ended::Superseded => ("superseded", None),
        };
        let mark = orders.bad.iter().find(|mark| mark.revision == entry.revision);
        Self {
            revision: entry.revision.to_string(),
            in_force: in_force == Some(&entry.revision),
            taken_up: format!("{:.0}", entry.taken_up),
            signers: entry.signers.clone(),
            result: result.to_owned(),
            after_ms,
            rolled_back: mark.map(|mark| RollbackDocument { by: mark.by.clone(), at: format!("{:.0}", mark.at) }),
        }
    }
}

/// The schemas of the documents, by the names of their committed files.
pub fn schemas() -> [(&'static str, Schema); 2] {
    fn of<T: JsonSchema>() -> Schema {
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
    }
    [("history.v1.schema.json", of::<HistoryDocument>()), ("trace.v1.schema.json", of::<TraceDocument>())]
}
