//! One look at all instances.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use tokio::net::UnixStream;

use super::super::cache;
use super::super::control::answers::{Answers, CIRCUITS, QUESTION, settings};
use super::super::control::{ConnectionError, Message};
use super::super::files;
use super::super::layout::InstancePaths;
use super::super::news::Doubt;
use super::super::options::digest::TorrcDigest;
use super::super::options::{ASKED_BY_NAME, RunningOptions};
use super::super::process::Found;
use super::super::{InstanceName, TorObservation};
use super::{Session, TorDriver};
use crate::error::chain;
use crate::observe::{Control, Instance, Observation, Process};

/// The longest that one instance may take to answer: beyond it, it is unknown.
const LOOK_PATIENCE: Duration = Duration::from_secs(3);

/// How many instances are asked at once.
const LOOKS_AT_ONCE: usize = 32;

/// What a look at one instance gives.
struct Look {
    name: InstanceName,
    instance: Instance,
    /// Its session and the consensus that it has, once it has bootstrapped.
    consensus: Option<(Arc<Session>, String)>,
}

/// What was seen of a running instance whose control socket has answered.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    torrc: Observation<TorrcDigest>,
    pub(super) control: Control,
    /// The time of its consensus, once it has bootstrapped.
    consensus: Option<String>,
}

impl Seen {
    /// Whether it takes no new connections and has some still.
    fn is_draining(&self) -> bool {
        self.control.socks_listeners.is_empty() && self.control.connections > 0
    }
}

pub(super) async fn observe(driver: &TorDriver) -> TorObservation {
    let processes = driver.known_processes().await.map_err(|error| chain(&error));
    let listed = list(driver, processes.as_ref().ok());
    let program = match (driver.program.find().await, &listed) {
        // Nothing may be started where we cannot even see what is there.
        (_, Err(why)) => Observation::Unknown(why.clone()),
        (Ok(program), _) => Observation::Present(program),
        (Err(error), _) => Observation::Unknown(chain(&error)),
    };
    let names = listed.unwrap_or_else(|_| processes.iter().flat_map(|found| found.keys().cloned()).collect());
    driver.sessions().retain(|name, _| names.contains(name));
    let looks = stream::iter(names).map(|name| look(driver, name, &processes)).buffer_unordered(LOOKS_AT_ONCE);
    let looks: Vec<Look> = looks.collect().await;
    let consensuses = looks.iter().filter_map(|look| look.consensus.clone()).collect();
    let relays = super::relays::observe(driver, consensuses).await;
    let instances = looks.into_iter().map(|look| (look.name, look.instance)).collect();
    TorObservation { instances, relays, program }
}

/// Lists the instances that have a directory or a process.
fn list(driver: &TorDriver, processes: Option<&Found>) -> Result<BTreeSet<InstanceName>, String> {
    let mut names: BTreeSet<InstanceName> = processes.into_iter().flat_map(|found| found.keys().cloned()).collect();
    for root in [driver.layout.runtime_root(), driver.layout.state_root()] {
        let found = files::instances_in(&root).map_err(|error| format!("cannot read {}: {error}", root.display()))?;
        names.extend(found);
    }
    Ok(names)
}

/// Looks at one instance.
async fn look(driver: &TorDriver, name: InstanceName, processes: &Result<Found, String>) -> Look {
    if let Some(look) = seen_before(driver, &name, processes).await {
        return look;
    }
    let paths = driver.paths(&name);
    let torrc = Torrc::read(&paths.torrc());
    let process = match processes {
        Err(why) => Observation::Unknown(why.clone()),
        Ok(found) => match found.get(&name).map(Vec::as_slice) {
            None | Some([]) => unseen(&paths).await,
            Some([oldest, extra @ ..]) => {
                // tor locks its DataDirectory, so the younger ones end by themselves.
                extra
                    .iter()
                    .for_each(|it| tracing::warn!(instance = %name, pid = it.pid, "a second tor of one instance"));
                Observation::Present(oldest.clone())
            }
        },
    };
    let mut hangs = false;
    let (control, consensus) = match &process {
        Observation::Present(process) => match ask(driver, &name, process, &torrc).await {
            Ok((control, consensus)) => (Observation::Present(control), consensus),
            Err(silence) => {
                hangs = silence.hangs;
                (Observation::Unknown(silence.why), None)
            }
        },
        Observation::Absent => (Observation::Absent, None),
        Observation::Unknown(why) => (Observation::Unknown(why.clone()), None),
    };
    let has_cache = process.is_absent() && cache::is_live(&paths.state, Timestamp::now());
    Look { name, instance: Instance { torrc: torrc.digest, process, control, has_cache, hangs }, consensus }
}

