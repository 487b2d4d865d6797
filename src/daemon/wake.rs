//! Wake-ups: reasons to look again, coalesced. They carry no payload; their causes are for the log.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time;

/// A wake-up waits for so long a silence, so that a burst becomes one pass.
const QUIET: Duration = Duration::from_millis(50);
/// The same for the first one after [`LONGEST_DELAY`] without any: a tor that died alone is not to wait for others.
const QUIET_AT_FIRST: Duration = Duration::from_millis(10);
/// However long the burst is, a pass begins after this time.
const LONGEST_DELAY: Duration = Duration::from_millis(500);

/// Where a wake-up came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The source may have a new revision.
    Source,
    /// An instance has something to say.
    Tor,
    /// A probe through an instance has gone otherwise than the one before, or has failed again.
    Probe,
    /// The firewall's rules have changed.
    Firewall,
    /// An operator asks.
    Operator,
    /// Another alert fires, or one does not any more: the status is to say so.
    Alert,
    /// SIGHUP.
    Signal,
    /// Nothing; it is time.
    Timer,
}

impl Cause {
    /// Whether somebody asks for a look, and not a driver for another one.
    pub fn is_of_a_person(self) -> bool {
        matches!(self, Self::Operator | Self::Signal)
    }
}

/// The channel of wake-ups; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Wakeups {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    heard: Mutex<Heard>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Heard {
    causes: BTreeSet<Cause>,
    /// When the last ones were handed out.
    handed_out: Option<time::Instant>,
}

impl Wakeups {
    /// Asks for another look.
    pub fn wake(&self, cause: Cause) {
        self.heard().causes.insert(cause);
        self.shared.notify.notify_one();
    }

    /// Waits for wake-ups, at the longest until `due`, and says where they came from.
    ///
    /// Wake-ups that came while nobody waited count. After the first one it waits for a moment of silence, but not
    /// for ever: a stream of wake-ups cannot hold a pass up.
    pub async fn wait(&self, due: Instant) -> BTreeSet<Cause> {
        if time::timeout_at(due.into(), self.shared.notify.notified()).await.is_err() {
            return BTreeSet::from([Cause::Timer]);
        }
        let quiet = self.quiet();
        let latest = time::Instant::now() + LONGEST_DELAY;
        while time::Instant::now() < latest {
            let quiet_at = (time::Instant::now() + quiet).min(latest);
            if time::timeout_at(quiet_at, self.shared.notify.notified()).await.is_err() {
                break;
            }
        }
        let mut heard = self.heard();
        heard.handed_out = Some(time::Instant::now());
        std::mem::take(&mut heard.causes)
    }

    /// How long a silence ends the burst that begins now.
    fn quiet(&self) -> Duration {
        let is_recent = self.heard().handed_out.is_some_and(|last| last.elapsed() < LONGEST_DELAY);
        if is_recent { QUIET } else { QUIET_AT_FIRST }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3_600)
    }

    #[tokio::test]
    async fn a_burst_is_one_wake_up_with_all_its_causes() {
        let wakeups = Wakeups::default();
        wakeups.wake(Cause::Tor);
        wakeups.wake(Cause::Source);
        wakeups.wake(Cause::Tor);
        assert_eq!(wakeups.wait(later()).await, BTreeSet::from([Cause::Source, Cause::Tor]));
        assert_eq!(wakeups.wait(Instant::now()).await, BTreeSet::from([Cause::Timer]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_wake_up_after_a_while_hardly_waits() {
        let wakeups = Wakeups::default();
        let mut waited = Vec::new();
        for pause in [Duration::ZERO, Duration::ZERO, LONGEST_DELAY] {
            time::sleep(pause).await;
            let begun = time::Instant::now();
            wakeups.wake(Cause::Tor);
            wakeups.wait(later()).await;
            waited.push(begun.elapsed());
        }
        assert_eq!(waited, [QUIET_AT_FIRST, QUIET, QUIET_AT_FIRST]);
    }

    #[tokio::test]
    async fn a_stream_of_wake_ups_holds_nothing_up() {
        let wakeups = Wakeups::default();
        let stream = wakeups.clone();
        let waking = tokio::spawn(async move {
            loop {
                stream.wake(Cause::Tor);
                time::sleep(QUIET / 5).await;
            }
        });
        assert_eq!(wakeups.wait(later()).await, BTreeSet::from([Cause::Tor]));
        waking.abort();
    }
}
