//! How far one instance has come with new circuits: whether it was told to use some, and whether it has said so.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::observe::{Renewal, RenewalStage};

/// The renewals of one instance; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Renewals(watch::Sender<State>);

#[derive(Debug, Clone, Default)]
struct State {
    observed: Renewal,
    /// Since when it uses new circuits, as tor writes times.
    since: Option<String>,
}

impl Renewals {
    /// What is observed of them.
    pub fn observed(&self) -> Renewal {
        self.0.borrow().observed
    }

    /// Since when the instance uses new circuits, as tor writes times: `2026-01-02T03:04:05.678901`, in UTC. `None` where it
    /// was not told to, as far as is known.
    pub fn since(&self) -> Option<String> {
        self.0.borrow().since.clone()
    }

    /// tor is being told to use new circuits.
    pub fn ask(&self) {
        self.0.send_modify(|state| state.observed.stage = RenewalStage::Asked);
    }

    /// tor says that it uses new circuits; it says so as well when somebody else has told it to.
    pub fn said(&self, now: Timestamp) {
        self.0.send_if_modified(|state| {
            let is_asked = state.observed.stage == RenewalStage::Asked;
            if is_asked {
                state.observed.stage = RenewalStage::Said;
                state.since = Some(now.strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string());
            }
            is_asked
        });
    }

    /// What is idle from before is closed.
    pub fn finish(&self) {
        self.0.send_modify(|state| {
            state.observed.stage = RenewalStage::Idle;
            state.observed.done += 1;
        });
    }

    /// Nobody listens any more to what tor says: it has to be told anew.
    pub fn lose(&self) {
        self.0.send_modify(|state| state.observed.stage = RenewalStage::Idle);
    }

    /// Waits until tor says it, for a moment.
    pub async fn said_within(&self, patience: Duration) {
        let mut states = self.0.subscribe();
        let said = states.wait_for(|state| state.observed.stage != RenewalStage::Asked);
        // In time or not: what has become of it is read from the state.
        let _ = tokio::time::timeout(patience, said).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_counts() {
        let renewals = Renewals::default();
        renewals.said(Timestamp::UNIX_EPOCH);
        assert_eq!((renewals.observed(), renewals.since()), (Renewal::default(), None));
        renewals.ask();
        renewals.said(Timestamp::UNIX_EPOCH);
        assert_eq!(renewals.observed(), Renewal { done: 0, stage: RenewalStage::Said });
        assert_eq!(renewals.since().as_deref(), Some("1970-01-01T00:00:00.000000"));
        renewals.finish();
        assert_eq!(renewals.observed(), Renewal { done: 1, stage: RenewalStage::Idle });
    }

    #[tokio::test(start_paused = true)]
    async fn what_tor_puts_off_is_not_waited_for() {
        let renewals = Renewals::default();
        renewals.ask();
        renewals.said_within(Duration::from_secs(1)).await;
        assert_eq!(renewals.observed().stage, RenewalStage::Asked);
        let (waiting, telling) = (renewals.clone(), renewals.clone());
        let waits = tokio::spawn(async move { waiting.said_within(Duration::from_secs(3_600)).await });
        tokio::task::yield_now().await;
        telling.said(Timestamp::UNIX_EPOCH);
        let begun = tokio::time::Instant::now();
        waits.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