/// Gives what was seen of an instance before, where it has the same one process; of what has happened since, circuits
/// alone are asked for. Where anything else has happened, all has to be seen anew.
async fn seen_before(driver: &TorDriver, name: &InstanceName, processes: &Result<Found, String>) -> Option<Look> {
    let [process] = processes.as_ref().ok()?.get(name)?.as_slice() else { return None };
    let session = driver.sessions().get(name).filter(|session| session.watched.process == *process).cloned()?;
    let Seen { torrc, control, consensus } = match session.news.take() {
        // Connections end without an event: whoever waits for their end asks.
        Doubt::Nothing if session.seen()?.is_draining() => ask_circuits(&session).await?,
        Doubt::Nothing => session.seen()?,
        Doubt::Circuits => ask_circuits(&session).await?,
        Doubt::Everything => return None,
    };
    let (process, control) = (Observation::Present(process.clone()), Observation::Present(control));
    let instance = Instance { torrc, process, control, ..Instance::default() };
    Some(Look { name: name.clone(), instance, consensus: consensus.map(|time| (session, time)) })
}

/// What was seen of a running instance, with its circuits as they are now.
async fn ask_circuits(session: &Session) -> Option<Seen> {
    let mut seen = session.seen()?;
    let reply = session.control.ask(CIRCUITS.to_owned(), LOOK_PATIENCE).await.ok().filter(Message::is_ok)?;
    Answers::of(&reply).renew_circuits(&mut seen.control, session.control.heard());
    session.keep(Some(seen.clone()));
    Some(seen)
}

/// A torrc as it was read.
struct Torrc {
    /// Its text, to ask tor for what it says; it may hold secrets, and goes no further.
    text: String,
    /// Its digest, which is all that is compared.
    digest: Observation<TorrcDigest>,
}

impl Torrc {
    fn read(path: &Path) -> Self {
        match std::fs::read_to_string(path) {
            Ok(text) => Self { digest: Observation::Present(TorrcDigest::of(&text)), text },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::without(Observation::Absent),
            Err(error) => Self::without(Observation::Unknown(format!("cannot read {}: {error}", path.display()))),
        }
    }

    fn without(digest: Observation<TorrcDigest>) -> Self {
        Self { text: String::new(), digest }
    }
}

/// Makes sure that a process that is not in the table is not there: a mount option can hide it.
async fn unseen(paths: &InstancePaths) -> Observation<Process> {
    match tokio::time::timeout(LOOK_PATIENCE, UnixStream::connect(paths.control())).await {
        Ok(Err(_)) => Observation::Absent,
        _ => Observation::Unknown(
            "its control socket is open and its process cannot be seen: is /proc mounted with hidepid?".to_owned(),
        ),
    }
}

/// Asks a process about itself.
async fn ask(
    driver: &TorDriver,
    name: &InstanceName,
    process: &Process,
    torrc: &Torrc,
) -> Result<(Control, Option<(Arc<Session>, String)>), Silence> {
    let session = driver.session(name, process).map_err(|error| Silence::because(chain(&error)))?;
    let session = session.ok_or_else(|| Silence::because("it ended just now"))?;
    session.news.take();
    match ask_session(&session, &torrc.text).await {
        Ok((control, time)) => {
            let consensus = (control.bootstrap.is_done() && !time.is_empty()).then_some(time);
            let torrc = torrc.digest.clone();
            let is_known = torrc.unknown().is_none();
            let seen = Seen { torrc, control: control.clone(), consensus: consensus.clone() };
            session.keep(is_known.then_some(seen));
            Ok((control, consensus.map(|time| (session, time))))
        }
        Err(silence) => {
            session.keep(None);
            Err(silence)
        }
    }
}

