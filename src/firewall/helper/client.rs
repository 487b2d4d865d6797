//! The daemon's side: drivers that ask the helper.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{Answer, Managed, Question, SOCKET, VARIABLE, Verb};
use crate::error::chain;
use crate::firewall::front::InFront;
use crate::firewall::model::Guard;
use crate::firewall::{Firewall, FirewallError};
use crate::observe::{Observation, ObservedGuard};

/// What the helper is called in messages.
const NAME: &str = "the firewall helper";
/// How long it may take: a firewall is told with several commands, and others may be asking.
const DEADLINE: Duration = Duration::from_secs(120);
/// Longer than any answer is.
const LONGEST_ANSWER_BYTES: u64 = 16 << 20;
/// What it keeps tells nobody that it was changed, so it is looked at this often.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// Where the helper is.
#[derive(Debug, Clone)]
pub struct Helper {
    socket: PathBuf,
}

/// A firewall that the helper keeps.
#[derive(Debug)]
pub struct Helped {
    helper: Helper,
    firewall: Managed,
    /// What was seen last, of which guard.
    last: Mutex<Option<(Guard, Observation<ObservedGuard>)>>,
}

impl Helper {
    /// The helper of this host.
    pub fn of_the_host() -> Self {
        Self { socket: std::env::var_os(VARIABLE).map_or_else(|| SOCKET.into(), PathBuf::from) }
    }

    /// Takes over a firewall that said no to us, where the helper can be asked and is let.
    pub async fn instead_of(self, firewall: Managed, refused: FirewallError) -> Result<Helped, FirewallError> {
        if !matches!(refused, FirewallError::Forbidden { .. } | FirewallError::RootOnly { .. }) {
            return Err(refused);
        }
        match self.ask(firewall, Verb::Observe(Guard::default())).await {
            Ok(_) => {
                tracing::info!(?firewall, socket = %self.socket.display(), "the firewall helper keeps what takes root");
                Ok(Helped { helper: self, firewall, last: Mutex::default() })
            }
            Err(helper) => Err(FirewallError::Unhelped { refused: chain(&refused), helper: chain(&helper) }),
        }
    }

    /// The same for a look at what stands; `None` where nobody can be asked.
    pub async fn for_a_look(self, firewall: Managed) -> Option<Helped> {
        let asked = self.ask(firewall, Verb::Stands).await;
        matches!(asked, Ok(Answer::Stands(true))).then(|| Helped { helper: self, firewall, last: Mutex::default() })
    }

    async fn ask(&self, firewall: Managed, verb: Verb) -> Result<Answer, FirewallError> {
        let talk = |source| FirewallError::Talk { tool: NAME, source };
        let question = Question { firewall, verb };
        let line = tokio::time::timeout(DEADLINE, self.converse(&question)).await;
        let line = line.map_err(|_| FirewallError::Deadline { tool: NAME, seconds: DEADLINE.as_secs() })?;
        let answer = serde_json::from_slice(&line.map_err(talk)?)
            .map_err(|error| FirewallError::Unreadable { tool: NAME, what: error.to_string() })?;
        match answer {
            Answer::Failed { message, late } => Err(FirewallError::Helper { message, late }),
            Answer::Refused(stderr) => Err(FirewallError::Refused { tool: NAME, stderr }),
            answer => Ok(answer),
        }
    }

    async fn converse(&self, question: &Question) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let mut line = serde_json::to_vec(question)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER_BYTES).read_to_end(&mut answer).await?;
        // One that was killed at its work has answered nothing.
        if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
    }
}

impl Helped {
    async fn ask(&self, verb: Verb) -> Result<Answer, FirewallError> {
        self.helper.ask(self.firewall, verb).await
    }

    async fn tell(&self, verb: Verb) -> Result<(), FirewallError> {
        match self.ask(verb).await? {
            Answer::Done => Ok(()),
            other => Err(strange(&other)),
        }
    }

    async fn look(&self, wanted: &Guard) -> Result<Observation<ObservedGuard>, FirewallError> {
        match self.ask(Verb::Observe(wanted.clone())).await? {
            Answer::Seen(seen) => Ok(seen),
            other => Err(strange(&other)),
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<(Guard, Observation<ObservedGuard>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes everything of ours.
    pub async fn remove_all(&self) -> Result<(), FirewallError> {
        self.tell(Verb::Remove).await
    }
}

fn strange(answer: &Answer) -> FirewallError {
    FirewallError::Unreadable { tool: NAME, what: format!("it answers {answer:?}, which was not asked") }
}

#[async_trait]
impl InFront for Helped {
    fn name(&self) -> &'static str {
        match self.firewall {
            Managed::Ufw => "ufw",
            Managed::Firewalld => "firewalld",
            Managed::IptablesLegacy => "iptables",
        }
    }

    async fn differences(&self, guard: &Guard) -> Result<Vec<String>, FirewallError> {
        match self.ask(Verb::Observe(guard.clone())).await? {
            Answer::Differences(sentences) => Ok(sentences),
            other => Err(strange(&other)),
        }
    }

    async fn narrow(&self, guard: &Guard) -> Result<(), FirewallError> {
        self.tell(Verb::Narrow(guard.clone())).await
    }

    async fn settle(&self, guard: &Guard) -> Result<(), FirewallError> {
        self.tell(Verb::Apply(guard.clone())).await
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        self.remove_all().await
    }

    async fn stands(&self) -> bool {
        matches!(self.ask(Verb::Stands).await, Ok(Answer::Stands(true)))
    }
}

/// A guard in iptables-legacy.
#[async_trait]
impl Firewall for Helped {
    fn name(&self) -> &'static str {
        InFront::name(self)
    }

    async fn observe(&self, wanted: &Guard) -> Observation<ObservedGuard> {
        match self.look(wanted).await {
            Ok(seen) => {
                *self.last() = Some((wanted.clone(), seen.clone()));
                seen
            }
            Err(error) => Observation::Unknown(chain(&error)),
        }
    }

    async fn apply(&self, guard: &Guard) -> Result<(), FirewallError> {
        *self.last() = None;
        self.tell(Verb::Apply(guard.clone())).await
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        *self.last() = None;
        self.remove_all().await
    }

    /// Wakes on what polling finds.
    async fn changed(&self) {
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            let Some((wanted, before)) = self.last().clone() else { continue };
            let now = self.look(&wanted).await;
            if now.is_ok_and(|now| now != before) && self.last().as_ref() == Some(&(wanted, before)) {
                return;
            }
        }
    }
}
