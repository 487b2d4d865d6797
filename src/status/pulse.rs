//! Whether the daemon lives, and has begun its work: what probes ask.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Activity, Status};

/// The longest that a pass may take before the daemon counts as hung: the start of hundreds of nodes ends far sooner.
const PASS_BUDGET: Duration = Duration::from_secs(600);

/// Whether the daemon lives, and has begun its work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Why it counts as hung; `None` where passes end in time.
    pub hung: Option<String>,
    /// Whether the first pass over a revision is done.
    pub is_ready: bool,
}

impl Status {
    /// Tells whether the daemon lives, as of now.
    pub fn pulse(&self, now: Timestamp) -> Pulse {
        let (since, budget, what) = match self.activity {
            Activity::Passing { since } => (since, PASS_BUDGET, "the pass under way began"),
            Activity::Idle => (self.made, PASS_BUDGET + 2 * self.resync_every, "the last look was"),
        };
        let age = now.duration_since(since);
        let is_hung = age > SignedDuration::try_from(budget).unwrap_or(SignedDuration::MAX);
        let hung = is_hung.then(|| format!("{what} {} s ago", age.as_secs()));
        Pulse { hung, is_ready: self.ready_since.is_some() }
    }
}
