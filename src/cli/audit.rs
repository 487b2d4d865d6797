//! `exitpool audit`: what was done on this host, by whom and why, and whether the record of it is whole.

mod check;
mod erase;
mod export;

use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use crate::audit::{self, Entry, Filter};
use crate::daemon::journal::FILE;
use crate::desired::NodeName;
use crate::desired::values::Period;

use super::arguments::{Format, Output, State};
use super::documents::{AuditDocument, AuditEntryDocument};
use super::{Exit, output};

/// Show what was done on this host: when, by whom, why, and what came of it
///
/// The trail is a chain of hashes in the state directory, signed with the host's key. It is read without the daemon, and
/// while the daemon writes it. docs/audit.md says what it proves, and what it does not.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Verify(Box<check::Verify>),
    Key(check::Key),
    Export(export::Arguments),
    Erase(erase::Arguments),
}

#[derive(Debug, Args)]
struct List {
    /// Only what was done since then: a time as in `2026-11-24T08:00:00Z`, or how long ago as in `2h`
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Only what was done to this node, named as the first one that its tor process serves
    #[arg(long, value_name = "NODE")]
    node: Option<NodeName>,
    /// Only what was done to objects of this kind: the first word, as in `node`, `firewall`, `grant`, `host`
    #[arg(long, value_name = "KIND", conflicts_with = "node")]
    kind: Option<String>,
    /// At most so many rows, the newest
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    limit: usize,
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    match &arguments.verb {
        None => list(&arguments.list),
        Some(Verb::Verify(arguments)) => check::verify(arguments),
        Some(Verb::Key(arguments)) => check::key(arguments),
        Some(Verb::Export(arguments)) => export::run(arguments),
        Some(Verb::Erase(arguments)) => erase::run(arguments).await,
    }
}

/// Reads a time, or how long ago it was.
pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    let ago = || {
        let period: Period = text.parse().ok()?;
        Timestamp::now().checked_sub(SignedDuration::try_from(period.0).ok()?).ok()
    };
    let refuse = || format!("`{text}` is no time; write it as in `2026-11-24T08:00:00Z`, or how long ago as in `2h`");
    text.parse().ok().or_else(ago).ok_or_else(refuse)
}

fn list(List { since, node, kind, limit, state, output }: &List) -> anyhow::Result<Exit> {
    let path = state.state_dir.join(FILE);
    let object = node.as_ref().map(|node| format!("node {node}"));
    let filter = Filter { since: *since, object, kind: kind.clone(), limit: *limit };
    let mut entries = audit::search(&path, &filter).with_context(|| advice(&path))?;
    // As a log is read: the newest at the end.
    entries.reverse();
    match output.output {
        Format::Json => {
            let entries = entries.iter().map(AuditEntryDocument::of).collect();
            output::json(&AuditDocument { entries })?;
        }
        Format::Text if entries.is_empty() => output::talk("nothing like that was done, as far as the trail goes back"),
        Format::Text => output::data(&entries.iter().map(text).collect::<Vec<_>>().join("\n")),
    }
    Ok(Exit::Done)
}

/// What to do where a trail cannot be read.
fn advice(path: &Path) -> String {
    format!(
        "cannot read the audit trail of this host ({}): name its --state-dir, as a user who may read it",
        path.display()
    )
}

/// One deed in one line, and a second one for who did it and why.
fn text(entry: &Entry) -> String {
    let Entry { row, record, signers, uid, token, address, address_erased, .. } = entry;
    let signers = (!signers.is_empty()).then(|| format!("signed by {}", signers.join(", ")));
    let uid = uid.map(|uid| format!("uid {uid}"));
    let token = token.as_ref().map(|token| format!("token {token}"));
    let address = address.as_ref().map(|address| format!("from {address}"));
    let address = address.or_else(|| address_erased.then(|| "from an address that was erased".to_owned()));
    let revision = record.revision.as_ref().map(|revision| format!("at {revision}"));
    let who = [signers, uid, token, address, revision].into_iter().flatten();
    let why: Vec<String> = std::iter::once(record.cause.clone()).chain(who).collect();
    let what = if record.action.contains(&record.object) { String::new() } else { format!("{}: ", record.object) };
    format!("{row}  {:.0}  {what}{}: {}\n    {}", record.at, record.action, record.result, why.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_of_the_clock_or_of_the_past() {
        assert_eq!(since("2026-11-24T08:00:00Z").unwrap().as_second(), 1_795_507_200);
        let ago = since("2h").unwrap().duration_until(Timestamp::now());
        assert!((7_200..7_210).contains(&ago.as_secs()), "{ago}");
        for bad in ["", "yesterday", "2", "2026-11-24"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
