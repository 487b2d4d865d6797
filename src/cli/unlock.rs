//! `exitpool unlock`: let somebody in again who is locked out.

use std::net::IpAddr;

use clap::Args;

use crate::daemon::socket::{self, Verb};

use super::arguments::{Daemon, Output};
use super::{Exit, reconcile};

/// Let in again who is locked out of the page and the lists
///
/// An address is locked out when too many of its tokens or passwords were refused (`access.rate_limit`). `exitpool
/// status -o json` and the page say who is.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The address; of an IPv6 network of 64 bits, any one of it
    #[arg(value_name = "ADDRESS", required_unless_present = "all", conflicts_with = "all")]
    address: Option<IpAddr>,
    /// Everybody
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let verb = Verb::Unlock { address: arguments.address };
    let report = socket::ask(&arguments.daemon.runtime_dir, verb).await?;
    reconcile::tell(&report, arguments.output.output)
}
