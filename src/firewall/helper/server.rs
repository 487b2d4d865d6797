//! The helper's side: it listens, checks who asks and what, and lets one question after the other be done.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use rustix::net::sockopt;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore};

use super::{Answer, LONGEST_QUESTION_BYTES, Managed, Question, Verb};
use crate::error::chain;
use crate::firewall::front::InFront;
use crate::firewall::iptables::{Flavour, Iptables};
use crate::firewall::model::Guard;
use crate::firewall::{Firewall, FirewallError, firewalld, ufw};
use crate::sys::{files, users};

/// How long somebody may take to ask.
const QUESTION_DEADLINE: Duration = Duration::from_secs(10);
/// How long somebody may take to go, once answered.
const LEAVING: Duration = Duration::from_secs(1);
/// How many may be asking at once: the daemon, its fuse and a few verbs.
const MOST_CONVERSATIONS: usize = 16;

/// Makes the socket, which the one user may enter, and nobody else.
pub fn listen(path: &Path, uid: u32) -> io::Result<UnixListener> {
    files::remove(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    chown(path, Some(uid), None)?;
    Ok(listener)
}

/// Takes the socket that a service manager listens at, as our standard input.
pub fn inherited(stdin: BorrowedFd<'_>) -> io::Result<UnixListener> {
    if !sockopt::socket_acceptconn(stdin)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "nobody can connect to it"));
    }
    let listener = net::UnixListener::from(stdin.try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Whom the helper obeys, and what it works with.
pub struct Asked {
    /// The one user whose questions are answered.
    uid: u32,
    /// One after the other: these firewalls lose one of two changes that are made at once.
    firewalls: Mutex<HashMap<Managed, Kept>>,
}

/// A firewall that was spoken to before.
enum Kept {
    Front(Box<dyn InFront>),
    Guard(Box<Iptables>),
}

impl Asked {
    /// Obeys one user.
    pub fn by(uid: u32) -> Self {
        Self { uid, firewalls: Mutex::default() }
    }

    async fn answer(&self, Question { firewall, verb }: Question) -> Answer {
        if let Some(Err(why)) = verb.guard().map(Guard::check) {
            return Answer::Refused(format!("no daemon makes such a guard: {why}"));
        }
        let word = verb.word();
        let is_a_look = matches!(verb, Verb::Stands | Verb::Observe(_));
        let answered = self.obey(firewall, verb).await;
        match &answered {
            Err(error) => tracing::warn!(?firewall, verb = word, error = chain(error), "failed"),
            Ok(_) if is_a_look => tracing::debug!(?firewall, verb = word, "looked"),
            Ok(_) => tracing::info!(?firewall, verb = word, "done"),
        }
        answered.unwrap_or_else(|error| Answer::failed(&error))
    }

    async fn obey(&self, firewall: Managed, verb: Verb) -> Result<Answer, FirewallError> {
        let mut firewalls = self.firewalls.lock().await;
        let kept = match firewalls.entry(firewall) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(place) => place.insert(open(firewall).await?),
        };
        kept.obey(verb).await
    }
}

async fn open(firewall: Managed) -> Result<Kept, FirewallError> {
    Ok(match firewall {
        Managed::Ufw => Kept::Front(Box::new(ufw::Front::of_the_host().await?)),
        Managed::Firewalld => Kept::Front(Box::new(firewalld::Front::of_the_host())),
        Managed::IptablesLegacy => Kept::Guard(Box::new(Iptables::of(Flavour::Legacy))),
    })
}

impl Kept {
    async fn obey(&self, verb: Verb) -> Result<Answer, FirewallError> {
        match self {
            Self::Front(front) => obey_in_front(&**front, verb).await,
            Self::Guard(iptables) => obey_with_a_guard(iptables, verb).await,
        }
    }
}

