//! Telling the status again and again, and reading what is told: a line for each that is another one.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::asking::asked;
use super::{FILE, Report, SocketError, Verb};
use crate::daemon::StatusReceiver;
use crate::status::{Status, page};

/// Tells a peer what is published, until it goes away or the daemon ends. Who reads slowly misses what came between.
pub(super) async fn tell(mut stream: UnixStream, mut status: StatusReceiver) {
    status.mark_changed();
    let mut told = Vec::new();
    while status.changed().await.is_ok() {
        let report = report(&status.borrow_and_update());
        let Ok(mut line) = serde_json::to_vec(&report) else { return };
        line.push(b'\n');
        // A pass that begins and one that finds nothing publish what was there before.
        if line == told {
            continue;
        }
        if stream.write_all(&line).await.is_err() {
            return;
        }
        told = line;
    }
}

fn report(status: &Status) -> Report {
    Report { headline: page::headline(status), ..Report::of(status) }
}

/// What a daemon tells, one report after another.
#[derive(Debug)]
pub struct Watching {
    lines: BufReader<UnixStream>,
    path: PathBuf,
}

impl Watching {
    /// Begins to watch the daemon of a runtime directory.
    pub async fn begin(runtime_dir: &Path) -> Result<Self, SocketError> {
        let lines = BufReader::new(asked(runtime_dir, Verb::Watch).await?);
        Ok(Self { lines, path: runtime_dir.join(FILE) })
    }

    /// Waits for the next report; an error where the daemon has ended, or does not understand.
    pub async fn next(&mut self) -> Result<Report, SocketError> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).await;
        let report = read.ok().and_then(|_| serde_json::from_str(&line).ok());
        report.ok_or_else(|| SocketError::Silent { path: self.path.clone() })
    }
}
