//! What the gate knows and a restart must not forget: who is locked out, what was taken of quotas, which codes were taken. A
//! small file in the state directory, written when that changes and at no other time. Whoever asks over the network has it
//! written at most once a second, and with so many rows of the audit trail each time; what is in it is bounded by the gate.
//! docs/adr/0021 says why a request may do this at all.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, Record, Who};
use crate::export::address::caller;
use crate::gate::{Gate, Keeper, Kept, Lockout, Now};
use crate::state::{LOCKOUTS as FILE, LOCKOUTS_VERSION as VERSION};
use crate::status::Status;
use crate::sys::files;

/// A file that is longer was not written here.
const LONGEST_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// How long to wait between two writes.
const PAUSE: Duration = Duration::from_secs(1);
/// So many new lockouts are rows of the audit trail at each write; the others are counted in one.
const MOST_ROWS: usize = 10;

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    #[serde(flatten)]
    kept: Kept,
}

/// Who keeps it.
pub(super) struct Keeping {
    path: PathBuf,
    changed: Arc<Notify>,
    /// What was known last.
    known: Kept,
}

/// Where changes are told.
pub(super) struct Told {
    pub(super) audit: Option<Arc<Audit>>,
    pub(super) status: watch::Sender<Arc<Status>>,
}

#[derive(Debug)]
struct Bell(Arc<Notify>);

impl Keeper for Bell {
    fn changed(&self) {
        self.0.notify_one();
    }
}

/// The time, as the gate has it.
pub(super) fn now() -> Now {
    Now { at: Timestamp::now(), clock: Instant::now() }
}

/// Makes the gate, with what was kept before.
pub(super) fn open(state_dir: &Path) -> (Arc<Gate>, Keeping) {
    let path = state_dir.join(FILE);
    let known = read(&path).unwrap_or_else(|why| {
        tracing::warn!(path = %path.display(), why, "lockouts, quotas and codes of before are forgotten");
        Kept::default()
    });
    let changed = Arc::new(Notify::new());
    let gate = Gate::kept_by(Box::new(Bell(Arc::clone(&changed))), &known, now());
    (Arc::new(gate), Keeping { path, changed, known })
}

fn read(path: &Path) -> Result<Kept, String> {
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error.to_string()),
    };
    if length > LONGEST_FILE_BYTES {
        return Err(format!("it has more than {LONGEST_FILE_BYTES} bytes"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let File { version, kept } = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!("its version is {version}, and this exitpool knows {VERSION}"));
    }
    Ok(kept)
}

/// Lets an address in again, or all, as an operator says.
pub(super) fn unlock(gate: &Gate, address: Option<IpAddr>) -> Result<Vec<String>, String> {
    let unlocked = gate.unlock(address.map(caller), now());
    if let Some(address) = address.filter(|_| unlocked.is_empty()) {
        let others: Vec<String> = gate.lockouts(now()).iter().map(ToString::to_string).collect();
        let others = if others.is_empty() { "nobody is".to_owned() } else { format!("who is: {}", others.join(", ")) };
        return Err(format!("{address} is not locked out; {others}"));
    }
    let mut said: Vec<String> = unlocked.iter().map(|lockout| format!("{} is let in again", lockout.address)).collect();
    if said.is_empty() {
        said.push("nobody was locked out".to_owned());
    }
    Ok(said)
}

