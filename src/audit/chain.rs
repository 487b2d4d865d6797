//! The chain of hashes: each row's covers the row before it.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What comes before the first row.
pub const BEGINNING: Hash = [0; 32];

/// A row as it stands in the database; this is what the hash is made over, so that no reading and writing of a
/// timestamp can change it. The order of the fields is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its place, counted from one.
    pub row: i64,
    /// When, as RFC 3339.
    pub at: String,
    /// The revision, or null.
    pub revision: Option<String>,
    /// What it was done to.
    pub object: String,
    /// The step's sentence.
    pub action: String,
    /// Why.
    pub cause: String,
    /// What came of it.
    pub result: String,
}

/// The hash of a row: SHA-256 over the hash before it and the row as compact JSON.
pub fn link(previous: &Hash, row: &Row) -> serde_json::Result<Hash> {
    let mut digest = Sha256::new();
    digest.update(previous);
    digest.update(serde_json::to_vec(row)?);
    Ok(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::names::hex;

    #[test]
    fn the_format_stays() {
        let row = Row {
            row: 1,
            at: "2026-11-24T08:00:00Z".to_owned(),
            revision: None,
            object: "node eu-0".to_owned(),
            action: "+ node eu-0: will be created".to_owned(),
            cause: "change".to_owned(),
            result: "done".to_owned(),
        };
        // printf with 32 zero bytes and the JSON, piped into sha256sum.
        let json = r#"{"row":1,"at":"2026-11-24T08:00:00Z","revision":null,"object":"node eu-0","action":"+ node eu-0: will be created","cause":"change","result":"done"}"#;
        assert_eq!(serde_json::to_string(&row).unwrap(), json);
        assert_eq!(
            hex(&link(&BEGINNING, &row).unwrap()),
            "3b47451cd53df12a2cc89f4efc77e7a9676631860334c636074ad52cc62ac1c8"
        );
    }
}
