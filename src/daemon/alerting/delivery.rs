//! Sending what the outbox holds: which channel is tried when, by which way, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::alert::channel::{self, Errand, USER};
use crate::alert::outbox::Waiting;
use crate::alert::{Due, Failure, Fault, Notice};
use crate::audit::{Audit, Record};
use crate::desired::Alerts;
use crate::desired::alerts::Channel;
use crate::status::{Metrics, Status};
use crate::web::Route;

/// So many messages are under way at once: a name that does not resolve holds a thread that others need.
const MOST_AT_ONCE: usize = 2;
/// How long a channel is left alone after its first failure; twice as long after each further one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// However long a channel wants to be left alone, it is tried again after this.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// By how much of itself a pause is longer or shorter, so that many hosts do not come back at once.
const JITTER: f64 = 0.2;

/// Messages on their way, and what is known of the channels.
pub(super) struct Deliveries {
    under_way: JoinSet<Ended>,
    busy: BTreeSet<String>,
    channels: BTreeMap<String, Trouble>,
    metrics: Arc<Metrics>,
    trail: Option<Arc<Audit>>,
}

/// A channel that takes nothing.
struct Trouble {
    /// How often it has failed in a row.
    failures: u32,
    why: String,
    /// It is left alone until then, since the boot.
    until: Duration,
}

/// A delivery that has ended.
pub(super) struct Ended {
    pub(super) due: Due,
    way: &'static str,
    result: Result<String, Failure>,
}

/// What follows for the message.
pub(super) enum Outcome {
    /// It is delivered.
    Taken,
    /// It is tried again.
    Later {
        /// What went wrong.
        why: String,
        /// When, since the boot.
        due: Duration,
    },
}

impl Deliveries {
    pub(super) fn new(metrics: Arc<Metrics>, trail: Option<Arc<Audit>>) -> Self {
        let (under_way, busy, channels) = (JoinSet::new(), BTreeSet::new(), BTreeMap::new());
        Self { under_way, busy, channels, metrics, trail }
    }

    /// The channels to which something can be sent now.
    pub(super) fn ready(&self, alerts: &Alerts, waiting: &[Waiting], now: Duration) -> Vec<Channel> {
        let is_due = |name: &String| waiting.iter().any(|it| it.channel == *name && self.due(it) <= now);
        let free = |channel: &&Channel| !self.busy.contains(&channel.name) && is_due(&channel.name);
        let places = MOST_AT_ONCE.saturating_sub(self.busy.len());
        alerts.channels.iter().filter(free).take(places).cloned().collect()
    }

    /// When something can be sent next, since the boot.
    pub(super) fn next(&self, waiting: &[Waiting]) -> Duration {
        // Whoever is busy says so by ending.
        if self.busy.len() >= MOST_AT_ONCE {
            return Duration::MAX;
        }
        let idle = waiting.iter().filter(|waiting| !self.busy.contains(&waiting.channel));
        idle.map(|waiting| self.due(waiting)).min().unwrap_or(Duration::MAX)
    }

    fn due(&self, waiting: &Waiting) -> Duration {
        let until = self.channels.get(&waiting.channel).map_or(Duration::ZERO, |trouble| trouble.until);
        waiting.due.max(until)
    }

    /// What went wrong with a channel the last time.
    pub(super) fn failure(&self, channel: &str) -> Option<String> {
        self.channels.get(channel).map(|trouble| trouble.why.clone())
    }

    /// The channels that take nothing, and why; after a restart, as the outbox remembers.
    pub(super) fn failing(&self, alerts: &Alerts, waiting: &[Waiting]) -> Vec<(String, String)> {
        let remembered = |name: &str| waiting.iter().find(|waiting| waiting.channel == name)?.error.clone();
        let why = |channel: &Channel| self.failure(&channel.name).or_else(|| remembered(&channel.name));
        alerts.channels.iter().filter_map(|channel| Some((channel.name.clone(), why(channel)?))).collect()
    }

    /// Sends a message.
    pub(super) fn begin(&mut self, due: Due, channel: &Channel, status: &Status, repeat_every: Duration) {
        self.busy.insert(channel.name.clone());
        let (channel, route) = (channel.clone(), route(channel, status));
        self.under_way.spawn(async move {
            let result = send(&channel, &due.notice, route, repeat_every).await;
            Ended { way: channel.way.word(), due, result }
        });
    }

    /// Sends a message that is kept nowhere, and tells whoever asked what became of it.
    pub(super) fn try_channel(
        &self,
        channel: &Channel,
        notice: Notice,
        status: &Status,
        answer: oneshot::Sender<Result<String, String>>,
    ) {
        let (channel, route) = (channel.clone(), route(channel, status));
        let (metrics, trail) = (Arc::clone(&self.metrics), self.trail.clone());
        tokio::spawn(async move {
            let result = send(&channel, &notice, route, Duration::ZERO).await;
            metrics.alerted(channel.way.word(), result.is_ok());
            let told = result.map_err(|failure| failure.why);
            write(trail.as_ref(), &channel.name, &notice, told.as_ref().map(drop).map_err(String::as_str));
            let _ = answer.send(told);
        });
    }

