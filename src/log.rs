//! Where log lines go, and which of them: text for people, JSON for programs, journald's own protocol under systemd.
//!
//! A process has one log, so its levels stand in one place, and are changed there while it runs.

mod journal;
mod rotating;

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::error::{Classify, Kind};

pub use journal::is_journal;
pub use rotating::{Bounds, Rotating};

/// What journald calls the program.
const IDENTIFIER: &str = "exitpool";
/// What goes before the name of a field there, so that it is never one of journald's own.
const FIELDS: &str = "EXITPOOL";
/// What is logged where nobody says otherwise.
const USUAL_LEVELS: &str = "info";
/// The words that stand for a level of everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people, to standard error.
    Text,
    /// For programs, to standard error: an object a line.
    Json,
    /// To journald, with every field as one of its own.
    Journald,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How they are written.
    pub format: Format,
    /// Which of them, as in `info,exitpool::tor=debug`; `None` means `info` and above.
    pub levels: Option<String>,
    /// A file where they go as well, as JSON.
    pub file: Option<(PathBuf, Bounds)>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The levels make no sense.
    #[error("{0}")]
    Levels(String),
    /// The file cannot be used.
    #[error("cannot log to {}: name a file in a directory that the daemon may write to", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// journald cannot be spoken to.
    #[error("cannot speak to journald: run under systemd, or choose another --log-format")]
    Journald(#[source] io::Error),
    /// This process has a log already.
    #[error("this process has a log already")]
    Twice(#[from] TryInitError),
}

impl Classify for LogError {
    fn kind(&self) -> Kind {
        match self {
            Self::Levels(_) => Kind::Usage,
            Self::Twice(_) => Kind::Bug,
            _ => Kind::Host,
        }
    }
}

type Handle = reload::Handle<EnvFilter, Registry>;

/// The levels of this process' log.
static IN_FORCE: OnceLock<Handle> = OnceLock::new();

/// Starts the log of this process.
pub fn start(options: &Options) -> Result<(), LogError> {
    let levels = options.levels.as_deref().filter(|levels| !levels.trim().is_empty()).unwrap_or(USUAL_LEVELS);
    let (levels, handle) = reload::Layer::new(filter(levels).map_err(LogError::Levels)?);
    let lines: Box<dyn Layer<_> + Send + Sync> = match options.format {
        Format::Text => fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false).boxed(),
        Format::Json => fmt::layer().with_writer(io::stderr).json().flatten_event(true).boxed(),
        Format::Journald => {
            let journald = tracing_journald::layer().map_err(LogError::Journald)?;
            let journald = journald.with_syslog_identifier(IDENTIFIER.to_owned());
            journald.with_field_prefix(Some(FIELDS.to_owned())).boxed()
        }
    };
    let file = options.file.as_ref().map(|(path, bounds)| {
        let opened = Rotating::open(path, *bounds);
        opened.map_err(|source| LogError::File { path: path.clone(), source })
    });
    let file = file.transpose()?.map(|file| fmt::layer().with_writer(file).json().flatten_event(true));
    tracing_subscriber::registry().with(levels).with(lines).with(file).try_init()?;
    // Nobody else has started a log, or this would not be reached.
    let _ = IN_FORCE.set(handle);
    std::panic::set_hook(Box::new(tell_of_a_panic));
    Ok(())
}

/// Starts a log of text that nothing keeps from starting: with the usual levels, where those that are named make no sense.
pub fn start_plain(levels: Option<String>) {
    let levels = levels.filter(|levels| filter(levels).is_ok());
    // A process that has a log already has one.
    let _ = start(&Options { format: Format::Text, levels, file: None });
}

/// A panic is a line of the log as well: where it happened, and what was said.
fn tell_of_a_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let said = panic.payload_as_str().unwrap_or("something that is no text");
    tracing::error!(place, thread, "exitpool has a defect, please report it: {said}");
}

/// The levels in force.
pub fn levels() -> Result<String, String> {
    let handle = IN_FORCE.get().ok_or(NO_LOG)?;
    handle.with_current(ToString::to_string).map_err(|error| error.to_string())
}

/// Sets the levels until the process ends.
pub fn set_levels(levels: &str) -> Result<(), String> {
    let filter = filter(levels)?;
    let handle = IN_FORCE.get().ok_or(NO_LOG)?;
    handle.reload(filter).map_err(|error| error.to_string())
}

const NO_LOG: &str = "this process has no log whose levels could be changed";

/// Reads levels. A word alone has to be a level: tracing would take any other for a module, and log nothing else.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let refuse = |part: &str| {
        format!(
            "`{part}` is no level of the log; write one of {}, or levels by module as in `info,exitpool::tor=debug`",
            LEVELS.join(", ")
        )
    };
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(bad) = parts.iter().find(|part| !part.contains('=') && !LEVELS.contains(&part.to_lowercase().as_str()))
    {
        return Err(refuse(bad));
    }
    EnvFilter::builder().parse(parts.join(",")).map_err(|_| refuse(text))
}

#[cfg(test)]
mod tests;
