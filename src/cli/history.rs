//! `exitpool history`: the revisions that were in force.

use clap::Args;

use crate::reconcile::history::History;
use crate::reconcile::memory::Memory;

use super::arguments::{Format, Output, State};
use super::documents::{HistoryDocument, RevisionDocument};
use super::{Exit, output};

/// List the revisions that were in force: who signed them, and what became of them
///
/// The latest 20 are kept in the state directory, with their documents: `exitpool rollback` goes back to them.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let state_dir = &arguments.state.state_dir;
    let memory = Memory::new(state_dir);
    let (in_force, orders) = (memory.accepted().map(|accepted| accepted.revision), memory.orders()?);
    let mut kept = History::of(state_dir).list();
    kept.sort_by_key(|kept| kept.entry.taken_up);
    let revisions = kept.iter().rev().map(|kept| RevisionDocument::of(&kept.entry, in_force.as_ref(), &orders));
    let document = HistoryDocument { revisions: revisions.collect() };
    match arguments.output.output {
        Format::Json => output::json(&document)?,
        Format::Text if document.revisions.is_empty() => {
            output::talk(&format!("no revision has been in force yet, as far as {} says", state_dir.display()));
        }
        Format::Text => output::data(&text(&document)),
    }
    Ok(Exit::Done)
}

fn text(document: &HistoryDocument) -> String {
    let result = |revision: &RevisionDocument| match (&revision.rolled_back, revision.in_force) {
        (Some(rollback), _) => format!("{}, rolled back by {}", revision.result, rollback.by),
        (None, true) => format!("{}, in force", revision.result),
        (None, false) => revision.result.clone(),
    };
    let took = |revision: &RevisionDocument| {
        revision.after_ms.map_or_else(
            || "-".to_owned(),
            |after| format!("{:.1} s", std::time::Duration::from_millis(after).as_secs_f64()),
        )
    };
    let signers = |revision: &RevisionDocument| {
        if revision.signers.is_empty() { "-".to_owned() } else { revision.signers.join(", ") }
    };
    let row = |revision: &RevisionDocument| {
        vec![revision.revision.clone(), revision.taken_up.clone(), result(revision), took(revision), signers(revision)]
    };
    let rows = document.revisions.iter().map(row).collect();
    output::table(&["REVISION", "IN FORCE SINCE", "RESULT", "TOOK", "SIGNED BY"], rows)
}
