//! `exitpool run`: the daemon.

use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::daemon;
use crate::daemon::settings::Settings;
use crate::desired::values::{Positive, Size};
use crate::error::Kind;
use crate::log::{self, Bounds, LogError};

use super::arguments::{Host, Page, SourceArguments};
use super::{Exit, Told};

/// Run the daemon: follow the source, and keep this host as it says
///
/// Stopping it leaves the pool running; the next start takes it up again.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    host: Host,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    log: Log,
}

/// Where the log goes; EXITPOOL_LOG has its levels, as in `info,exitpool::tor=debug`.
#[derive(Debug, Args)]
struct Log {
    /// How the log is written; by default journald where standard error is journald's, text on a terminal, and JSON elsewhere
    #[arg(long, env = "EXITPOOL_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Log to this file as well, as JSON
    #[arg(long, env = "EXITPOOL_LOG_FILE", value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// How large that file becomes before it is FILE.1, and that one FILE.2
    #[arg(long, env = "EXITPOOL_LOG_FILE_SIZE", default_value = "10 MB", value_name = "SIZE")]
    log_file_size: Size,
    /// How many files are kept, the one that is written included
    #[arg(long, env = "EXITPOOL_LOG_FILE_COUNT", default_value = "10", value_name = "NUMBER", value_parser = count)]
    log_file_count: Positive,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For programs: an object a line
    Json,
    /// To journald, each field as one of its own
    Journald,
}

pub(super) fn count(text: &str) -> Result<Positive, String> {
    let number = text.parse::<u32>().ok().and_then(|number| Positive::try_from(number).ok());
    number.ok_or_else(|| format!("`{text}` is no number of files; write 1 or more"))
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    log::start(&arguments.log.options()).map_err(|error| match error {
        LogError::Levels(why) => Told { kind: Kind::Usage, message: format!("EXITPOOL_LOG: {why}") }.into(),
        other => anyhow::Error::from(other),
    })?;
    let settings = arguments.host.following(&arguments.source)?;
    daemon::run(Settings { page: arguments.page.settings(), ..settings }).await?;
    Ok(Exit::Done)
}

/// What EXITPOOL_LOG says.
pub(super) fn levels() -> Option<String> {
    std::env::var("EXITPOOL_LOG").ok()
}

impl Log {
    fn options(&self) -> log::Options {
        let bounds = Bounds { bytes: self.log_file_size.0, files: self.log_file_count.0 };
        let format = match self.log_format {
            Some(LogFormat::Text) => log::Format::Text,
            Some(LogFormat::Json) => log::Format::Json,
            Some(LogFormat::Journald) => log::Format::Journald,
            None => usual(),
        };
        log::Options { format, levels: levels(), file: self.log_file.clone().map(|file| (file, bounds)) }
    }
}

/// What suits the standard error that there is.
fn usual() -> log::Format {
    let journal = std::env::var("JOURNAL_STREAM").ok();
    if log::is_journal(stderr(), journal.as_deref()) {
        log::Format::Journald
    } else if stderr().is_terminal() {
        log::Format::Text
    } else {
        log::Format::Json
    }
}
