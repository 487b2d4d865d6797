//! The daemon: puts the rooms together, waits, and lets one pass follow the other. It makes no decisions.
//!
//! Stopping it closes nothing: tor processes run on, and the next start finds them again.

pub mod alerting;
pub mod at_once;
pub mod fetching;
pub mod lock;
pub mod records;
pub mod settings;
pub mod socket;
pub mod wake;

mod exports;
mod fault;
pub mod journal;
mod listening;
mod lockouts;
mod obey;
mod revisions;
mod rotating;
mod state;
mod trying;
mod watchdog;

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::{Classify, Kind};
use crate::firewall::Firewall;
use crate::reconcile::memory::MemoryError;
use crate::source::SourceError;
use crate::state as state_directory;
use crate::status::Status;
use crate::status::http::tls::TlsError;
use crate::status::http::{self, Shared, Tls};
use crate::tor::Tor;

use alerting::{Alerting, Setup};
use at_once::AtOnce;
use fetching::Fetching;
use listening::ListenError;
use lock::{LockError, RuntimeLock};
use settings::Settings;
use socket::{Report, Request, SocketError, Verb};
use state::State;
use wake::Wakeups;
use watchdog::Watchdog;

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another daemon runs, or the runtime directory cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The state directory is of a later version, or is being replaced.
    #[error(transparent)]
    State(#[from] state_directory::StateError),
    /// The AF_UNIX socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The source cannot be watched.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Something cannot be remembered.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The page cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The page's certificate cannot be served.
    #[error("cannot serve the page by TLS")]
    Tls(#[from] TlsError),
    /// A signal handler cannot be installed.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
}

impl Classify for DaemonError {
    fn kind(&self) -> Kind {
        match self {
            Self::Source(error) => error.kind(),
            _ => Kind::Host,
        }
    }
}

/// Runs until a signal, or until an operator takes the pool down.
pub async fn run(settings: Settings) -> Result<(), DaemonError> {
    let _lock = RuntimeLock::take(&settings.runtime_dir)?;
    let _state = state_directory::admit(&settings.state_dir)?;
    let wakeups = Wakeups::default();
    let stop = CancellationToken::new();
    let mut state = State::new(&settings, &wakeups);
    let _watch = state.revisions().watch_source(&wakeups);
    let fetching = state.revisions().fetch_source(&wakeups);

    let http = serve_http(&settings, &state, stop.clone()).await?;
    let (alerting, alerts) = Alerting::start(alerting_of(&settings, &state, &wakeups), stop.clone());
    let (requests, mut inbox) = mpsc::channel(16);
    let fetcher = state.revisions().fetching();
    let speaking = socket::Daemon {
        requests,
        status: state.subscribe(),
        visitors: state.visitors(),
        wakeups: wakeups.clone(),
        fetching: fetcher,
        alerting,
        at_once: AtOnce { trail: state.trail() },
    };
    let socket = socket::serve(&settings.runtime_dir, speaking, stop.clone())?;
    let signals = forward_signals(&wakeups, state.revisions().fetching(), &stop)?;
    let tor = forward_tor(state.tor(), wakeups.clone());

    let keeping = state.keep_lockouts(stop.clone());

    let end = pass_after_pass(&mut state, &wakeups, &mut inbox, &stop).await;

    stop.cancel();
    for task in [tor, signals].into_iter().chain(fetching) {
        task.abort();
    }
    let _ = tokio::join!(http, socket, alerts);
    if let Some(keeping) = keeping {
        let _ = keeping.await;
    }
    tracing::info!("{}", end.sentence());
    Ok(())
}

/// How the daemon ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It was told to stop; the pool runs on.
    Stopped,
    /// The pool was taken down.
    Down,
}

impl End {
    fn sentence(self) -> &'static str {
        match self {
            Self::Stopped => "stopped; the tor processes run on, and the next start adopts them",
            Self::Down => "stopped; everything of ours is gone from this host",
        }
    }
}

