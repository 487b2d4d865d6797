//! A file as a source: its revision is the digest of its content.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Candidate, MAX_BYTES, SourceError};
use crate::desired::Revision;

/// Reads the file.
pub fn candidate(path: &Path) -> Result<Candidate, SourceError> {
    let refuse = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SourceError::Missing { path: path.to_owned() },
        _ => SourceError::Unreadable { path: path.to_owned(), source },
    };
    // Opening a pipe would wait for its writer.
    if !path.metadata().map_err(refuse)?.is_file() {
        return Err(SourceError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(refuse)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(SourceError::TooLarge { path: path.to_owned() });
    }
    let revision = Revision::of_file(&Sha256::digest(&bytes).into());
    Ok(Candidate { revision, bytes, file: path.display().to_string(), verdict: None })
}
