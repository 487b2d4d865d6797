//! `exitpool suspend`: leave the host alone, or one pool.

use clap::Args;

use crate::daemon::socket::{self, Verb};
use crate::desired::PoolName;
use crate::desired::values::Period;
use crate::rollout::orders::reason;

use super::arguments::{Daemon, Output};
use super::{Exit, reconcile};

/// Leave the host alone, or one pool: observe and report, change nothing
///
/// While the host is suspended, no new revision is put in force. It ends by itself, and survives a restart of the
/// daemon. Nodes that run go on running.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pool; without it, the whole host
    #[arg(value_name = "POOL")]
    pool: Option<PoolName>,
    /// Why: one line, shown with the status
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// For how long, as in `30m` or `2h`
    #[arg(long = "for", value_name = "TIME")]
    length: Period,
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let Arguments { pool, reason, length, .. } = arguments;
    let verb = Verb::Suspend { pool: pool.clone(), reason: reason.clone(), seconds: length.0.as_secs() };
    let report = socket::ask(&arguments.daemon.runtime_dir, verb).await?;
    reconcile::tell(&report, arguments.output.output)
}
