//! `exitpool guard-trial`: takes a change of the firewall back unless it is kept. Hidden: the daemon starts it.

use std::path::PathBuf;

use clap::Args;

use crate::log;
use crate::trial::fuse;
use crate::trial::place::Place;

use super::{Exit, output};

/// Wait until a change of the firewall is kept, or take it back in time
#[derive(Debug, Args)]
pub struct Arguments {
    /// The daemon's runtime directory
    #[arg(long)]
    runtime_dir: PathBuf,
    /// Which change
    #[arg(long)]
    id: u64,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    // What ends the daemon's session does not end this.
    let _ = rustix::process::setsid();
    log::start_plain(super::run::levels());
    fuse::burn(&Place::of(&arguments.runtime_dir), arguments.id, || output::data(fuse::BURNS)).await?;
    Ok(Exit::Done)
}
