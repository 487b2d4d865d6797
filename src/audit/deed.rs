//! What is written down, and what is read back.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::desired::Revision;

/// What the trail calls itself, as an object.
const TRAIL: &str = "audit trail";

/// The cause of a download.
pub const DOWNLOADED: &str = "a token was used";

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// The revision that was in force.
    pub revision: Option<Revision>,
    /// What it was done to.
    pub object: String,
    /// The step's sentence.
    pub action: String,
    /// Why it was done.
    pub cause: String,
    /// What came of it.
    pub result: String,
}

/// Who did it, or had it done; nobody but the daemon itself by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// Who signed the revision that asks for it; empty where signatures are not asked for, or the revision is no reason.
    pub signers: Vec<String>,
    /// The user at the other end of the socket.
    pub uid: Option<u32>,
    /// The id of the token that was used.
    pub token: Option<String>,
    /// From where; it is written as `audit.addresses` says. It stands in no other field: only here it can be erased.
    pub address: Option<IpAddr>,
}

/// A record with who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// What was done.
    pub record: Record,
    /// By whom.
    pub who: Who,
}

impl Deed {
    /// Something that was done to the trail itself.
    pub fn of_the_trail(action: String, cause: String) -> Self {
        let (object, result) = (TRAIL.to_owned(), "done".to_owned());
        let record = Record { at: Timestamp::now(), revision: None, object, action, cause, result };
        Self { record, who: Who::default() }
    }
}

/// A record in its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its row, counted from one.
    pub row: u64,
    /// The record.
    #[serde(flatten)]
    pub record: Record,
    /// Who signed the revision that asked for it.
    pub signers: Vec<String>,
    /// The user at the other end of the socket.
    pub uid: Option<u32>,
    /// The id of the token that was used.
    pub token: Option<String>,
    /// The address, or the network that it was cut down to; `None` where there was none, or where it was erased.
    pub address: Option<String>,
    /// Whether an address was erased.
    pub address_erased: bool,
    /// SHA-256 over the previous row's hash and this row, in hexadecimal digits.
    pub hash: String,
}

/// Which entries are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Only those from this time on.
    pub since: Option<Timestamp>,
    /// Only those about this object, as in `node eu-0`.
    pub object: Option<String>,
    /// Only those about objects of this kind: the first word of what an object is called.
    pub kind: Option<String>,
    /// At most so many, the newest.
    pub limit: usize,
}

impl Filter {
    /// The newest of all.
    pub fn newest(limit: usize) -> Self {
        Self { since: None, object: None, kind: None, limit }
    }

    /// Whether a record is wanted, its time aside.
    pub fn lets_through(&self, record: &Record) -> bool {
        let kind = record.object.split(' ').next();
        self.object.as_ref().is_none_or(|object| *object == record.object)
            && self.kind.as_deref().is_none_or(|wanted| kind == Some(wanted))
    }
}