async fn obey_in_front(front: &dyn InFront, verb: Verb) -> Result<Answer, FirewallError> {
    match verb {
        Verb::Stands => return Ok(Answer::Stands(front.stands().await)),
        Verb::Observe(guard) => return front.differences(&guard).await.map(Answer::Differences),
        Verb::Narrow(guard) => front.narrow(&guard).await?,
        Verb::Apply(guard) => front.settle(&guard).await?,
        Verb::Remove => front.remove().await?,
    }
    Ok(Answer::Done)
}

async fn obey_with_a_guard(iptables: &Iptables, verb: Verb) -> Result<Answer, FirewallError> {
    match verb {
        Verb::Stands => return iptables.works().await.map(Answer::Stands),
        Verb::Observe(guard) => return Ok(Answer::Seen(iptables.observe(&guard).await)),
        Verb::Narrow(_) => return Ok(Answer::Refused("nothing stands in front of this guard".to_owned())),
        Verb::Apply(guard) => iptables.apply(&guard).await?,
        Verb::Remove => iptables.remove().await?,
    }
    Ok(Answer::Done)
}

/// Serves for ever. A question that cannot be answered ends its conversation, and nothing else.
pub async fn serve(listener: UnixListener, asked: Asked) {
    let (asked, free) = (Arc::new(asked), Arc::new(Semaphore::new(MOST_CONVERSATIONS)));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors: some will be free again.
                tracing::warn!(%error, "cannot hear a question");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (asked, free) = (Arc::clone(&asked), Arc::clone(&free));
        tokio::spawn(async move {
            let mut stream = stream;
            let answer = match free.try_acquire() {
                Ok(_permit) => converse(&mut stream, &asked).await,
                Err(_) => Answer::Refused("too many are asking: try again".to_owned()),
            };
            say(&mut stream, &answer).await;
        });
    }
}

async fn converse(stream: &mut UnixStream, asked: &Asked) -> Answer {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == asked.uid => {}
        Ok(peer) => {
            let (who, whom) = (users::name_of(peer.uid()), users::name_of(asked.uid));
            tracing::warn!(uid = peer.uid(), "refused: it is not the user that is obeyed");
            return Answer::Refused(format!("{who} is not obeyed here, but {whom} alone"));
        }
        Err(error) => return Answer::Refused(format!("who asks is not known: {error}")),
    }
    let answer = match tokio::time::timeout(QUESTION_DEADLINE, read(stream)).await {
        Ok(Ok(question)) => asked.answer(question).await,
        Ok(Err(why)) => Answer::Refused(why),
        Err(_) => Answer::Refused(format!("no question came within {} s", QUESTION_DEADLINE.as_secs())),
    };
    if let Answer::Refused(why) = &answer {
        tracing::warn!(why, "refused");
    }
    answer
}

/// Reads one line, and understands it.
async fn read(stream: &mut UnixStream) -> Result<Question, String> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(stream.take(LONGEST_QUESTION_BYTES + 1));
    reader.read_until(b'\n', &mut line).await.map_err(|error| format!("the question cannot be read: {error}"))?;
    match line.last() {
        Some(b'\n') => serde_json::from_slice(&line).map_err(|error| format!("that is no question: {error}")),
        _ if line.len() as u64 > LONGEST_QUESTION_BYTES => {
            Err(format!("the question has more than {LONGEST_QUESTION_BYTES} bytes"))
        }
        _ => Err("the question ends in the middle: it is one line of JSON".to_owned()),
    }
}

/// Answers; one that has gone away misses it.
async fn say(stream: &mut UnixStream, answer: &Answer) {
    let Ok(mut line) = serde_json::to_vec(answer) else { return };
    line.push(b'\n');
    let _ = stream.write_all(&line).await;
    let _ = stream.shutdown().await;
    // Closed with something unread in it, the socket would give the peer an error behind the answer.
    let mut rest = stream.take(LONGEST_QUESTION_BYTES);
    let mut nowhere = tokio::io::sink();
    let _ = tokio::time::timeout(LEAVING, tokio::io::copy(&mut rest, &mut nowhere)).await;
}
