//! The AF_UNIX socket in the runtime directory: how the other verbs speak to the daemon.
//!
//! One line of JSON is asked, one line is answered. The peer has to be root or the daemon's own user.

mod asking;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::alert::AlertsDocument;
use crate::apply::Outcome;
use crate::audit::Who;
use crate::desired::PoolName;
use crate::observe::Visitor;
use crate::plan::Deletions;
use crate::status::pulse::Pulse;
use crate::status::wire::{DriftDocument, EventsDocument, NodesDocument, StatusDocument};
use crate::status::{ConditionStatus, ConditionType, DriftItem, Note, Status, Visitors};
use crate::sys::{files, users};

use super::StatusReceiver;
use super::alerting::Alerting;
use super::at_once::{AtOnce, Operator};
use super::fetching::Fetching;
use super::wake::{Cause, Wakeups};
pub use asking::{ask, operator};
pub use watch::Watching;

/// The socket's name in the runtime directory.
const FILE: &str = "daemon.sock";
/// The longest question.
const LONGEST_QUESTION_BYTES: u64 = 4_096;
/// How long a peer may take to ask.
const QUESTION_DEADLINE: Duration = Duration::from_secs(5);

/// What can be asked of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Tell the published status, at once.
    Status,
    /// Tell it, and again whenever it is another one, until the peer has enough.
    Watch,
    /// Fetch a remote source and look again now, and answer after the pass.
    Reconcile,
    /// The same, after what was counted is forgotten: what has failed is tried at once, and nobody is held down.
    Reset,
    /// Fetch a remote source, take a revision up that waits for it, and look again.
    Apply {
        /// The revision, in full or as the 40 digits of its commit; `None` asks for none.
        revision: Option<String>,
        /// Whether it may destroy more nodes than the file allows.
        deletions: Deletions,
    },
    /// Keep the change of the guard on trial, and carry out the removals that wait for confirmation.
    Confirm {
        /// The revision that has to be in force, where the operator names it.
        revision: Option<String>,
    },
    /// Leave a pool alone, or the whole host.
    Suspend {
        /// The pool; `None` means the host.
        pool: Option<PoolName>,
        /// Why.
        reason: String,
        /// For how long.
        seconds: u64,
    },
    /// End a suspension.
    Resume {
        /// The pool; `None` means the host.
        pool: Option<PoolName>,
    },
    /// Put an earlier revision in force, and mark the one that is left.
    Rollback {
        /// The revision; `None` means the one before.
        revision: Option<String>,
    },
    /// Tell what is pending, firing and silenced, at once.
    Alerts,
    /// Send a message to a channel, and tell what became of it.
    TryChannel {
        /// The channel.
        channel: String,
    },
    /// Let nodes leave from another exit.
    Rotate {
        /// Nodes and pools; none means all.
        names: Vec<String>,
    },
    /// Erase an address, or a network, from the audit trail.
    EraseAddress {
        /// The address, or a network of them.
        address: String,
    },
    /// Tell the levels of the log, or set them until the daemon ends.
    LogLevel {
        /// The levels, as in `info,exitpool::tor=debug`; `None` asks for them.
        levels: Option<String>,
    },
    /// Let in again who is locked out.
    Unlock {
        /// The address; `None` means everybody.
        address: Option<IpAddr>,
    },
    /// Remove everything of ours from this host, and end.
    Down,
}

/// What a peer asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    verb: Verb,
    /// From where the operator is logged in, if that is by SSH.
    #[serde(default)]
    from: Option<Visitor>,
}

