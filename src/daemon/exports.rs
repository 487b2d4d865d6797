//! Writes downloads into the audit trail.

use std::sync::Arc;

use crate::audit::{Audit, DOWNLOADED, Record, Who};
use crate::export::{Download, Ledger};

/// The audit trail, as the place where downloads are written down.
#[derive(Debug)]
pub struct Trail(pub Arc<Audit>);

impl Ledger for Trail {
    fn record(&self, download: Download) {
        let Download { at, revision, token, grant, address, format, pools, nodes } = download;
        let pools: Vec<String> = pools.iter().map(ToString::to_string).collect();
        let record = Record {
            at,
            revision,
            object: format!("grant {grant}"),
            action: format!("a list of {nodes} nodes of {} was downloaded as {}", pools.join(", "), format.word()),
            cause: DOWNLOADED.to_owned(),
            result: "done".to_owned(),
        };
        self.0.append_of(record, Who { token: Some(token), address: Some(address), ..Who::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::ExportFormat;

    #[tokio::test]
    async fn a_download_is_a_row_that_says_who_had_what() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Arc::new(Audit::open(&directory.path().join("audit.sqlite")).unwrap());
        Trail(Arc::clone(&audit)).record(Download {
            at: jiff::Timestamp::now(),
            revision: None,
            token: "0f0f".to_owned(),
            grant: "crawler".to_owned(),
            address: "203.0.113.9".parse().unwrap(),
            format: ExportFormat::Csv,
            pools: vec!["eu".parse().unwrap(), "us".parse().unwrap()],
            nodes: 12,
        });
        let entry = audit.list(1).await.unwrap().remove(0);
        let record = entry.record;
        assert_eq!(record.object, "grant crawler");
        assert_eq!(record.action, "a list of 12 nodes of eu, us was downloaded as csv");
        assert_eq!(entry.token.as_deref(), Some("0f0f"));
        assert_eq!(entry.address.as_deref(), Some("203.0.113.9"));
        assert!(!record.cause.contains("203.0.113.9"), "it could not be erased there");
    }
}
