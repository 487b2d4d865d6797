//! `exitpool rollback`: an earlier revision again.

use clap::Args;

use crate::daemon::socket::{self, Verb};

use super::arguments::{Daemon, Output, revision};
use super::{Exit, reconcile};

/// Put an earlier revision in force again, and mark the one that is left as bad
///
/// The one that is left is not taken up again, until a newer commit comes or `exitpool apply --revision` names it.
/// What was accepted stays accepted: the next commit has to descend from it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The revision: in full, or the 40 digits of its commit; without it, the one that was in force before
    #[arg(value_name = "REVISION", value_parser = revision)]
    revision: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let verb = Verb::Rollback { revision: arguments.revision.clone() };
    let report = socket::ask(&arguments.daemon.runtime_dir, verb).await?;
    reconcile::tell(&report, arguments.output.output)
}
