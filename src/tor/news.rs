//! News of instances: what was seen of one is old, and whoever waits should look again, at once or before long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How long news that does not press may wait, so that the many circuits of many instances become one look.
const LEISURE: Duration = Duration::from_secs(5);

/// Where one waits for news of any instance.
#[derive(Debug, Default)]
pub struct Ear {
    pressing: Notify,
    other: Notify,
}

impl Ear {
    /// Waits for news; what came while nobody waited counts.
    pub async fn listen(&self) {
        tokio::select! {
            () = self.pressing.notified() => {}
            () = self.linger() => {}
        }
    }

    async fn linger(&self) {
        self.other.notified().await;
        tokio::time::sleep(LEISURE).await;
    }
}

/// What of an instance is in doubt, since something has happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Doubt {
    /// Nothing has happened.
    Nothing,
    /// Its circuits, and nothing else.
    Circuits,
    /// All that was seen of it.
    Everything,
}

/// News of one instance; clones share it.
#[derive(Debug, Clone)]
pub struct News {
    ear: Arc<Ear>,
    doubt: Arc<AtomicU8>,
}

impl News {
    /// Begins with news, since nothing was seen yet; `ear` hears of any instance.
    pub fn of_one(ear: Arc<Ear>) -> Self {
        Self { ear, doubt: Arc::new(AtomicU8::new(Doubt::Everything as u8)) }
    }

    /// Tells that something has happened.
    pub fn tell(&self) {
        self.doubt();
        self.ear.pressing.notify_one();
    }

    /// Tells that something has happened to its circuits, which can wait a little.
    pub fn mention(&self) {
        self.doubt.fetch_max(Doubt::Circuits as u8, Ordering::SeqCst);
        self.ear.other.notify_one();
    }

    /// Makes what was seen old, and wakes nobody: whoever does this looks anyway.
    pub fn doubt(&self) {
        self.doubt.store(Doubt::Everything as u8, Ordering::SeqCst);
    }

    /// Takes the news, before a look: what happens from now on is news for the next one.
    pub fn take(&self) -> Doubt {
        match self.doubt.swap(Doubt::Nothing as u8, Ordering::SeqCst) {
            nothing if nothing == Doubt::Nothing as u8 => Doubt::Nothing,
            circuits if circuits == Doubt::Circuits as u8 => Doubt::Circuits,
            _ => Doubt::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_happens_during_a_look_is_news_for_the_next() {
        let ear = Arc::new(Ear::default());
        let news = News::of_one(Arc::clone(&ear));
        assert_eq!(news.take(), Doubt::Everything);
        assert_eq!(news.take(), Doubt::Nothing);
        news.clone().tell();
        ear.listen().await;
        assert_eq!(news.take(), Doubt::Everything);
        news.doubt();
        // What is less in doubt makes nothing certain.
        news.mention();
        assert_eq!(news.take(), Doubt::Everything);
        news.mention();
        assert_eq!(news.take(), Doubt::Circuits);
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_waits_until_something_presses() {
        let ear = Arc::new(Ear::default());
        let news = News::of_one(Arc::clone(&ear));
        let begun = tokio::time::Instant::now();
        news.mention();
        news.mention();
        ear.listen().await;
        assert_eq!(begun.elapsed(), LEISURE);

        news.mention();
        news.tell();
        ear.listen().await;
        assert_eq!(begun.elapsed(), LEISURE);
    }
}
