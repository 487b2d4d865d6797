//! `exitpool status --watch`: the page's twin in a terminal.
//!
//! On a terminal it draws a screen, and draws it anew whenever something is new. Elsewhere it says once how things are,
//! and then a line for each thing that happens; as JSON it gives one document a line. Ctrl-C ends it, and so does a reader
//! who goes away.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::screen;
use crate::cli::Exit;
use crate::cli::arguments::Format;
use crate::cli::output::{self, Terminal};
use crate::daemon::socket::{Report, SocketError, Watching};

/// How long a daemon that has ended is left alone before it is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Where it is shown.
enum Show {
    Screen(Terminal),
    /// The id of the last event that was told; `None` before the first report.
    Lines(Option<u64>),
    Json,
}

/// What there is to do.
enum News {
    Report(Box<Report>),
    /// The daemon has ended.
    Lost(SocketError),
    /// The terminal has another size.
    Resized,
    End,
}

pub(super) async fn run(runtime_dir: &Path, format: Format) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let mut watching = Some(Watching::begin(runtime_dir).await?);
    let mut show = match (format, Terminal::of_output()) {
        (Format::Json, _) => Show::Json,
        (Format::Text, Some(terminal)) => Show::Screen(terminal),
        (Format::Text, None) => Show::Lines(None),
    };
    let mut last = None;
    loop {
        let shown = match news(runtime_dir, &mut watching, &mut signals).await {
            News::End => return Ok(Exit::Done),
            News::Report(report) => show.report(&*last.insert(report)),
            News::Lost(error) => show.lost(&error, last.as_deref()),
            News::Resized => last.as_deref().map_or(Ok(()), |report| show.again(report)),
        };
        if shown.is_err() {
            return Ok(Exit::Done);
        }
    }
}

/// Waits for what comes first.
async fn news(runtime_dir: &Path, watching: &mut Option<Watching>, signals: &mut Signals) -> News {
    tokio::select! {
        signal = signals.next() => signal,
        report = next(runtime_dir, watching) => match report {
            Ok(report) => News::Report(Box::new(report)),
            Err(error) => {
                *watching = None;
                News::Lost(error)
            }
        },
    }
}

/// The next report: of a daemon that has ended, the first of the one that comes after it.
async fn next(runtime_dir: &Path, watching: &mut Option<Watching>) -> Result<Report, SocketError> {
    if let Some(watching) = watching {
        return watching.next().await;
    }
    loop {
        tokio::time::sleep(PAUSE).await;
        if let Ok(begun) = Watching::begin(runtime_dir).await {
            return watching.insert(begun).next().await;
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    resize: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> News {
        tokio::select! {
            _ = self.interrupt.recv() => News::End,
            _ = self.terminate.recv() => News::End,
            _ = self.resize.recv() => News::Resized,
        }
    }
}

impl Show {
    fn report(&mut self, report: &Report) -> io::Result<()> {
        match self {
            Self::Json => output::line(&report.status.to_string()),
            Self::Screen(terminal) => terminal.draw(|size| screen::draw(report, None, size)),
            Self::Lines(told) => {
                let newest = report.events.events.last().map(|event| event.id);
                match told {
                    None => output::line(&super::text(report))?,
                    Some(told) => {
                        screen::events(report, Some(*told)).iter().try_for_each(|event| output::line(event))?;
                    }
                }
                *told = Some(newest.unwrap_or(0).max(told.unwrap_or(0)));
                Ok(())
            }
        }
    }

    fn again(&mut self, report: &Report) -> io::Result<()> {
        match self {
            Self::Screen(terminal) => terminal.draw(|size| screen::draw(report, None, size)),
            Self::Lines(_) | Self::Json => Ok(()),
        }
    }

    /// Says that the daemon has ended, and that it is waited for.
    fn lost(&mut self, error: &SocketError, last: Option<&Report>) -> io::Result<()> {
        match (self, last) {
            (Self::Screen(terminal), Some(last)) => terminal.draw(|size| screen::draw(last, Some(error), size)),
            _ => {
                output::talk(&format!("{error}; waiting for the next one"));
                Ok(())
            }
        }
    }
}
