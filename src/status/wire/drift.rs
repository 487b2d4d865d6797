//! `/api/v1/drift`, and who changed something.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::query::DriftQuery;
use super::{ObjectDocument, rfc3339, schema};
use crate::observe::Author;
use crate::status::{DriftItem, Repair, Status};

/// `/api/v1/drift`: what is not as it was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftDocument {
    /// Whether anything is; null when a part of the host could not be observed.
    pub drifted: Option<bool>,
    /// What is drifted now.
    pub items: Vec<DriftItemDocument>,
    /// What was brought back lately, newest first.
    pub repaired: Vec<RepairDocument>,
}

/// One object that is not as it was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftItemDocument {
    /// `guard` or `instance`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is different, and what is done about it.
    pub message: String,
    /// When it was first seen.
    #[schemars(schema_with = "schema::time")]
    pub since: String,
    /// Who changed it last; null where nobody knows.
    #[serde(default)]
    pub changed_by: Option<AuthorDocument>,
    /// Where it needs the same repair over and over: how often, and when it is repaired next; null elsewhere.
    #[serde(default)]
    pub fight: Option<FightDocument>,
}

/// A repair that is needed over and over, and waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FightDocument {
    /// How often it was repaired.
    pub repairs: u32,
    /// Within how many seconds.
    pub seconds: u64,
    /// When it is repaired next.
    #[schemars(schema_with = "schema::time")]
    pub next_at: String,
}

/// A drift that was brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepairDocument {
    /// What had drifted.
    #[serde(flatten)]
    pub item: DriftItemDocument,
    /// When it was brought back.
    #[schemars(schema_with = "schema::time")]
    pub repaired_at: String,
}

/// The program that changed something, as the kernel told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorDocument {
    /// Its name: that of the tool which spoke to the kernel, as `nft`.
    pub name: Option<String>,
    /// Its process id then; the process may have ended since.
    pub pid: Option<u32>,
    /// When that was heard of.
    #[schemars(schema_with = "schema::time")]
    pub at: String,
}

impl From<&Status> for DriftDocument {
    fn from(status: &Status) -> Self {
        Self::of(status, &DriftQuery::default())
    }
}

impl From<&DriftItem> for DriftItemDocument {
    fn from(item: &DriftItem) -> Self {
        let object = ObjectDocument::from(&item.object);
        Self {
            kind: object.kind,
            name: object.name,
            message: item.sentence.clone(),
            since: rfc3339(item.since),
            changed_by: item.author.as_ref().map(AuthorDocument::from),
            fight: item.fight.as_ref().map(|fight| FightDocument {
                repairs: fight.repairs,
                seconds: fight.over.as_secs(),
                next_at: rfc3339(fight.next_at),
            }),
        }
    }
}

impl From<&Author> for AuthorDocument {
    fn from(author: &Author) -> Self {
        Self { name: author.name.clone(), pid: author.pid, at: rfc3339(author.at) }
    }
}

impl From<&Repair> for RepairDocument {
    fn from(repair: &Repair) -> Self {
        Self { item: DriftItemDocument::from(&repair.item), repaired_at: rfc3339(repair.at) }
    }
}