/// What the daemon answers: the status after the pass, and what was done in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What became of an order, one sentence each.
    #[serde(default)]
    pub said: Vec<String>,
    /// Why an order was not taken; null where it was, or where none was given.
    #[serde(default)]
    pub refused: Option<String>,
    /// Whether the host is as desired.
    pub converged: bool,
    /// The steps that were carried out, one sentence each.
    pub applied: Vec<String>,
    /// What went wrong, one sentence each.
    pub failures: Vec<String>,
    /// What is left to do or to wait for, one sentence each.
    pub left: Vec<String>,
    /// `/api/v1/status`, without a client.
    pub status: serde_json::Value,
    /// `/api/v1/nodes`.
    pub nodes: serde_json::Value,
    /// `/api/v1/drift`; an older daemon does not tell it.
    #[serde(default)]
    pub drift: serde_json::Value,
    /// What is pending, firing and silenced, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<AlertsDocument>,
    /// `/api/v1/events`; an older daemon does not tell them.
    #[serde(default)]
    pub events: EventsDocument,
    /// Who has used this host lately; told to nobody but root and the daemon's user.
    #[serde(default)]
    pub visitors: BTreeSet<Visitor>,
    /// Whether the host matches the file, as the page says it, and what belongs to it; told to who watches.
    #[serde(default)]
    pub headline: Vec<String>,
    /// Whether the daemon lives, where the status was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulse: Option<Pulse>,
}

/// A question on its way to the loop.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub verb: Verb,
    /// Who asks: the user at the other end of the socket.
    pub by: String,
    /// The same, for the audit trail.
    pub who: Who,
    reply: oneshot::Sender<Report>,
}

impl Request {
    /// Answers; a peer that has gone away misses it.
    pub fn answer(self, report: &Report) {
        let _ = self.reply.send(report.clone());
    }
}

/// Why the socket could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// It cannot be made.
    #[error("cannot make the socket {path}")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No daemon answers.
    #[error("no exitpool daemon answers at {path}: start it with `exitpool run`, or name its --runtime-dir")]
    Absent {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The daemon closed the connection without an answer.
    #[error("the daemon at {path} did not answer: see its log")]
    Silent {
        /// The socket.
        path: PathBuf,
    },
}

/// What a conversation needs of the daemon.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Where questions go that the loop answers.
    pub requests: mpsc::Sender<Request>,
    /// What the loop published last.
    pub status: StatusReceiver,
    /// Who has used this host lately.
    pub visitors: Arc<Visitors>,
    /// How the loop is woken.
    pub wakeups: Wakeups,
    /// Who fetches a remote source.
    pub fetching: Option<Fetching>,
    /// Who tells people.
    pub alerting: Alerting,
    /// What is done beside the passes.
    pub at_once: AtOnce,
}

/// Serves the socket until `stop`; a leftover of an earlier daemon is replaced, since the lock is ours.
pub fn serve(runtime_dir: &Path, daemon: Daemon, stop: CancellationToken) -> Result<JoinHandle<()>, SocketError> {
    let path = runtime_dir.join(FILE);
    let failed = |source| SocketError::Bind { path: path.clone(), source };
    files::remove(&path).map_err(failed)?;
    let listener = UnixListener::bind(&path).map_err(failed)?;
    Ok(tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            if let Ok((stream, _)) = accepted {
                tokio::spawn(converse(stream, daemon.clone()));
            }
        }
        let _ = std::fs::remove_file(&path);
    }))
}

async fn converse(mut stream: UnixStream, daemon: Daemon) {
    let uid = match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 || peer.uid() == rustix::process::getuid().as_raw() => peer.uid(),
        Ok(peer) => return tracing::warn!(uid = peer.uid(), "refused a stranger at the socket"),
        Err(error) => return tracing::warn!(%error, "cannot tell who speaks at the socket"),
    };
    let Ok(Some(question)) = timeout(QUESTION_DEADLINE, read_question(&mut stream)).await else {
        return;
    };
    if question.verb == Verb::Watch {
        return watch::tell(stream, daemon.status).await;
    }
    let Some(report) = daemon.report(question, uid).await else {
        return;
    };
    if let Ok(mut line) = serde_json::to_vec(&report) {
        line.push(b'\n');
        let _ = stream.write_all(&line).await;
    }
}

