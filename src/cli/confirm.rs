//! `exitpool confirm`: keep what is on trial, and carry out the removals that wait for it.

use clap::Args;

use crate::daemon::socket::{self, Verb};

use super::arguments::{Daemon, Output, revision};
use super::{Exit, reconcile};

/// Keep the firewall's change on trial, and destroy the nodes that wait for confirmation
///
/// Confirms what `exitpool status` lists for the revision in force, and nothing that comes later: a change of the firewall
/// that would be taken back (firewall.confirm), and nodes that are no longer desired (reconcile.prune).
#[derive(Debug, Args)]
pub struct Arguments {
    /// The revision that has to be in force: in full, or the 40 digits of its commit
    #[arg(value_name = "REVISION", value_parser = revision)]
    revision: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let verb = Verb::Confirm { revision: arguments.revision.clone() };
    let report = socket::ask(&arguments.daemon.runtime_dir, verb).await?;
    reconcile::tell(&report, arguments.output.output)
}