impl Keeping {
    /// Writes what has changed whenever something has, until `stop`; then what is not written yet.
    pub(super) async fn run(mut self, gate: Arc<Gate>, told: Told, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                () = stop.cancelled() => break,
            }
            self.follow(&gate, &told);
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => break,
            }
        }
        if gate.kept(now()) != self.known {
            self.follow(&gate, &told);
        }
    }

    fn follow(&mut self, gate: &Gate, told: &Told) {
        let kept = gate.kept(now());
        if kept.lockouts != self.known.lockouts {
            let is_new = |lockout: &&Lockout| !self.known.lockouts.contains(lockout);
            told.record(&kept.lockouts.iter().filter(is_new).collect::<Vec<_>>());
            told.status.send_modify(|status| {
                *status = Arc::new(Status { lockouts: kept.lockouts.clone(), ..Status::clone(status) });
            });
        }
        if let Err(error) = self.write(&kept) {
            tracing::error!(%error, path = %self.path.display(), "a restart would forget lockouts, quotas and codes");
        }
        self.known = kept;
    }

    fn write(&self, kept: &Kept) -> std::io::Result<()> {
        let file = File { version: VERSION, kept: kept.clone() };
        files::write_atomically(&self.path, &serde_json::to_vec(&file)?)
    }
}

impl Told {
    /// Writes new lockouts into the audit trail.
    fn record(&self, new: &[&Lockout]) {
        let Some(audit) = &self.audit else { return };
        let revision = self.status.borrow().revision.clone();
        let row = |action: String, address: Option<IpAddr>| {
            let record = Record {
                at: Timestamp::now(),
                revision: revision.clone(),
                object: "client".to_owned(),
                action,
                cause: "too many tokens or passwords were refused".to_owned(),
                result: "done".to_owned(),
            };
            audit.append_of(record, Who { address, ..Who::default() });
        };
        for Lockout { address, since: _, until, failures } in new.iter().take(MOST_ROWS) {
            row(format!("is locked out until {until:.0} after {failures} failures"), Some(*address));
        }
        if let Some(more) = new.len().checked_sub(MOST_ROWS).filter(|more| *more > 0) {
            row(format!("{more} more are locked out"), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::RateLimit;

    const LIMIT: RateLimit =
        RateLimit { per_minute: 60, failed_per_minute: 5, lockout_after: 1, lockout_for: Duration::from_secs(900) };

    fn told() -> Told {
        let status = Status::starting(Timestamp::now(), "none", Vec::new());
        Told { audit: None, status: watch::Sender::new(Arc::new(status)) }
    }

    #[tokio::test]
    async fn the_file_is_written_when_somebody_is_locked_out_and_at_no_other_time() {
        let directory = tempfile::tempdir().unwrap();
        let (gate, keeping) = open(directory.path());
        let (told, stop, file) = (told(), CancellationToken::new(), directory.path().join(FILE));
        let mut published = told.status.subscribe();
        let task = tokio::spawn(keeping.run(Arc::clone(&gate), told, stop.clone()));
        let caller = "203.0.113.9".parse().unwrap();
        gate.ask(Some(&LIMIT), caller, now()).unwrap();
        tokio::task::yield_now().await;
        assert!(!file.exists());
        gate.failed(Some(&LIMIT), caller, now());
        published.changed().await.unwrap();
        let lockouts = published.borrow_and_update().lockouts.clone();
        assert_eq!(lockouts.iter().map(|lockout| lockout.address).collect::<Vec<_>>(), [caller]);
        // The second one comes within the pause, and is written at the stop at the latest.
        gate.failed(Some(&LIMIT), "2001:db8::".parse().unwrap(), now());
        stop.cancel();
        task.await.unwrap();
        let (next, _) = open(directory.path());
        assert_eq!(next.lockouts(now()).len(), 2);
        assert!(next.is_open_to(caller, now()).is_err());
    }

    #[test]
    fn a_damaged_file_locks_nobody_out_and_stops_nobody() {
        let directory = tempfile::tempdir().unwrap();
        for damaged in
            ["", "{", "{\"version\":2,\"lockouts\":[]}", "{\"version\":1,\"lockouts\":[{\"address\":\"x\"}]}"]
        {
            std::fs::write(directory.path().join(FILE), damaged).unwrap();
            assert!(read(&directory.path().join(FILE)).is_err(), "{damaged}");
            assert!(open(directory.path()).0.lockouts(now()).is_empty());
        }
    }
}
