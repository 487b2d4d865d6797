//! What the service manager is told: that the daemon has started, how it is doing, and that it is alive. Only passes that
//! have ended say so, and nothing else: where the loop hangs, the watchdog bites.

use std::time::Instant;

use crate::status::{ConditionType, NodeState, Status};
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

    /// Says that a pass has ended, and what came of it; with the first one, the daemon has started.
    pub(super) fn feed(&mut self, status: &Status) {
        let doing = headline(status);
        let mut words = vec![Word::Doing(&doing), Word::Alive];
        if !self.is_ready {
            words.push(Word::Ready);
            self.is_ready = true;
        }
        self.tell(&words);
    }

    /// Says that the daemon was told to read anew; it is ready again after the next pass.
    pub(super) fn reloading(&mut self) {
        self.tell(&[Word::Reloading]);
        self.is_ready = false;
    }

    /// Says that the daemon is about to end.
    pub(super) fn stopping(&mut self) {
        self.tell(&[Word::Stopping]);
    }

    /// When the next pass has to begin: half of the watchdog's time is left for the pass itself.
    pub(super) fn before(&self, due: Instant) -> Instant {
        self.manager.patience().map_or(due, |patience| due.min(Instant::now() + patience / 2))
    }

    /// Where nobody listens, that is said once.
    fn tell(&mut self, words: &[Word<'_>]) {
        let told = self.manager.tell(words);
        if let Some(error) = told.as_ref().err().filter(|_| !self.is_deaf) {
            tracing::warn!(%error, ?words, "the service manager does not listen");
        }
        self.is_deaf = told.is_err();
    }
}

/// How the pool is doing, in one line, as `systemctl status` shows it.
fn headline(status: &Status) -> String {
    let ready = status.nodes.iter().filter(|node| node.state == NodeState::Ready).count();
    let message = status.condition(ConditionType::Ready).map_or("", |condition| condition.message.as_str());
    match &status.revision {
        Some(revision) => format!("{ready} of {} nodes ready at {revision}: {message}", status.nodes.len()),
        None => message.to_owned(),
    }
}
