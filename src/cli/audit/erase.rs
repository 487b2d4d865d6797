//! `audit erase`.

use anyhow::bail;
use clap::Args;

use crate::daemon::socket::{self, Verb};

use super::super::arguments::Daemon;
use super::super::{Exit, output};

/// Erase an address from the trail, for good; the trail stays whole, and says that it was done and by whom
///
/// Rows stay, and have no address any more. Of rows that have networks (`audit.addresses: prefix`), those go whose network
/// has the address in it. Exports, copies and the log are not reached.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The address, or a network: all addresses in it
    #[arg(value_name = "ADDRESS")]
    address: String,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let verb = Verb::EraseAddress { address: arguments.address.clone() };
    let report = socket::ask(&arguments.daemon.runtime_dir, verb).await?;
    if let Some(refused) = report.refused {
        bail!(refused);
    }
    output::data(&report.said.join("\n"));
    Ok(Exit::Done)
}
