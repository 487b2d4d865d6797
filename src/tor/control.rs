//! The control sockets: one actor per instance owns the connection, answers commands and turns events into wake-ups.
//!
//! # Flow
//!
//! A command goes to the actor with a deadline and comes back as a reply. The actor connects when it has to. Events that
//! come between are told from replies; they only wake, the truth is read by the next look.
//!
//! # Guarantees
//!
//! - A command ends by its deadline. Its connection is dropped then, since the late reply would answer the next command.
//! - Nothing of what consumers do is asked for, except which circuit a stream uses; where it goes is passed over.

pub mod answers;
pub mod circuits;
mod connection;
mod framing;
mod renewals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use circuits::Circuit;
use connection::Connection;
pub use connection::{Address, ConnectionError};
pub use framing::Message;
use renewals::Renewals;

use super::news::News;
use crate::observe::{Begun, Renewal, UnsafeSocks};

/// The event by which tor says that new connections use new circuits; it says nothing where it puts that off.
const NEWNYM_IS_DONE: &str = "SIGNAL NEWNYM";

/// What the event begins with by which tor says that somebody has asked it to connect to an address. What stands behind it
/// names the address, and is not read.
const UNSAFE_SOCKS: &str = "STATUS_CLIENT WARN DANGEROUS_SOCKS";

/// Speaks to one control socket; the actor ends when this is dropped.
#[derive(Debug)]
pub struct ControlClient {
    requests: mpsc::Sender<Request>,
    latency_ms: Arc<AtomicU32>,
    renewals: Renewals,
    unsafe_socks: Arc<Mutex<UnsafeSocks>>,
    begun: Arc<Mutex<Tally>>,
}

/// What was heard of an instance's circuits, which no question answers.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// How long the latest circuit took to build, in milliseconds; `None` until one was seen to be built.
    pub latency_ms: Option<u32>,
    /// What became of the new circuits that it was told to use.
    pub renewal: Renewal,
    /// Since when it uses them, as tor writes times; empty where it was not told to.
    pub renewed_at: String,
    /// How often it was asked to connect to an address, and not to a name.
    pub unsafe_socks: UnsafeSocks,
    /// What became of the circuits that it has begun.
    pub begun: Begun,
}

/// What has become of circuits.
#[derive(Debug, Default)]
struct Tally {
    begun: Begun,
    /// Those that were launched before this do not count as built.
    since: Option<Instant>,
}

/// One command on its way.
#[derive(Debug)]
struct Request {
    command: String,
    within: Duration,
    reply: oneshot::Sender<Result<Message, ConnectionError>>,
}

/// What the actor owns.
struct Actor {
    address: Address,
    connection: Option<Connection>,
    news: News,
    launched: BTreeMap<u64, Instant>,
    latency_ms: Arc<AtomicU32>,
    renewals: Renewals,
    unsafe_socks: Arc<Mutex<UnsafeSocks>>,
    begun: Arc<Mutex<Tally>>,
}

impl Tally {
    fn begin_anew(&mut self) {
        *self = Self { begun: Begun::default(), since: Some(Instant::now()) };
    }
}

impl ControlClient {
    /// Starts the actor of a control socket, which tells when something has happened.
    pub fn start(address: Address, news: News) -> Self {
        let (requests, queue) = mpsc::channel(4);
        let latency_ms = Arc::new(AtomicU32::new(0));
        let renewals = Renewals::default();
        let (unsafe_socks, begun): (Arc<Mutex<UnsafeSocks>>, Arc<Mutex<Tally>>) = Default::default();
        let actor = Actor {
            address,
            connection: None,
            news,
            launched: BTreeMap::new(),
            latency_ms: Arc::clone(&latency_ms),
            renewals: renewals.clone(),
            unsafe_socks: Arc::clone(&unsafe_socks),
            begun: Arc::clone(&begun),
        };
        tokio::spawn(actor.run(queue));
        Self { requests, latency_ms, renewals, unsafe_socks, begun }
    }

