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
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use circuits::Circuit;
use connection::Connection;
pub use connection::{Address, ConnectionError};
pub use framing::Message;
use renewals::Renewals;

use super::news::News;
use crate::observe::{Renewal, UnsafeSocks};

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
}

impl ControlClient {
    /// Starts the actor of a control socket, which tells when something has happened.
    pub fn start(address: Address, news: News) -> Self {
        let (requests, queue) = mpsc::channel(4);
        let latency_ms = Arc::new(AtomicU32::new(0));
        let renewals = Renewals::default();
        let unsafe_socks: Arc<Mutex<UnsafeSocks>> = Arc::default();
        let actor = Actor {
            address,
            connection: None,
            news,
            launched: BTreeMap::new(),
            latency_ms: Arc::clone(&latency_ms),
            renewals: renewals.clone(),
            unsafe_socks: Arc::clone(&unsafe_socks),
        };
        tokio::spawn(actor.run(queue));
        Self { requests, latency_ms, renewals, unsafe_socks }
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
            unsafe_socks: *self.unsafe_socks.lock().unwrap_or_else(PoisonError::into_inner),
        }
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
                let mut unsafe_socks = self.unsafe_socks.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Measures how long a circuit takes; says whether it can change the exit.
    fn measure(&mut self, circuit: &Circuit<'_>) -> bool {
        if !circuit.for_exit {
            return false;
        }
        match circuit.status {
            "LAUNCHED" => {
                self.launched.insert(circuit.id, Instant::now());
                false
            }
            "BUILT" => {
                if let Some(since) = self.launched.remove(&circuit.id) {
                    let milliseconds = u32::try_from(since.elapsed().as_millis()).unwrap_or(u32::MAX);
                    // 0 says that nothing was measured.
                    self.latency_ms.store(milliseconds.max(1), Ordering::Relaxed);
                }
                true
            }
            "FAILED" | "CLOSED" => {
                self.launched.remove(&circuit.id);
                true
            }
            _ => false,
        }
    }
}

/// Waits for what comes unasked; for ever while there is no connection.
async fn next_event(connection: &mut Option<Connection>) -> Result<Message, ConnectionError> {
    match connection {
        Some(connection) => connection.receive().await,
        None => std::future::pending().await,
    }
}
