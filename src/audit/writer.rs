//! The one thread that writes, and the bounded queue before it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::store::Store;
use super::{AuditError, Deed, Who};
use crate::desired::AuditPolicy;
use crate::error::chain;
use crate::export::key::PublicKey;

/// How many records wait at most for a slow disk; a plan over a large pool has some hundreds.
const QUEUE: usize = 4096;
/// How many records go into one transaction, which costs one flush of the disk.
const BATCH: usize = 256;
/// How often it is looked whether rows have to go.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

enum Work {
    Append(Box<Deed>),
    Follow(AuditPolicy),
    Erase(Box<Erasure>),
    Flush(oneshot::Sender<()>),
}

/// An order to erase addresses.
#[derive(Debug)]
pub struct Erasure {
    /// The addresses.
    pub network: IpNet,
    /// Who gives it.
    pub who: Who,
    /// Why.
    pub cause: String,
    /// Where it is told how many rows it was.
    pub reply: oneshot::Sender<Result<u64, AuditError>>,
}

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// How many records could not be written since the start.
    pub lost: u64,
    /// Why the last one could not be; `None` where it could.
    pub trouble: Option<String>,
    /// The key that signs what is written; `None` where it could not be opened yet.
    pub key: Option<PublicKey>,
    /// How many are lost since the last one that was written.
    missing: u64,
}

/// A handle on the thread; dropping it waits until the queue is written.
#[derive(Debug)]
pub struct Writer {
    queue: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
    condition: Arc<Mutex<Condition>>,
}

impl Writer {
    /// Starts the thread; where there is no store yet, it tries to open it for each batch.
    pub fn start(path: &Path, store: Option<Store>) -> Result<Self, AuditError> {
        let (queue, work) = sync_channel(QUEUE);
        let key = store.as_ref().map(Store::key);
        let condition = Arc::new(Mutex::new(Condition { key, ..Condition::default() }));
        let trail = Trail {
            path: path.to_owned(),
            store,
            policy: AuditPolicy::default(),
            prune_at: Instant::now(),
            condition: Arc::clone(&condition),
        };
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || trail.write(&work));
        let thread = thread.map_err(|source| AuditError::Stopped { source: Some(source) })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), condition })
    }

    /// Queues a record; where the queue is full, it is lost.
    pub fn append(&self, deed: Deed) {
        let Some(queue) = &self.queue else { return };
        let why = match queue.try_send(Work::Append(Box::new(deed))) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => "the disk is too slow",
            Err(TrySendError::Disconnected(_)) => "its writer has ended",
        };
        lose(&self.condition, 1, why);
    }

    /// Says what is kept from now on.
    pub fn follow(&self, policy: AuditPolicy) {
        self.send(Work::Follow(policy));
    }

    /// Has addresses erased.
    pub fn erase(&self, erasure: Erasure) {
        self.send(Work::Erase(Box::new(erasure)));
    }

    /// Has `done` sent when everything queued before is written; dropped, when the thread has ended.
    pub fn flush(&self, done: oneshot::Sender<()>) {
        self.send(Work::Flush(done));
    }

    fn send(&self, work: Work) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(work)) = queue.try_send(work) {
            // Waiting for a place must not hold up the runtime's thread.
            let queue = queue.clone();
            tokio::task::spawn_blocking(move || queue.send(work));
        }
    }

    /// How it goes.
    pub fn condition(&self) -> Condition {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

/// Counts records that are lost; the log is told when it begins, and not of each.
fn lose(condition: &Mutex<Condition>, records: u64, why: &str) {
    let mut condition = condition.lock().unwrap_or_else(PoisonError::into_inner);
    condition.lost += records;
    condition.missing += records;
    if condition.trouble.is_none() {
        tracing::error!(error = why, "records of the audit trail are lost until this is mended");
    }
    condition.trouble = Some(why.to_owned());
}

/// What the thread owns.
struct Trail {
    path: PathBuf,
    /// Closed when it was found to be damaged, or could not be opened yet.
    store: Option<Store>,
    policy: AuditPolicy,
    prune_at: Instant,
    condition: Arc<Mutex<Condition>>,
}

impl Trail {
    fn write(mut self, work: &Receiver<Work>) {
        loop {
            match work.recv_timeout(self.prune_at.saturating_duration_since(Instant::now())) {
                Ok(first) => self.take(first, work),
                Err(RecvTimeoutError::Timeout) => self.prune(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does what has queued up, in its order: as many records at once as fit into one transaction.
    fn take(&mut self, first: Work, work: &Receiver<Work>) {
        let mut deeds = Vec::new();
        for item in std::iter::once(first).chain(work.try_iter()).take(BATCH) {
            if let Work::Append(deed) = item {
                deeds.push(*deed);
                continue;
            }
            self.record(std::mem::take(&mut deeds));
            match item {
                Work::Append(_) => {}
                Work::Follow(policy) if policy == self.policy => {}
                Work::Follow(policy) => {
                    self.policy = policy;
                    self.prune();
                }
                Work::Erase(erasure) => self.erase(*erasure),
                // Whoever waited may have given up.
                Work::Flush(done) => drop(done.send(())),
            }
        }
        self.record(deeds);
        if Instant::now() >= self.prune_at {
            self.prune();
        }
    }

    fn record(&mut self, mut deeds: Vec<Deed>) {
        if deeds.is_empty() {
            return;
        }
        let count = u64::try_from(deeds.len()).unwrap_or(u64::MAX);
        let Condition { missing, trouble, .. } = self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if missing > 0 {
            let action = format!("{missing} records before this one are missing");
            deeds.insert(0, Deed::of_the_trail(action, trouble.unwrap_or_default()));
        }
        match self.append(&deeds) {
            Ok(()) if missing > 0 => self.recovered(missing),
            Ok(()) => {}
            Err(error) => lose(&self.condition, count, &chain(&error)),
        }
    }

    /// Records can be written again, and the trail says how many are missing.
    fn recovered(&mut self, missing: u64) {
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        condition.missing = condition.missing.saturating_sub(missing);
        condition.trouble = None;
        tracing::warn!(missing, "the audit trail is written again");
    }

    /// Writes a batch; a file that turns out to be damaged is moved aside, and the batch begins the next one.
    fn append(&mut self, deeds: &[Deed]) -> Result<(), AuditError> {
        let addresses = self.policy.addresses;
        match self.store()?.append(deeds, addresses) {
            Err(error) if error.is_damage() => {
                // Closed first: SQLite removes its log by name when it closes, and must not remove the next one's.
                self.store = None;
                self.store()?.append(deeds, addresses)
            }
            other => other,
        }
    }

    fn erase(&mut self, Erasure { network, who, cause, reply }: Erasure) {
        let erased = self.store().and_then(|store| store.erase(&network, &who, &cause));
        // Whoever asked may have given up.
        let _ = reply.send(erased);
    }

    fn prune(&mut self) {
        self.prune_at = Instant::now() + PRUNE_EVERY;
        let policy = self.policy;
        let Some(store) = &mut self.store else { return };
        if let Err(error) = store.prune(&policy, Timestamp::now()) {
            tracing::warn!(error = chain(&error), "the audit trail's oldest rows are not removed yet");
        }
    }

    fn store(&mut self) -> Result<&mut Store, AuditError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::open_or_begin_anew(&self.path)?,
        };
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).key = Some(store.key());
        Ok(self.store.insert(store))
    }
}
