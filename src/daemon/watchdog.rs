//! The service manager's watchdog: fed by passes that have ended, and by nothing else. Where the loop hangs, it bites.

use std::time::Instant;

use crate::sys::notify::{ServiceManager, Word};

/// The watchdog, and the word that the daemon has started.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    manager: ServiceManager,
    is_ready: bool,
    is_deaf: bool,
}

impl Watchdog {
    /// The watchdog of whoever started this process.
    pub(super) fn of_this_process() -> Self {
        let manager = ServiceManager::of_this_process().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot speak to the service manager");
            ServiceManager::default()
        });
        Self { manager, is_ready: false, is_deaf: false }
    }

    /// Says that a pass has ended; with the first one, the daemon has started.
    pub(super) fn feed(&mut self) {
        if !self.is_ready {
            self.tell(Word::Ready);
            self.is_ready = true;
        }
        self.tell(Word::Alive);
    }

    /// Says that the daemon is about to end.
    pub(super) fn stopping(&mut self) {
        self.tell(Word::Stopping);
    }

    /// When the next pass has to begin: half of the watchdog's time is left for the pass itself.
    pub(super) fn before(&self, due: Instant) -> Instant {
        self.manager.patience().map_or(due, |patience| due.min(Instant::now() + patience / 2))
    }

    /// Where nobody listens, that is said once.
    fn tell(&mut self, word: Word) {
        let told = self.manager.tell(word);
        if let Some(error) = told.as_ref().err().filter(|_| !self.is_deaf) {
            tracing::warn!(%error, ?word, "the service manager does not listen");
        }
        self.is_deaf = told.is_err();
    }
}