impl Daemon {
    /// Answers at once what was published, and lets the loop answer the rest.
    async fn report(&self, Question { verb, from }: Question, uid: u32) -> Option<Report> {
        if verb == Verb::Status {
            let (now, status) = (Timestamp::now(), self.status.borrow());
            let (visitors, pulse) = (self.visitors.lately(now), Some(status.pulse(now)));
            return Some(Report { visitors, pulse, ..Report::of(&status) });
        }
        if verb == Verb::Alerts {
            let alerts = self.alerting.board.document();
            return Some(Report { alerts: Some(AlertsDocument::clone(&alerts)), ..Report::of(&self.status.borrow()) });
        }
        if let Some(operator) = from {
            self.visitors.saw(operator, Timestamp::now());
        }
        let by = users::name_of(uid);
        let who = Who { uid: Some(uid), address: from.map(|operator| operator.address), ..Who::default() };
        if let Some(answer) = self.at_once.answer(&verb, &Operator { by: &by, who: &who }).await {
            return Some(Report::of(&self.status.borrow()).answering(answer));
        }
        tracing::info!(by, ?verb, "an operator asks");
        if let Verb::TryChannel { channel } = verb {
            let told = self.alerting.try_channel(channel).await;
            return Some(Report::of(&self.status.borrow()).answering(told.map(|said| vec![said])));
        }
        let looks_at_the_source = matches!(verb, Verb::Reconcile | Verb::Reset | Verb::Apply { .. });
        if let Some(fetching) = self.fetching.as_ref().filter(|_| looks_at_the_source) {
            fetching.now().await;
        }
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { verb, by, who, reply }).await.ok()?;
        self.wakeups.wake(Cause::Operator);
        answer.await.ok()
    }
}

impl Report {
    /// Tells a status.
    pub fn of(status: &Status) -> Self {
        let sentence = |note: &Note| format!("{}: {}", note.object, note.message);
        let open = [&status.pending, &status.waiting, &status.blocked];
        let drifted = status.drift.items.iter().map(DriftItem::told);
        let held = status.held.iter().map(ToString::to_string);
        let waits =
            status.source.offered.iter().zip(status.source.withheld).map(|(offered, why)| format!("{offered}: {why}"));
        Self {
            said: Vec::new(),
            refused: None,
            converged: status.condition_status(ConditionType::Ready) == ConditionStatus::True,
            applied: status.last_pass.iter().flat_map(|pass| pass.applied.iter().map(ToString::to_string)).collect(),
            failures: status
                .failures
                .iter()
                .map(|(object, failure)| format!("{object}: {}", failure.message))
                .collect(),
            left: waits.chain(held).chain(drifted).chain(open.into_iter().flatten().map(sentence)).collect(),
            status: serde_json::to_value(StatusDocument::of(status, None)).unwrap_or_default(),
            nodes: serde_json::to_value(NodesDocument::from(status)).unwrap_or_default(),
            drift: serde_json::to_value(DriftDocument::from(status)).unwrap_or_default(),
            alerts: None,
            events: EventsDocument::of(status, &Default::default()),
            visitors: BTreeSet::new(),
            headline: Vec::new(),
            pulse: None,
        }
    }

    /// The same, with what became of an order.
    pub fn answering(self, obeyed: Result<Vec<String>, String>) -> Self {
        match obeyed {
            Ok(said) => Self { said, ..self },
            Err(refused) => Self { refused: Some(refused), ..self },
        }
    }

    /// Tells what became of taking everything down.
    pub fn of_down(outcomes: &[Outcome]) -> Self {
        let failed = |outcome: &Outcome| {
            let failed = outcome.result.as_ref().err()?;
            Some(format!("{}: {}", outcome.step.object, failed.message))
        };
        let failures: Vec<String> = outcomes.iter().filter_map(failed).collect();
        let done = outcomes.iter().filter(|outcome| outcome.result.is_ok());
        Self {
            said: Vec::new(),
            refused: None,
            converged: failures.is_empty(),
            applied: done.map(|outcome| outcome.step.to_string()).collect(),
            failures,
            left: Vec::new(),
            status: serde_json::Value::Null,
            nodes: serde_json::Value::Null,
            drift: serde_json::Value::Null,
            alerts: None,
            events: EventsDocument::default(),
            visitors: BTreeSet::new(),
            headline: Vec::new(),
            pulse: None,
        }
    }
}

async fn read_question(stream: &mut UnixStream) -> Option<Question> {
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_QUESTION_BYTES)).read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}
