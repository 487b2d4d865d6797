//! `exitpool log-level`: what the running daemon logs.

use clap::Args;

use crate::daemon::socket::{self, Verb};

use super::arguments::Daemon;
use super::{Exit, output};

/// Show what the running daemon logs, or change it until the daemon ends
///
/// A level says what an operator must do: `error` act on it, `warn` look when there is time, `info` nothing, it was done;
/// `debug` says why. `exitpool run` begins with what EXITPOOL_LOG says, and `info` without it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The levels from now on, as in `debug` or `info,exitpool::tor=debug`
    #[arg(value_name = "LEVELS")]
    levels: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let verb = Verb::LogLevel { levels: arguments.levels.clone() };
    let report = socket::ask(&arguments.daemon.runtime_dir, verb).await?;
    if let Some(refused) = report.refused {
        anyhow::bail!(refused);
    }
    output::data(&report.said.join("\n"));
    Ok(Exit::Done)
}
