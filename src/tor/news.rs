//! News of an instance: what was seen of it is old, and whoever waits should look again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// News of one instance; clones share it.
#[derive(Debug, Clone)]
pub struct News {
    wake: Arc<Notify>,
    has_come: Arc<AtomicBool>,
}

impl News {
    /// Begins with news, since nothing was seen yet; `wake` is who waits for news of any instance.
    pub fn of_one(wake: Arc<Notify>) -> Self {
        Self { wake, has_come: Arc::new(AtomicBool::new(true)) }
    }

    /// Tells that something has happened.
    pub fn tell(&self) {
        self.doubt();
        self.wake.notify_one();
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
        let wake = Arc::new(Notify::new());
        let news = News::of_one(Arc::clone(&wake));
        assert!(news.has_come());
        news.take();
        assert!(!news.has_come());
        news.clone().tell();
        assert!(news.has_come());
        wake.notified().await;
        news.take();
        news.doubt();
        assert!(news.has_come());
    }
}
