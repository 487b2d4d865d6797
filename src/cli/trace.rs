//! `exitpool trace`: which revision made a node what it is.

use anyhow::{Context as _, bail};
use clap::Args;

use crate::desired::lists::Given;
use crate::desired::load::load;
use crate::desired::{Instance, NodeName, Revision};
use crate::reconcile::history::{Entry, History, KEPT, Kept};
use crate::reconcile::memory::Memory;

use super::arguments::{Format, Output, State};
use super::documents::TraceDocument;
use super::{Exit, output};

/// Show which revision made a node what it is, and who signed it
///
/// Compares what the kept revisions say of the node, from the one in force back to the last that changed it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The node, as in `eu-0`
    #[arg(value_name = "NODE")]
    node: NodeName,
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let state_dir = &arguments.state.state_dir;
    let accepted = Memory::new(state_dir).accepted();
    let accepted =
        accepted.with_context(|| format!("no revision is in force, as far as {} says", state_dir.display()))?;
    let node = &arguments.node;
    if wish(accepted.given(), node).is_none() {
        bail!("there is no node {node} in {}", accepted.revision);
    }
    let kept = History::of(state_dir).list();
    let Some((entry, exact)) = origin(&kept, &accepted.revision, node) else {
        bail!(
            "the history does not have {}, which is in force: it was accepted before there was one",
            accepted.revision
        );
    };
    let document = TraceDocument {
        node: node.to_string(),
        revision: entry.revision.to_string(),
        taken_up: format!("{:.0}", entry.taken_up),
        signers: entry.signers.clone(),
        exact,
    };
    match arguments.output.output {
        Format::Json => output::json(&document)?,
        Format::Text => output::data(&text(&document)),
    }
    Ok(Exit::Done)
}

/// What a document says of the instance that serves a node.
fn wish(given: Given<'_>, node: &NodeName) -> Option<Instance> {
    let desired = load("a kept revision", given).ok()?.desired;
    desired.instances().into_iter().find(|instance| instance.nodes.iter().any(|served| served.name == *node))
}

/// Finds the revision that last changed what is said of a node, and whether no earlier one can have said the same.
fn origin<'a>(kept: &'a [Kept], in_force: &Revision, node: &NodeName) -> Option<(&'a Entry, bool)> {
    let last = kept.iter().rposition(|kept| kept.entry.revision == *in_force)?;
    let wanted = wish(kept[last].given(), node);
    let alike = kept[..last].iter().rev().take_while(|earlier| wish(earlier.given(), node) == wanted).count();
    let first = last - alike;
    let exact = first > 0 || kept.len() < KEPT;
    Some((&kept[first].entry, exact))
}

fn text(document: &TraceDocument) -> String {
    let TraceDocument { node, revision, taken_up, signers, exact } = document;
    let signed =
        if signers.is_empty() { "not verified".to_owned() } else { format!("signed by {}", signers.join(", ")) };
    let earlier = if *exact { "" } else { "\n  or by an earlier one that is not kept any more" };
    format!("node {node} is as it is by {revision}{earlier}\n  in force since {taken_up}\n  {signed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::history::Ended;

    fn kept(number: u8, pools: &str) -> Kept {
        let entry = Entry {
            revision: Revision::of_file(&[number; 32]),
            taken_up: jiff::Timestamp::UNIX_EPOCH,
            signers: Vec::new(),
            result: Ended::Applying,
        };
        Kept { entry, bytes: format!("version: 1\npools:\n{pools}").into_bytes(), lists: Default::default() }
    }

    const EU: &str = "  - {name: eu, size: 2, socks_port: 30000}\n";
    const EU_IN_DE: &str = "  - {name: eu, size: 2, countries: [de], socks_port: 30000}\n";
    const US: &str = "  - {name: us, size: 1, socks_port: 31000}\n";

    #[test]
    fn a_node_comes_from_the_revision_that_changed_it_last() {
        let both = format!("{EU_IN_DE}{US}");
        let history = [kept(1, EU), kept(2, EU_IN_DE), kept(3, &both), kept(4, &both)];
        let in_force = &history[3].entry.revision;
        let number = |node: &str| {
            let (entry, exact) = origin(&history, in_force, &node.parse().unwrap()).unwrap();
            (history.iter().position(|kept| kept.entry == *entry).unwrap() + 1, exact)
        };
        assert_eq!([number("eu-0"), number("us-0")], [(2, true), (3, true)]);
        assert_eq!(origin(&history[..2], in_force, &"eu-0".parse().unwrap()), None);
    }

    #[test]
    fn what_is_older_than_the_history_is_said_to_be() {
        let number = |at: usize| u8::try_from(at).unwrap();
        let history: Vec<Kept> = (0..KEPT).map(|at| kept(number(at), EU)).collect();
        let (entry, exact) = origin(&history, &history[KEPT - 1].entry.revision, &"eu-0".parse().unwrap()).unwrap();
        assert_eq!((entry, exact), (&history[0].entry, false));
    }
}