    /// Waits for a delivery to end; `None` while none is under way.
    pub(super) async fn ended(&mut self) -> Option<Ended> {
        loop {
            match self.under_way.join_next().await? {
                Ok(ended) => return Some(ended),
                Err(error) => tracing::error!(%error, "a delivery of an alert was broken off"),
            }
        }
    }

    /// Counts and tells what became of a delivery, and says what follows.
    pub(super) fn settle(&mut self, ended: &Ended, now: Duration) -> Outcome {
        let Ended { due, way, result } = ended;
        self.busy.remove(&due.channel);
        self.metrics.alerted(way, result.is_ok());
        match result {
            Ok(said) => {
                self.channels.remove(&due.channel);
                tracing::info!(channel = due.channel, key = due.notice.key(), "an alert was delivered: {said}");
                write(self.trail.as_ref(), &due.channel, &due.notice, Ok(()));
                Outcome::Taken
            }
            Err(failure) => self.later(due, failure, now),
        }
    }

    fn later(&mut self, due: &Due, failure: &Failure, now: Duration) -> Outcome {
        let Failure { fault, why, retry_after } = failure;
        if due.attempts == 0 {
            tracing::warn!(channel = due.channel, key = due.notice.key(), "an alert was not taken: {why}");
            write(self.trail.as_ref(), &due.channel, &due.notice, Err(why));
        }
        let before = self.channels.get(&due.channel).map_or(0, |trouble| trouble.failures);
        let random = RandomState::new().build_hasher().finish();
        let pause = |failures| pause(failures, *retry_after, random);
        let (until, later) = match fault {
            Fault::Channel => (now + pause(before + 1), now),
            Fault::Notice => (now + retry_after.unwrap_or_default().min(LONGEST_ASKED), now + pause(due.attempts + 1)),
        };
        self.channels.insert(due.channel.clone(), Trouble { failures: before + 1, why: why.clone(), until });
        Outcome::Later { why: why.clone(), due: later }
    }

    /// Tells of a message that nobody took.
    pub(super) fn given_up(&self, due: &Due, alerts: &Alerts) {
        let why = match alerts.channel(&due.channel) {
            Some(channel) => {
                self.metrics.alerted(channel.way.word(), false);
                "given up: nobody took it for a day"
            }
            None => "given up: the channel is gone",
        };
        tracing::warn!(channel = due.channel, key = due.notice.key(), "an alert is {why}");
        write(self.trail.as_ref(), &due.channel, &due.notice, Err(why));
    }
}

async fn send(
    channel: &Channel,
    notice: &Notice,
    route: Result<Route, String>,
    repeat_every: Duration,
) -> Result<String, Failure> {
    let route = route.map_err(Failure::of_channel)?;
    channel::send(&Errand { channel, notice, route, repeat_every }).await
}

/// How a channel is reached: directly, or through a node of its pool that serves, another one each time.
fn route(channel: &Channel, status: &Status) -> Result<Route, String> {
    let Some(pool) = &channel.via else { return Ok(Route::Direct) };
    let serving: Vec<_> = status.nodes.iter().filter(|node| node.pool == *pool && node.serving).collect();
    let random = RandomState::new().build_hasher().finish();
    let chosen = usize::try_from(random).unwrap_or_default().checked_rem(serving.len());
    let node = chosen.and_then(|chosen| serving.get(chosen));
    let node = node.ok_or_else(|| format!("no node of pool {pool} serves, through which it is reached"))?;
    Ok(Route::Node { socks: node.socks, user: USER, password: format!("{}-{random:x}", channel.name) })
}

/// How long a channel, or a message, is left alone after so many failures in a row.
fn pause(failures: u32, asked: Option<Duration>, random: u64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    let unit = random as f64 / u64::MAX as f64;
    let jittered = doubled.mul_f64(1.0 + JITTER * (2.0 * unit - 1.0));
    jittered.max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

/// Writes a row of the audit trail.
fn write(trail: Option<&Arc<Audit>>, channel: &str, notice: &Notice, result: Result<(), &str>) {
    let Some(trail) = trail else { return };
    trail.append(Record {
        at: Timestamp::now(),
        revision: notice.revision.as_ref().and_then(|revision| revision.parse().ok()),
        object: format!("channel {channel}"),
        action: format!("the alert {} is sent: {}: {}", notice.key(), notice.heading(), notice.summary),
        cause: format!("rule {}", notice.rule.word()),
        result: result.err().unwrap_or("done").to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_never_shorter_than_asked() {
        let middle = u64::MAX / 2;
        let seconds = |failures| pause(failures, None, middle).as_secs_f64().round();
        assert_eq!([1, 2, 3, 8, 99].map(seconds), [5.0, 10.0, 20.0, 600.0, 600.0]);
        assert_eq!(pause(1, Some(Duration::from_secs(30)), middle), Duration::from_secs(30));
        assert_eq!(pause(1, Some(Duration::from_secs(99_999)), middle), LONGEST_ASKED);
        assert_eq!((pause(1, None, 0), pause(1, None, u64::MAX)), (Duration::from_secs(4), Duration::from_secs(6)));
    }
}
