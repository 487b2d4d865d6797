//! `exitpool accept-rewrite`: an operator on this host says from which commit on the branch is believed.

use anyhow::Context as _;
use clap::Args;
use git2::Oid;

use crate::daemon::socket::{self, SocketError, Verb};
use crate::error::chain;
use crate::source::{Source, SourceError};
use crate::state;

use super::arguments::{Host, SourceArguments, commit};
use super::{Exit, output};

/// Accept a commit by hand: a rewritten branch, an older commit, or the first one
///
/// From then on, what descends from it is believed when it is signed, and nothing else. Give the source and
/// --allowed-signers as the daemon has them. A running daemon takes it up at once.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The commit, with all its digits
    #[arg(value_name = "COMMIT", value_parser = commit)]
    commit: Oid,
    /// Why; it is kept with the commit
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    host: Host,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    state::refuse_newer(&arguments.host.state_dir)?;
    let source = arguments.host.open(&arguments.source)?;
    if let (Err(SourceError::NotFetched { .. }), Some(remote)) = (source.repository(), source.remote()) {
        remote.fetch().await?;
    }
    let described = describe(&source, arguments.commit)?;
    source.accept_by_hand(arguments.commit, &arguments.reason)?;
    output::data(&described);
    match socket::ask(&arguments.host.runtime_dir, Verb::Reconcile).await {
        Ok(_) => output::talk("accepted, and the daemon has looked at it"),
        Err(SocketError::Absent { .. }) => output::talk("accepted; no daemon is running"),
        Err(error) => output::talk(&format!("accepted; the daemon did not say what it made of it: {}", chain(&error))),
    }
    Ok(Exit::Done)
}

/// What is accepted: whose commit it is, what it says, and who signed it.
fn describe(source: &Source, id: Oid) -> anyhow::Result<String> {
    let repository = source.repository()?;
    let commit = repository.find_commit(id).with_context(|| format!("commit {id} is not in the source"))?;
    let author = commit.author();
    let name = String::from_utf8_lossy(author.name_bytes()).escape_debug().to_string();
    let mail = String::from_utf8_lossy(author.email_bytes()).escape_debug().to_string();
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let subject = message.lines().next().unwrap_or_default().escape_debug().to_string();
    let signed = match source.signer(id) {
        Ok(signer) => format!("signed by {} ({})", signer.principals, signer.key),
        Err(error) => format!("not signed by anybody who is trusted: {}", chain(&error)),
    };
    Ok(format!("commit {id}\nAuthor: {name} <{mail}>\n    {subject}\n{signed}\n"))
}
