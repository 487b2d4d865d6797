//! `exitpool run`: the daemon.

use std::io::IsTerminal as _;

use clap::Args;

use crate::daemon;
use crate::daemon::settings::Settings;

use super::arguments::{Format, Host, Page, SourceArguments};
use super::{Exit, output};

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
    /// How the log is written; by default text on a terminal, and JSON elsewhere
    #[arg(long, env = "EXITPOOL_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    log_format: Option<Format>,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let usual = if std::io::stderr().is_terminal() { Format::Text } else { Format::Json };
    output::start_log(arguments.log_format.unwrap_or(usual));
    let settings = arguments.host.following(&arguments.source)?;
    daemon::run(Settings { page: arguments.page.settings(), ..settings }).await?;
    Ok(Exit::Done)
}
