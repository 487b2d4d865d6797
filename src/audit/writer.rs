//! The one thread that writes, and the bounded queue before it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::store::{Store, is_damage};
use super::{AuditError, Record};
use crate::error::chain;

/// How many records wait at most for a slow disk; a plan over a large pool has some hundreds.
const QUEUE: usize = 4096;
/// How many records go into one transaction, which costs one flush of the disk.
const BATCH: usize = 256;

enum Work {
    Append(Box<Record>),
    Flush(oneshot::Sender<()>),
}

/// A handle on the thread; dropping it waits until the queue is written.
#[derive(Debug)]
pub struct Writer {
    queue: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread.
    pub fn start(path: &Path, store: Store) -> Result<Self, AuditError> {
        let (queue, work) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let trail = Trail { path: path.to_owned(), store: Some(store), lost: Arc::clone(&lost) };
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || trail.write(&work));
        let thread = thread.map_err(|source| AuditError::Stopped { source: Some(source) })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), lost })
    }

    /// Queues a record; where the queue is full, it is lost.
    pub fn append(&self, record: Record) {
        let Some(queue) = &self.queue else { return };
        let why = match queue.try_send(Work::Append(Box::new(record))) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => "the disk is too slow",
            Err(TrySendError::Disconnected(_)) => "the writer has ended",
        };
        self.lost.fetch_add(1, Ordering::Relaxed);
        tracing::error!("a record of the audit trail is lost: {why}");
    }

    /// Has `done` sent when everything queued before is written; dropped, when the thread has ended.
    pub fn flush(&self, done: oneshot::Sender<()>) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(Work::Flush(done))) = queue.try_send(Work::Flush(done)) {
            // Waiting for a place must not hold up the runtime's thread.
            let queue = queue.clone();
            tokio::task::spawn_blocking(move || queue.send(Work::Flush(done)));
        }
    }

    /// How many records could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the audit trail's writer has panicked");
        }
    }
}

/// What the thread owns.
struct Trail {
    path: PathBuf,
    /// Closed when it was found to be damaged.
    store: Option<Store>,
    lost: Arc<AtomicU64>,
}

impl Trail {
    fn write(mut self, work: &Receiver<Work>) {
        while let Ok(first) = work.recv() {
            let (records, flushes) = batch(first, work);
            if let Err(error) = self.append(&records) {
                self.lost.fetch_add(u64::try_from(records.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
                tracing::error!(error = chain(&error), records = records.len(), "records of the audit trail are lost");
            }
            for done in flushes {
                // Whoever waited may have given up.
                let _ = done.send(());
            }
        }
    }

    /// Writes a batch; a file that turns out to be damaged is moved aside, and the batch begins the next one.
    fn append(&mut self, records: &[Record]) -> Result<(), AuditError> {
        match self.store()?.append(records) {
            Err(AuditError::Database { source, .. }) if is_damage(&source) => {
                // Closed first: SQLite removes its log by name when it closes, and must not remove the next one's.
                self.store = None;
                self.store()?.append(records)
            }
            other => other,
        }
    }

    fn store(&mut self) -> Result<&mut Store, AuditError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::open_or_begin_anew(&self.path)?,
        };
        Ok(self.store.insert(store))
    }
}

/// Takes what has queued up, as much as fits into one transaction.
fn batch(first: Work, work: &Receiver<Work>) -> (Vec<Record>, Vec<oneshot::Sender<()>>) {
    let (mut records, mut flushes) = (Vec::new(), Vec::new());
    for item in std::iter::once(first).chain(work.try_iter()).take(BATCH) {
        match item {
            Work::Append(record) => records.push(*record),
            Work::Flush(done) => flushes.push(done),
        }
    }
    (records, flushes)
}
