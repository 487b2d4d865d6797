//! `exitpool guard-early`: while the host is booted, the guard that stood last is put in place before the network is up.

use clap::Args;

use crate::desired::Desired;
use crate::desired::load::{self, Loaded};
use crate::error::Kind;
use crate::firewall::early::Early;
use crate::log;
use crate::reconcile::memory::Memory;

use super::arguments::State;
use super::{Exit, Told, output};

/// Put the guard that stood last in place, while the host is booted: before the network is up, and before the daemon is
///
/// It is what the daemon left in place, with the ports of all nodes of the desired state in force; a change that was
/// still on trial is not part of it. Where only the desired state is known, the nodes' ports are closed to others, and
/// nothing else is. exitpool-guard.service starts it.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    state: State,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    log::start_plain(super::run::levels());
    let memory = Memory::new(&arguments.state.state_dir);
    let damaged: Vec<String> = memory.damaged().iter().map(|path| path.display().to_string()).collect();
    let desired = in_force(&memory);
    let Some(early) = Early::of(memory.applied().guard(), desired.as_ref()) else {
        return nothing(&damaged);
    };
    if !damaged.is_empty() {
        tracing::warn!(files = damaged.join(", "), "cannot be understood: the guard is made from the rest");
    }
    let driver = early.put_in_place().await?;
    output::talk(&format!("the guard stands ({driver}): the daemon goes on from here"));
    Ok(Exit::Done)
}

/// Where nothing is known, nothing is closed: no node runs yet either.
fn nothing(damaged: &[String]) -> anyhow::Result<Exit> {
    if damaged.is_empty() {
        output::talk("no guard is wished here, or none has stood here yet: nothing is closed");
        return Ok(Exit::Done);
    }
    let files = damaged.join(", ");
    let message = format!("no guard stands: cannot understand {files}; the daemon makes them anew when it starts");
    Err(Told { kind: Kind::Host, message }.into())
}

/// The desired state in force, where it is known and still valid.
fn in_force(memory: &Memory) -> Option<Desired> {
    let accepted = memory.accepted()?;
    match load::load("the desired state in force", accepted.given()) {
        Ok(Loaded { desired, .. }) => Some(desired),
        Err(invalid) => {
            tracing::warn!(%invalid, "the desired state in force is not valid any more");
            None
        }
    }
}