/// Why a running process says nothing.
struct Silence {
    why: String,
    /// Whether it took the question and gave no answer in time, as one does that hangs. Its process is ours for certain
    /// then: a pidfd holds it.
    hangs: bool,
}

impl Silence {
    fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), hangs: false }
    }
}

impl From<ConnectionError> for Silence {
    fn from(error: ConnectionError) -> Self {
        Self { why: error.to_string(), hangs: matches!(error, ConnectionError::Deadline(_)) }
    }
}

/// Asks for everything, and by name for what the torrc says; gives the consensus' time with it.
async fn ask_session(session: &Session, torrc: &str) -> Result<(Control, String), Silence> {
    let deadline = Instant::now() + LOOK_PATIENCE;
    let reply = session.control.ask(QUESTION.to_owned(), LOOK_PATIENCE).await?;
    if !reply.is_ok() {
        return Err(Silence::because(format!("tor refused GETINFO: {}", reply.words())));
    }
    let answers = Answers::of(&reply);
    let expected = session.watched.process.pid;
    if answers.pid() != Some(expected) {
        let owner = answers.get("process/pid");
        let why = format!("its control socket belongs to process {owner} and not to {expected}");
        return Err(Silence::because(why));
    }
    let options = ask_by_name(session, answers.options(), torrc, deadline).await?;
    let mut control = answers.control(options, session.control.heard());
    if control.guard_relays.is_empty() {
        control.guard_relays = session.seen().map(|seen| seen.control.guard_relays).unwrap_or_default();
    }
    Ok((control, answers.get("consensus/valid-after").to_owned()))
}

/// Asks for the value of every option that the torrc names, since `config-text` leaves out those at their default.
async fn ask_by_name(
    session: &Session,
    mut options: RunningOptions,
    torrc: &str,
    deadline: Instant,
) -> Result<RunningOptions, ConnectionError> {
    let ask = |names: String| {
        let left = deadline.saturating_duration_since(Instant::now());
        session.control.ask(format!("GETCONF {names}"), left)
    };
    let names = names_in(torrc);
    let mut reply = ask(names.join(" ")).await?;
    if !reply.is_ok() {
        // One name that tor does not know spoils the whole answer: then only those are asked that it knows for sure.
        reply = ask(ASKED_BY_NAME.join(" ")).await?;
        options.take_answers(settings(&reply));
        return Ok(options);
    }
    let cut_short = unanswered(&names, &reply);
    options.take_answers(settings(&reply));
    for name in cut_short {
        let reply = ask(name.to_owned()).await?;
        if let Some(full) = settings(&reply).next().and_then(|line| line.split('=').next()) {
            options.rename(full, name);
        }
    }
    Ok(options)
}

/// The names that were asked for and answered under another one: tor completes what is cut short.
fn unanswered<'a>(names: &'a [String], reply: &Message) -> Vec<&'a str> {
    let answered: BTreeSet<String> =
        settings(reply).map(|line| line.split('=').next().unwrap_or_default().to_ascii_lowercase()).collect();
    names.iter().map(String::as_str).filter(|name| !answered.contains(&name.to_ascii_lowercase())).collect()
}

/// Names the options of a torrc, and those that are always asked for.
fn names_in(torrc: &str) -> Vec<String> {
    let options = RunningOptions::parse(torrc);
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let named = options.0.keys().map(String::as_str).filter(is_name);
    let names: BTreeSet<&str> = named.chain(ASKED_BY_NAME.iter().copied()).collect();
    names.into_iter().map(str::to_owned).collect()
}
