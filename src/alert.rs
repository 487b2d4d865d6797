//! Alerts that arrive once: what is worth telling people, and how it reaches them.
//!
//! # Flow
//!
//! [`Facts`] (the published status, and a few of the host) and the rules of the file give [`Judgement`]s; the [`Engine`]
//! turns these, with the time, into [`Notice`]s: an incident is raised, goes on, is over. Each notice is written into the
//! [`Outbox`] once for every channel, in the same transaction as the incident itself, and stays there until its
//! [`channel`] has taken it.
//!
//! # Guarantees
//!
//! - One incident is one message, repeated at `repeat_every`, and one that it is over. What is inside an incident that is
//!   told anyway, as the nodes of a network that is gone, is not told again.
//! - Durations run on the clock since the boot, which nobody sets: a jump of the host's clock neither repeats an alert nor
//!   keeps one back. The times that people read are the host's.
//! - What was decided is delivered at least once, also over a crash; each message carries a key that is the same when it
//!   comes twice.
//! - A fact that nobody knows raises nothing and ends nothing.
//! - No message, error or log has a secret: they are read when they are needed, and kept nowhere.
//!
//! [`facts`], [`rules`] and [`engine`] are pure: no clock, no I/O. The loop that feeds them is `daemon::alerting`.

pub mod board;
pub mod channel;
pub mod engine;
pub mod facts;
pub mod notice;
pub mod outbox;
pub mod rules;

use std::time::Duration;

use jiff::Timestamp;

pub use crate::desired::alerts::{RuleName, Severity};
pub use board::{AlertDocument, AlertsDocument, Board};
pub use channel::{Failure, Fault};
pub use engine::{Engine, Kept, Transition};
pub use facts::{Facts, HostFacts};
pub use notice::{Happened, Notice};
pub use outbox::{Due, Outbox, OutboxError};
pub use rules::{Finding, Found, Judgement, judge};

/// The time, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the boot: durations are told by it, and nobody sets it.
    pub since_boot: Duration,
    /// Of the day: people are told it, and nothing is decided by it but the end of a silence and of a certificate.
    pub of_day: Timestamp,
}

impl Now {
    /// When something was that is so long ago, by the clock of the day as it is now.
    pub fn ago(&self, since_boot: Duration) -> Timestamp {
        let age = self.since_boot.saturating_sub(since_boot);
        let age = jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX);
        self.of_day.checked_sub(age).unwrap_or(Timestamp::MIN)
    }
}
