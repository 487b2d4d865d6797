//! `exitpool resume`: end a suspension.

use clap::Args;

use crate::daemon::socket::{self, Verb};
use crate::desired::PoolName;

use super::arguments::{Daemon, Output};
use super::{Exit, reconcile};

/// End a suspension before its time
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pool; without it, the whole host
    #[arg(value_name = "POOL")]
    pool: Option<PoolName>,
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let verb = Verb::Resume { pool: arguments.pool.clone() };
    let report = socket::ask(&arguments.daemon.runtime_dir, verb).await?;
    reconcile::tell(&report, arguments.output.output)
}
