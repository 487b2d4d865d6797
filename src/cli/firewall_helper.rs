//! `exitpool firewall-helper`: does what only root may, for a daemon that is not root.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::firewall::helper::{self, Asked};
use crate::log;
use crate::sys::users;

use super::Exit;

/// Keep what takes root in ufw, firewalld and iptables-legacy, for a daemon that is not root
///
/// It obeys one user, and takes a guard and nothing else: see docs/firewall.md.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Who is obeyed: the daemon's user, by name or number
    #[arg(long)]
    user: String,
    /// Where to listen; without it, at the socket that is the standard input
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    log::start_plain(super::run::levels());
    let user = &arguments.user;
    let uid = users::number_of(user).with_context(|| format!("there is no user `{user}`: name the daemon's"))?;
    let listener = match &arguments.socket {
        Some(path) => helper::listen(path, uid).with_context(|| format!("cannot listen at {}", path.display()))?,
        None => helper::inherited(std::io::stdin().as_fd()).context(
            "the standard input is no socket to listen at: let the service manager start it, or say --socket",
        )?,
    };
    tracing::info!(user, "the firewall helper listens");
    helper::serve(listener, Asked::by(uid)).await;
    Ok(Exit::Done)
}