/// The waiting loop.
async fn pass_after_pass(
    state: &mut State,
    wakeups: &Wakeups,
    inbox: &mut mpsc::Receiver<Request>,
    stop: &CancellationToken,
) -> End {
    let mut firewall = Forwarded::default();
    let mut watchdog = Watchdog::of_this_process();
    loop {
        let requests: Vec<Request> = std::iter::from_fn(|| inbox.try_recv().ok()).collect();
        let (down, others): (Vec<_>, Vec<_>) = requests.into_iter().partition(|request| request.verb == Verb::Down);
        if !down.is_empty() {
            let report = state.down().await;
            down.into_iter().for_each(|request| request.answer(&report));
            watchdog.stopping();
            return End::Down;
        }
        if !others.is_empty() {
            state.forget();
        }
        let obeyed: Vec<_> = others.iter().map(|request| state.obey(request)).collect();
        let due = watchdog.before(state.pass().await);
        watchdog.feed(&state.subscribe().borrow());
        for (request, obeyed) in others.into_iter().zip(obeyed) {
            let report = Report::of(&state.subscribe().borrow());
            request.answer(&report.answering(obeyed));
        }
        firewall.follow(state.firewall(), wakeups);

        tokio::select! {
            () = stop.cancelled() => {
                watchdog.stopping();
                return End::Stopped;
            }
            causes = wakeups.wait(due) => {
                tracing::debug!(?causes, "looking again");
                if causes.iter().any(|cause| cause.is_of_a_person()) {
                    state.forget();
                }
                if causes.contains(&wake::Cause::Signal) {
                    watchdog.reloading();
                }
            }
        }
    }
}

/// The task that forwards a firewall driver's news; made anew when the driver is another one.
#[derive(Default)]
struct Forwarded {
    driver: Option<Arc<dyn Firewall>>,
    task: Option<JoinHandle<()>>,
}

impl Forwarded {
    fn follow(&mut self, driver: Arc<dyn Firewall>, wakeups: &Wakeups) {
        if self.driver.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, &driver)) {
            return;
        }
        if let Some(task) = self.task.take() {
            task.abort();
        }
        let (listening, wakeups) = (Arc::clone(&driver), wakeups.clone());
        self.driver = Some(driver);
        self.task = Some(tokio::spawn(async move {
            loop {
                listening.changed().await;
                wakeups.wake(wake::Cause::Firewall);
            }
        }));
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn forward_tor(tor: Arc<dyn Tor>, wakeups: Wakeups) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tor.changed().await;
            wakeups.wake(wake::Cause::Tor);
        }
    })
}

/// SIGHUP means 'look again', at a remote source as well; SIGTERM and SIGINT mean 'stop'.
fn forward_signals(
    wakeups: &Wakeups,
    fetching: Option<Fetching>,
    stop: &CancellationToken,
) -> Result<JoinHandle<()>, DaemonError> {
    let install = |kind| signal(kind).map_err(DaemonError::Signals);
    let (mut hangup, mut terminate, mut interrupt) =
        (install(SignalKind::hangup())?, install(SignalKind::terminate())?, install(SignalKind::interrupt())?);
    let (wakeups, stop) = (wakeups.clone(), stop.clone());
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                // A remote that does not answer holds no other signal up.
                _ = hangup.recv() => drop(tokio::spawn(look_again(wakeups.clone(), fetching.clone()))),
                _ = terminate.recv() => stop.cancel(),
                _ = interrupt.recv() => stop.cancel(),
            }
        }
    }))
}

/// Fetches a remote source, and asks for a pass.
async fn look_again(wakeups: Wakeups, fetching: Option<Fetching>) {
    if let Some(fetching) = fetching {
        fetching.now().await;
    }
    wakeups.wake(wake::Cause::Signal);
}

async fn serve_http(
    settings: &Settings,
    state: &State,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, DaemonError> {
    let tls = settings.page.tls.clone().map(Tls::open).transpose()?;
    let (listener, path) = listening::listen(&settings.listen, settings.page.mode).await?.parts();
    tracing::info!(address = %settings.listen, tls = tls.is_some(), "the status page listens");
    let shared = Shared { tls: tls.clone(), ..state.shared() };
    Ok(tokio::spawn(async move {
        let following = tls.map(|tls| tokio::spawn(tls.follow(stop.clone())));
        http::serve(listener, shared, stop).await;
        drop(path);
        if let Some(following) = following {
            let _ = following.await;
        }
    }))
}

/// What alerting reads and writes.
fn alerting_of(settings: &Settings, state: &State, wakeups: &Wakeups) -> Setup {
    Setup {
        status: state.subscribe(),
        board: state.board(),
        metrics: state.metrics(),
        trail: state.trail(),
        gate: state.gate(),
        wakeups: wakeups.clone(),
        state_dir: settings.state_dir.clone(),
        tor: settings.tor.clone(),
        certificate: settings.page.tls.as_ref().map(|files| files.certificate.clone()),
    }
}

/// A receiver of the published status.
pub type StatusReceiver = watch::Receiver<Arc<Status>>;
