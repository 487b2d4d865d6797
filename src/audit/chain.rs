//! The chain of hashes: each row's covers the row before it.
//!
//! A row has no address in it but a commitment: SHA-256 over a random salt and the address, which both stand beside the
//! row, in its opening. So an address can be erased, and every row still has the hash that it was given.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::desired::names::hex;

/// A SHA-256.
pub type Hash = [u8; 32];

/// What comes before the first row.
pub const BEGINNING: Hash = [0; 32];

/// How many random bytes hide an address.
pub const SALT_BYTES: usize = 16;

/// Goes before what is hashed for a commitment, so that it is the hash of nothing else.
const COMMITMENT: &str = "exitpool audit address\n";

/// A row as it stands in the database; this is what the hash is made over, so that no reading and writing of a
/// timestamp can change it. The order of the fields is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Who signed the revision, with commas between them, or null.
    pub signers: Option<String>,
    /// The user at the other end of the socket, or null.
    pub uid: Option<u32>,
    /// The id of the token that was used, or null.
    pub token: Option<String>,
    /// The commitment to the address, in hexadecimal digits, or null.
    pub address: Option<String>,
    /// The rows whose addresses this one says are erased, as [`ranges`] writes them, or null.
    pub erased: Option<String>,
}

/// An address with the salt that hides it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// Random bytes, in hexadecimal digits: without them nobody can try all addresses.
    pub salt: String,
    /// The address, or the network that it was cut down to.
    pub address: String,
}

/// The hash of a row: SHA-256 over the hash before it and the row as compact JSON.
pub fn link(previous: &Hash, row: &Row) -> serde_json::Result<Hash> {
    let mut digest = Sha256::new();
    digest.update(previous);
    digest.update(serde_json::to_vec(row)?);
    Ok(digest.finalize().into())
}

impl Opening {
    /// Hides an address.
    pub fn with(salt: &[u8; SALT_BYTES], address: String) -> Self {
        Self { salt: hex(salt), address }
    }

    /// What stands in the row.
    pub fn commitment(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(COMMITMENT);
        digest.update(&self.salt);
        digest.update("\n");
        digest.update(&self.address);
        hex(&digest.finalize())
    }
}

/// Writes rows as `3-5, 9`.
pub fn ranges(rows: &BTreeSet<i64>) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *row => *last = *row,
            _ => ranges.push((*row, *row)),
        }
    }
    let write = |(first, last): &(i64, i64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(write).collect::<Vec<_>>().join(", ")
}

/// Reads what [`ranges`] has written.
pub fn read_ranges(text: &str) -> Option<Vec<(i64, i64)>> {
    let read = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.split(", ").map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_stays() {
        let opening = Opening::with(&[7; SALT_BYTES], "203.0.113.9".to_owned());
        let row = Row {
            row: 1,
            at: "2026-11-24T08:00:00Z".to_owned(),
            revision: None,
            object: "node eu-0".to_owned(),
            action: "+ node eu-0: will be created".to_owned(),
            cause: "change".to_owned(),
            result: "done".to_owned(),
            signers: Some("ada@example.org".to_owned()),
            uid: Some(0),
            token: None,
            address: Some(opening.commitment()),
            erased: None,
        };
        // printf with the two lines, and with 32 zero bytes and the JSON, piped into sha256sum.
        assert_eq!(opening.commitment(), "7f3f4fe14c4b25973f1bf8ca9a40503e4c095bcd6a662ac93258973bf264987f");
        let json = r#"{"row":1,"at":"2026-11-24T08:00:00Z","revision":null,"object":"node eu-0","action":"+ node eu-0: will be created","cause":"change","result":"done","signers":"ada@example.org","uid":0,"token":null,"address":"7f3f4fe14c4b25973f1bf8ca9a40503e4c095bcd6a662ac93258973bf264987f","erased":null}"#;
        assert_eq!(serde_json::to_string(&row).unwrap(), json);
        assert_eq!(
            hex(&link(&BEGINNING, &row).unwrap()),
            "12b4a830fb42875242d78abfe02a55f7659b31ba49b8db467a217a1d33c9cdde"
        );
    }

    #[test]
    fn ranges_are_read_as_they_were_written() {
        for (rows, text) in [(vec![3, 4, 5, 9], "3-5, 9"), (vec![1], "1"), (vec![1, 3, 4], "1, 3-4")] {
            assert_eq!(ranges(&rows.into_iter().collect()), text);
        }
        assert_eq!(read_ranges("3-5, 9"), Some(vec![(3, 5), (9, 9)]));
        for bad in ["", "3-", "x", "3,5"] {
            assert_eq!(read_ranges(bad), None, "{bad}");
        }
    }
}