    /// Sends a command and waits for its reply, whatever that says.
    pub async fn ask(&self, command: String, within: Duration) -> Result<Message, ConnectionError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { command, within, reply };
        self.requests.send(request).await.map_err(|_| ConnectionError::Gone)?;
        answer.await.map_err(|_| ConnectionError::Gone)?
    }

    /// What was heard of its circuits.
    pub fn heard(&self) -> Heard {
        Heard {
            latency_ms: Some(self.latency_ms.load(Ordering::Relaxed)).filter(|latency| *latency > 0),
            renewal: self.renewals.observed(),
            renewed_at: self.renewals.since().unwrap_or_default(),
            unsafe_socks: *locked(&self.unsafe_socks),
            begun: locked(&self.begun).begun,
        }
    }

    /// Counts circuits anew: those from before its options were set say nothing of them.
    pub fn begin_anew(&self) {
        locked(&self.begun).begin_anew();
    }

    /// How far it has come with new circuits.
    pub fn renewals(&self) -> &Renewals {
        &self.renewals
    }
}

impl Actor {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        loop {
            tokio::select! {
                request = queue.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
                event = next_event(&mut self.connection) => match event {
                    Ok(message) => self.notice(&message),
                    Err(_) => {
                        self.disconnect();
                        self.news.tell();
                    }
                },
            }
        }
    }

    /// Carries one command out, within its deadline.
    async fn serve(&mut self, request: Request) {
        let Request { command, within, reply } = request;
        let outcome = match tokio::time::timeout(within, self.exchange(&command)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConnectionError::Deadline(within.as_millis())),
        };
        if outcome.is_err() {
            self.disconnect();
        }
        // Nobody waits any more: then nobody needs to know.
        let _ = reply.send(outcome);
    }

    /// Sends a command and takes the events that come before its reply.
    async fn exchange(&mut self, command: &str) -> Result<Message, ConnectionError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            // On the heap, since it is long and rare: a hundred idle actors would carry its size about.
            None => Box::pin(Connection::open(&self.address)).await?,
        };
        connection.send(command).await?;
        loop {
            let message = connection.receive().await?;
            if !message.is_event() {
                self.connection = Some(connection);
                return Ok(message);
            }
            self.notice(&message);
        }
    }

    fn disconnect(&mut self) {
        // From now on nothing is heard, so what was seen says nothing.
        self.news.doubt();
        self.connection = None;
        self.launched.clear();
        self.renewals.lose();
    }

    /// Takes an event: measures circuits, and tells when it can mean something new.
    fn notice(&mut self, message: &Message) {
        let Some(line) = message.lines.first() else { return };
        match line.text.strip_prefix("CIRC ") {
            Some(text) => {
                // Whether there is any circuit has an event of its own; another exit can wait a little.
                if Circuit::parse(text).is_some_and(|circuit| self.measure(&circuit)) {
                    self.news.mention();
                }
            }
            None if line.text.starts_with(UNSAFE_SOCKS) => {
                let mut unsafe_socks = locked(&self.unsafe_socks);
                *unsafe_socks = UnsafeSocks { count: unsafe_socks.count + 1, last: Some(Timestamp::now()) };
                // It comes with every such connection: a look for each of them would be too many.
                self.news.mention();
            }
            None => {
                if line.text == NEWNYM_IS_DONE {
                    self.renewals.said(Timestamp::now());
                }
                self.news.tell();
            }
        }
    }

    /// Measures how long a circuit takes, and counts what becomes of it; says whether it can change the exit.
    fn measure(&mut self, circuit: &Circuit<'_>) -> bool {
        // One that takes too long has another purpose in the end.
        let launched = if circuit.is_over() { self.launched.remove(&circuit.id) } else { None };
        if !circuit.for_exit && launched.is_none() {
            return false;
        }
        match circuit.status {
            "LAUNCHED" => {
                self.launched.insert(circuit.id, Instant::now());
                false
            }
            "BUILT" => {
                if let Some(since) = launched {
                    let milliseconds = u32::try_from(since.elapsed().as_millis()).unwrap_or(u32::MAX);
                    // 0 says that nothing was measured.
                    self.latency_ms.store(milliseconds.max(1), Ordering::Relaxed);
                    let mut tally = locked(&self.begun);
                    if tally.since.is_none_or(|begun| since > begun) {
                        tally.begun = Begun { built: tally.begun.built + 1, failed: 0 };
                    }
                }
                true
            }
            "FAILED" => {
                // Where tor finds no path, it says so without having launched it.
                locked(&self.begun).begun.failed += u64::from(!circuit.is_unwanted());
                true
            }
            "CLOSED" => true,
            _ => false,
        }
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole between any two statements, so a panic elsewhere spoils nothing.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for what comes unasked; for ever while there is no connection.
async fn next_event(connection: &mut Option<Connection>) -> Result<Message, ConnectionError> {
    match connection {
        Some(connection) => connection.receive().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor() -> Actor {
        Actor {
            address: Address { socket: "/nowhere".into(), cookie: "/nowhere".into() },
            connection: None,
            news: News::of_one(Arc::default()),
            launched: BTreeMap::new(),
            latency_ms: Arc::default(),
            renewals: Renewals::default(),
            unsafe_socks: Arc::default(),
            begun: Arc::default(),
        }
    }

    fn after(actor: &mut Actor, events: &[&str]) -> (u64, u64) {
        for event in events {
            actor.measure(&Circuit::parse(event).unwrap());
        }
        let Begun { built, failed } = locked(&actor.begun).begun;
        (built, failed)
    }

    #[test]
    fn what_becomes_of_circuits_is_counted_since_the_options_were_set_last() {
        const FOR_EXIT: &str = "BUILD_FLAGS=NEED_CAPACITY PURPOSE=GENERAL";
        let event = |id: u64, status: &str, rest: &str| format!("{id} {status} {FOR_EXIT} {rest}");
        let (nowhere, launched) = (event(1, "FAILED", "REASON=NOPATH"), event(2, "LAUNCHED", ""));
        let late = "2 FAILED BUILD_FLAGS=NEED_CAPACITY PURPOSE=MEASURE_TIMEOUT REASON=MEASUREMENT_EXPIRED".to_owned();
        let mut actor = actor();
        assert_eq!(after(&mut actor, &[&nowhere, &nowhere]), (0, 2), "without a path none is launched");
        assert_eq!(after(&mut actor, &[&launched, &late, &late]), (0, 3), "one that took too long, once");
        let internal = "9 FAILED BUILD_FLAGS=IS_INTERNAL PURPOSE=HS_VANGUARDS REASON=NOPATH";
        let unwanted = event(3, "FAILED", "REASON=REQUESTED");
        assert_eq!(after(&mut actor, &[internal, &unwanted]), (0, 3), "what carries no consumer, or was closed by us");
        let (launched, built) = (event(4, "LAUNCHED", ""), event(4, "BUILT", ""));
        assert_eq!(after(&mut actor, &[&launched, &built]), (1, 0));
        assert_eq!(after(&mut actor, &[&nowhere, &event(4, "CLOSED", "REASON=FINISHED")]), (1, 1));

        let launched = event(5, "LAUNCHED", "");
        after(&mut actor, &[&launched]);
        locked(&actor.begun).begin_anew();
        assert_eq!(after(&mut actor, &[&event(5, "BUILT", "")]), (0, 0), "it was begun with other options");
        let (launched, built) = (event(6, "LAUNCHED", ""), event(6, "BUILT", ""));
        assert_eq!(after(&mut actor, &[&launched, &built]), (1, 0));
    }
}
