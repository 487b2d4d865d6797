//! The HTTP server: what is known, to read and never to change.
//!
//! There is no route that changes anything, and no request is answered by asking the host: every answer is made from
//! the published status. GET and HEAD are the only methods. Who may ask is checked here as well as in the firewall.
//! A list that is downloaded is counted and written down, and so is that an address is locked out; that is all that a
//! request leaves behind.
//!
//! This file accepts connections and keeps them within bounds; `listener` says where they come from, `tls` keeps the
//! certificate, `routes` answers, `door` lets in, `access` says who may ask, `sign_in` asks for a password, `documents`
//! makes the JSON, `scrape` the metrics, `exports` hands out lists, `events` streams, `kept` keeps what was made of a
//! status, and `content` settles how an answer is sent. The verbs that act on the daemon speak over an AF_UNIX socket,
//! elsewhere.

mod access;
mod content;
mod documents;
mod door;
mod events;
mod exports;
mod kept;
mod limits;
mod listener;
mod reply;
mod routes;
mod scrape;
mod sign_in;
pub mod tls;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::{Metrics, Status, Visitors};
use crate::export::Desk;
use crate::export::address::{caller, holds};
use crate::gate::{Gate, Now};
use limits::{Share, Shares};
pub use listener::Listener;
use listener::{Accepted, Over};
pub use tls::Tls;

/// What the server reads.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The published status.
    pub status: watch::Receiver<Arc<Status>>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Who has read here lately.
    pub visitors: Arc<Visitors>,
    /// Who asks too often, and who is locked out.
    pub gate: Arc<Gate>,
    /// Where lists are handed out.
    pub desk: Arc<Desk>,
    /// The certificate, where TLS is spoken.
    pub tls: Option<Arc<Tls>>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// The bounds within which connections are kept.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// How many connections are open at once; more of them wait to be accepted.
    connections: usize,
    /// How many of one caller; more of them are closed.
    of_one: usize,
    /// How many streams of events are open at once; more of them are refused.
    streams: usize,
    /// How long a client may take to send the head of a request, or to stay idle between two.
    header_timeout: Duration,
    /// How long a client may leave an answer unread, or a greeting by TLS unfinished.
    stall: Duration,
    /// How long open requests have when the server stops.
    drain: Duration,
}

const LIMITS: Limits = Limits {
    connections: 256,
    of_one: 32,
    streams: 32,
    header_timeout: Duration::from_secs(5),
    stall: Duration::from_secs(20),
    drain: Duration::from_secs(2),
};

/// The longest head of a request; browsers' stay far below.
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long to wait when no connection can be accepted, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
struct Peer {
    /// Its address; that of the client, where a trusted proxy says it.
    address: IpAddr,
    /// The address that the connection comes from.
    connected: IpAddr,
    /// The address of ours that it reached.
    reached: IpAddr,
}

impl Peer {
    /// Whether a trusted proxy asks for somebody else.
    fn is_behind_a_proxy(&self) -> bool {
        self.address != self.connected
    }
}

/// What every request is answered with.
#[derive(Debug)]
struct Context {
    shared: Shared,
    sign_ins: sign_in::Desk,
    documents: documents::Documents,
    lists: exports::Lists,
    scrape: scrape::Scrape,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Context {
    fn of(shared: Shared, streams: usize, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            shared,
            sign_ins: Default::default(),
            documents: Default::default(),
            lists: Default::default(),
            scrape: Default::default(),
            streams: Arc::new(Semaphore::new(streams)),
            stop,
        })
    }

    fn now(&self) -> Now {
        Now { at: (self.shared.now)(), clock: Instant::now() }
    }
}

/// Serves until `stop` is cancelled; then open requests have two seconds, and streams of events end at once.
pub async fn serve(listener: impl Into<Listener>, shared: Shared, stop: CancellationToken) {
    serve_within(listener.into(), shared, LIMITS, stop).await;
}

