//! `exitpool reconcile`: let the daemon look again now.

use clap::Args;

use crate::daemon::socket::{self, Report, Verb};

use super::arguments::{Daemon, Format, Output};
use super::{Exit, output};

/// Let the daemon read the source and look at the host now
#[derive(Debug, Args)]
pub struct Arguments {
    /// Try at once what has failed and waits, and start nodes that are held down: what was counted is forgotten
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let verb = if arguments.reset { Verb::Reset } else { Verb::Reconcile };
    let report = socket::ask(&arguments.daemon.runtime_dir, verb).await?;
    tell(&report, arguments.output.output)
}

/// Tells what a pass did; something that went wrong is an error.
pub(super) fn tell(report: &Report, format: Format) -> anyhow::Result<Exit> {
    match format {
        Format::Json => output::json(report)?,
        Format::Text if report.refused.is_some() => {}
        Format::Text => output::data(&sentences(report)),
    }
    if let Some(refused) = &report.refused {
        anyhow::bail!("{refused}");
    }
    if report.failures.is_empty() {
        return Ok(Exit::Done);
    }
    anyhow::bail!("{}", report.failures.join("; "))
}

fn sentences(report: &Report) -> String {
    let lines = |prefix: &str, sentences: &[String]| -> String {
        sentences.iter().map(|sentence| format!("{prefix}  {sentence}\n")).collect()
    };
    let text = lines("ordered", &report.said) + &lines("applied", &report.applied) + &lines("left   ", &report.left);
    if text.is_empty() { "Nothing to do: this host is as desired.".to_owned() } else { text }
}
