//! The HTTP server: what is known, to read and never to change.
//!
//! There is no route that changes anything, and no request is answered by asking the host: every answer is made from
//! the published status. GET and HEAD are the only methods. Who may ask is checked here as well as in the firewall.
//! A list that is downloaded is counted, and written down; that is all that a request leaves behind.
//!
//! This file accepts connections and keeps them within bounds; `routes` answers, `door` lets in, `access` says who
//! may ask, `documents` makes the JSON, `exports` hands out lists, `events` streams, and `content` settles how an answer
//! is sent. The verbs that act on the daemon speak over an AF_UNIX socket, elsewhere.

mod access;
mod content;
mod documents;
mod door;
mod events;
mod exports;
mod reply;
mod routes;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Metrics, Status, Visitors};
use crate::export::Desk;
use crate::gate::{Gate, Now};

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
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// The bounds within which connections are kept.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// How many connections are open at once; more of them wait to be accepted.
    connections: usize,
    /// How many streams of events are open at once; more of them are refused.
    streams: usize,
    /// How long a client may take to send the head of a request, or to stay idle between two.
    header_timeout: Duration,
    /// How long open requests have when the server stops.
    drain: Duration,
}

const LIMITS: Limits =
    Limits { connections: 256, streams: 32, header_timeout: Duration::from_secs(5), drain: Duration::from_secs(2) };

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

/// What every request is answered with.
#[derive(Debug)]
struct Context {
    shared: Shared,
    documents: documents::Documents,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Context {
    fn now(&self) -> Now {
        Now { at: (self.shared.now)(), clock: Instant::now() }
    }
}

/// Serves until `stop` is cancelled; then open requests have two seconds, and streams of events end at once.
pub async fn serve(listener: TcpListener, shared: Shared, stop: CancellationToken) {
    serve_within(listener, shared, LIMITS, stop).await;
}

async fn serve_within(listener: TcpListener, shared: Shared, limits: Limits, stop: CancellationToken) {
    let streams = Arc::new(Semaphore::new(limits.streams));
    let context = Arc::new(Context { shared, documents: Default::default(), streams, stop: stop.clone() });
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some((stream, peer, slot)) = next(&listener, &slots, &mut connections, &stop).await {
        let connection = connection(stream, peer, Arc::clone(&context), limits, graceful.watcher());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::info!("closing connections that did not end in time");
    }
    connections.shutdown().await;
}

/// Waits for a connection, with a slot for it; `None` when the server stops.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    connections: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
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

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

/// Serves one connection to its end.
fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    context: Arc<Context>,
    limits: Limits,
    watcher: Watcher,
) -> impl Future<Output = ()> + use<> {
    let address = peer.ip().to_canonical();
    let reached = stream.local_addr().map_or(address, |local| local.ip().to_canonical());
    let routes = TowerToHyperService::new(warp::service(routes::routes(context)));
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer { address, connected: address, reached });
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
            tracing::debug!(%error, %address, "a connection ended badly");
        }
    }
}

#[cfg(test)]
mod tests;
