//! News of instances: what was seen of one is old, and whoever waits should look again, at once or before long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// News of one instance; clones share it.
#[derive(Debug, Clone)]
pub struct News {
    ear: Arc<Ear>,
    has_come: Arc<AtomicBool>,
}

impl News {
    /// Begins with news, since nothing was seen yet; `ear` hears of any instance.
    pub fn of_one(ear: Arc<Ear>) -> Self {
        Self { ear, has_come: Arc::new(AtomicBool::new(true)) }
    }

    /// Tells that something has happened.
    pub fn tell(&self) {
        self.doubt();
        self.ear.pressing.notify_one();
    }

    /// Tells that something has happened that can wait a little.
    pub fn mention(&self) {
        self.doubt();
        self.ear.other.notify_one();
    }

    /// Makes what was seen old, and wakes nobody: whoever does this looks anyway.
    pub fn doubt(&self) {
        self.has_come.store(true, Ordering::SeqCst);
    }

    /// Takes the news, before a look: what happens from now on is news for the next one.
    pub fn take(&self) -> bool {
        self.has_come.swap(false, Ordering::SeqCst)
    }

    /// Whether something has happened since the news was taken.
    pub fn has_come(&self) -> bool {
        self.has_come.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_happens_during_a_look_is_news_for_the_next() {
        let ear = Arc::new(Ear::default());
        let news = News::of_one(Arc::clone(&ear));
        assert!(news.has_come());
        news.take();
        assert!(!news.has_come());
        news.clone().tell();
        assert!(news.has_come());
        ear.listen().await;
        news.take();
        news.doubt();
        assert!(news.has_come());
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