async fn serve_within(listener: Listener, shared: Shared, limits: Limits, stop: CancellationToken) {
    let context = Context::of(shared, limits.streams, stop.clone());
    let places = Places::of(&limits);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some((accepted, slot)) = next(&listener, &places.slots, &mut connections, &stop).await {
        let Some(share) = places.share(&accepted, &context) else { continue };
        let connection = connection(accepted, Arc::clone(&context), limits, graceful.watcher());
        connections.spawn(async move {
            connection.await;
            drop((share, slot));
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::info!("closing connections that did not end in time");
    }
    connections.shutdown().await;
}

/// The places for connections: no caller has all of them, and what comes in with proxies and from this host leaves
/// some for others.
#[derive(Debug)]
struct Places {
    slots: Arc<Semaphore>,
    of_callers: Arc<Shares>,
    of_proxies: Arc<Shares>,
}

impl Places {
    fn of(limits: &Limits) -> Self {
        let most = (limits.connections * 3 / 4).max(1);
        Self {
            slots: Arc::new(Semaphore::new(limits.connections)),
            of_callers: Arc::new(Shares::of(limits.connections, limits.of_one)),
            of_proxies: Arc::new(Shares::of(most, most)),
        }
    }

    /// A share for a connection; `None` where whoever made it has enough.
    fn share(&self, accepted: &Accepted, context: &Context) -> Option<Share> {
        let from = accepted.peer().connected;
        let is_proxy = from.is_loopback() || holds(&context.shared.status.borrow().access.trusted_proxies, from);
        let share = Shares::take(if is_proxy { &self.of_proxies } else { &self.of_callers }, caller(from));
        if share.is_none() {
            context.shared.metrics.turned_away();
            tracing::debug!(address = %from, "closed a connection: this address has too many");
        }
        share
    }
}

/// Waits for a connection, with a slot for it; `None` when the server stops.
async fn next(
    listener: &Listener,
    slots: &Arc<Semaphore>,
    connections: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Option<(Accepted, OwnedSemaphorePermit)> {
    loop {
        // Cancel-safe: a connection is taken and handed on in one piece, and ended tasks are only forgotten.
        tokio::select! {
            () = stop.cancelled() => return None,
            Some(_) = connections.join_next() => {}
            accepted = accept(listener, slots) => match accepted {
                Ok(accepted) => return Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn accept(listener: &Listener, slots: &Arc<Semaphore>) -> std::io::Result<(Accepted, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    Ok((listener.accept().await?, slot))
}

/// Serves one connection to its end, after its greeting where TLS is spoken.
async fn connection(accepted: Accepted, context: Arc<Context>, limits: Limits, watcher: Watcher) {
    let (peer, over) = (accepted.peer(), accepted.over());
    let stop = context.stop.clone();
    let conversation = Conversation { peer, over, context, limits };
    match (accepted, conversation.context.shared.tls.clone()) {
        (Accepted::Tcp(stream, _), None) => conversation.hold(patient(stream, limits.stall), watcher).await,
        (Accepted::Unix(stream), _) => conversation.hold(patient(stream, limits.stall), watcher).await,
        (Accepted::Tcp(stream, _), Some(tls)) => {
            let greeting = tls.acceptor().accept(patient(stream, limits.stall));
            let greeted = tokio::select! {
                () = stop.cancelled() => return,
                greeted = tokio::time::timeout(limits.header_timeout, greeting) => greeted,
            };
            match greeted {
                Ok(Ok(stream)) => Conversation { over: Over::Tls, ..conversation }.hold(stream, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, address = %peer.connected, "no TLS was agreed on"),
                Err(_) => tracing::debug!(address = %peer.connected, "a greeting by TLS was not finished in time"),
            }
        }
    }
}

/// A stream that ends when the other side does not take what it is sent.
fn patient<S: AsyncRead + AsyncWrite>(stream: S, stall: Duration) -> std::pin::Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(stall));
    Box::pin(stream)
}

/// All requests of one connection.
struct Conversation {
    peer: Peer,
    over: Over,
    context: Arc<Context>,
    limits: Limits,
}

impl Conversation {
    fn hold<S>(self, stream: S, watcher: Watcher) -> impl Future<Output = ()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { peer, over, context, limits } = self;
        let routes = TowerToHyperService::new(warp::service(routes::routes(context)));
        let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(over);
            routes.call(request)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(MAX_HEADER_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let watched = watcher.watch(served);
        async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, address = %peer.connected, "a connection ended badly");
            }
        }
    }
}

#[cfg(test)]
mod tests;
