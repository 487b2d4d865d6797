//! Fetches a remote source again and again, beside the passes: no pass ever waits for the network.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::error::chain;
use crate::source::Source;
use crate::source::remote::{FetchError, Remote};
use crate::status::SourceError;

use super::fault;
use super::wake::{Cause, Wakeups};

/// However often a fetch failed, the next one is not later than this, unless the poll itself is.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// By how much of itself a pause is longer or shorter, so that many hosts do not ask one server at once.
const JITTER: f64 = 0.05;

/// What became of fetching.
#[derive(Debug, Clone, Default)]
pub(super) struct Fetched {
    /// When it last went right.
    pub(super) last_success: Option<Timestamp>,
    /// What went wrong the last time; `None` where nothing did.
    pub(super) error: Option<SourceError>,
}

/// How the fetching task is spoken to; clones share it.
#[derive(Debug, Clone)]
pub struct Fetching {
    asks: mpsc::Sender<oneshot::Sender<()>>,
    fetched: watch::Receiver<Fetched>,
}

impl Fetching {
    /// Begins to fetch, where the source is remote.
    pub(super) fn start(source: &Source, wakeups: &Wakeups) -> Option<(Self, JoinHandle<()>)> {
        let remote = source.remote()?.clone();
        let (asks, inbox) = mpsc::channel(16);
        let (publish, fetched) = watch::channel(Fetched::default());
        let task = Task { remote, inbox, publish, wakeups: wakeups.clone() };
        Some((Self { asks, fetched }, tokio::spawn(task.run())))
    }

    /// What became of fetching so far.
    pub(super) fn fetched(&self) -> Fetched {
        self.fetched.borrow().clone()
    }

    /// Fetches now, and waits until that has ended, well or not.
    pub async fn now(&self) {
        let (done, ended) = oneshot::channel();
        if self.asks.send(done).await.is_ok() {
            let _ = ended.await;
        }
    }
}

struct Task {
    remote: Remote,
    inbox: mpsc::Receiver<oneshot::Sender<()>>,
    publish: watch::Sender<Fetched>,
    wakeups: Wakeups,
}

impl Task {
    async fn run(mut self) {
        let mut asked = Vec::new();
        let mut failures = 0;
        loop {
            asked.extend(std::iter::from_fn(|| self.inbox.try_recv().ok()));
            let fetched = self.remote.fetch().await;
            failures = if fetched.is_ok() { 0 } else { failures + 1 };
            self.tell(fetched.err());
            asked.drain(..).for_each(|done: oneshot::Sender<()>| _ = done.send(()));

            let random = RandomState::new().build_hasher().finish();
            tokio::select! {
                () = tokio::time::sleep(pause(self.remote.poll_every(), failures, random)) => {}
                ask = self.inbox.recv() => match ask {
                    Some(done) => asked.push(done),
                    None => return,
                },
            }
        }
    }

    fn tell(&self, error: Option<FetchError>) {
        let error = error.map(|error| SourceError { fault: fault::of_fetch(&error), message: chain(&error) });
        if let Some(new) = error.as_ref().filter(|error| self.publish.borrow().error.as_ref() != Some(error)) {
            tracing::warn!(error = new.message, "cannot fetch the source; what is in force stays in force");
        }
        self.publish.send_modify(|fetched| {
            if error.is_none() {
                fetched.last_success = Some(Timestamp::now());
            }
            fetched.error = error;
        });
        self.wakeups.wake(Cause::Source);
    }
}

/// How long to wait for the next fetch: the poll, twice as long after each further failure, give or take the jitter.
fn pause(poll: Duration, failures: u32, random: u64) -> Duration {
    let doubled = poll.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let longest = LONGEST_PAUSE.max(poll);
    let unit = random as f64 / u64::MAX as f64;
    doubled.min(longest).mul_f64(1.0 + JITTER * (2.0 * unit - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_the_poll_with_a_little_jitter() {
        let poll = Duration::from_secs(60);
        assert_eq!(pause(poll, 0, 0), Duration::from_secs(57));
        assert_eq!(pause(poll, 1, u64::MAX), Duration::from_secs(63));
    }

    #[test]
    fn failures_make_pauses_longer_up_to_a_limit() {
        let middle = u64::MAX / 2;
        let seconds = |poll: u64, failures| pause(Duration::from_secs(poll), failures, middle).as_secs_f64().round();
        assert_eq!([1, 2, 3, 4, 99].map(|failures| seconds(60, failures)), [60.0, 120.0, 240.0, 300.0, 300.0]);
        assert_eq!(seconds(3_600, 5), 3_600.0);
    }
}
