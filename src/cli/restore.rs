//! `exitpool restore`: a state directory from a backup.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::backup::restore::{Occupied, Restored, restore};

use super::arguments::State;
use super::backup::{Opening, reader};
use super::{Exit, output};

/// Make the state directory what it was when a backup was made, on this host or on another one
///
/// The backup is checked as `exitpool backup verify` does before anything is touched; then all of it is put in place, or
/// nothing. Stop the daemon and the pool's tors first. Restored tors keep their guard relays. docs/backup.md says what
/// else comes back, and what goes back in time.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The backup, or `-`
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Put it in the place of a state that is there; that one is kept in the state directory, as `before-restore-` and the time
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    opening: Opening,
    #[command(flatten)]
    state: State,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let opener = arguments.opening.opener()?;
    let occupied = if arguments.replace { Occupied::Replace } else { Occupied::Refuse };
    let state_dir = &arguments.state.state_dir;
    let restored = restore(reader(&arguments.file)?, &opener, state_dir, occupied);
    let restored = restored.with_context(|| format!("{} is not restored", arguments.file.display()))?;
    tell(&restored, arguments);
    Ok(Exit::Done)
}

fn tell(Restored { checked, aside, notes }: &Restored, arguments: &Arguments) {
    let (host, made_at) = (&checked.manifest.host, checked.manifest.made_at);
    let place = arguments.state.state_dir.display();
    output::talk(&format!("{place} is what it was on {host} at {made_at:.0}; start the daemon"));
    if let Some(aside) = aside {
        output::talk(&format!("what was there is now {}: remove it when nobody needs it any more", aside.display()));
    }
    notes.iter().for_each(|note| output::talk(note));
}
