//! `exitpool healthcheck`: what a container's health check and a probe ask.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::daemon::socket::{self, Verb};

use super::arguments::Daemon;
use super::{Exit, output};

/// A daemon answers what it has published at once; probes are repeated.
const PATIENCE: Duration = Duration::from_secs(5);

/// Say by the exit code whether the daemon lives: for a container's health check, or a probe
///
/// 0 where it answers and its passes end in time, as `/healthz` says, and 1 otherwise. It asks over the socket in the runtime
/// directory, so it needs no address, no certificate and no password.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Whether its first pass over a revision is done as well, as `/readyz` says
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let asking = socket::ask(&arguments.daemon.runtime_dir, Verb::Status);
    let report = tokio::time::timeout(PATIENCE, asking).await.context("the daemon does not answer in time")??;
    let Some(pulse) = report.pulse else { bail!("the daemon is older than this program, and does not tell") };
    if let Some(hung) = pulse.hung {
        bail!("hung: {hung}");
    }
    if arguments.ready && !pulse.is_ready {
        bail!("not ready: the first pass is not done");
    }
    output::data(if arguments.ready { "ready" } else { "ok" });
    Ok(Exit::Done)
}
