//! `exitpool down`: everything of ours goes from this host.

use clap::Args;

use crate::daemon::lock::RuntimeLock;
use crate::daemon::socket::{self, Report, SocketError, Verb};
use crate::desired::Desired;
use crate::reconcile::memory::Memory;
use crate::source::SourceSpec;
use crate::source::settings::SourceSettings;
use crate::trial::place::Place;

use super::arguments::{Format, Host, Output};
use super::{Exit, look, output};

/// Stop every tor of the pool, and remove its directories and the firewall guard
///
/// A running daemon does it and ends; otherwise this command does it.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    host: Host,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let report = match socket::ask(&arguments.host.runtime_dir, Verb::Down).await {
        Ok(report) => report,
        Err(SocketError::Absent { .. }) => without_daemon(&arguments.host).await?,
        Err(error) => return Err(error.into()),
    };
    match arguments.output.output {
        Format::Json => output::json(&report)?,
        Format::Text => report.applied.iter().for_each(|sentence| output::data(sentence)),
    }
    if !report.failures.is_empty() {
        anyhow::bail!("not everything is gone: {}", report.failures.join("; "));
    }
    output::talk("everything of exitpool's is gone from this host; its state directory is kept");
    Ok(Exit::Done)
}

async fn without_daemon(host: &Host) -> anyhow::Result<Report> {
    let _lock = RuntimeLock::take(&host.runtime_dir)?;
    let settings = host.settings(SourceSettings::of(SourceSpec::File("/dev/null".into()), host.state_dir.clone()));
    Place::of(&host.runtime_dir).clear().await?;
    let outcomes = look::reconciler(&settings, &Desired::default()).await.down().await;
    Memory::new(&host.state_dir).forget();
    Ok(Report::of_down(&outcomes))
}
