//! `exitpool backup`: the state directory, as one file.

mod verify;

use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::backup::envelope::{Envelope, Opener};
use crate::backup::members::{Kind, Wish};
use crate::backup::write::{Made, Target, write};
use crate::desired::values::Positive;
use crate::error::{self, chain};
use crate::state::note::Note;

pub(super) use verify::reader;

use super::arguments::State;
use super::{Exit, Told, output};

/// Write what this host remembers into one file, from which `exitpool restore` makes a host again
///
/// It has the databases, the accepted revision and the ratchet, the history, rotations, orders, lockouts, and the guard
/// relays of every tor, and a manifest with sums. The daemon may run meanwhile, and no pass waits. docs/backup.md says what
/// each of it is worth, and what is not in it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    write: Write,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Verify(verify::Arguments),
}

#[derive(Debug, Args)]
struct Write {
    /// Where it goes: a file, which is replaced; a directory, which gets one with host and time in its name; or `-`
    #[arg(value_name = "FILE|DIR|-", required = true)]
    target: Option<PathBuf>,
    /// Keep so many backups of this host in that directory, and remove older ones
    #[arg(long, value_name = "NUMBER", value_parser = super::run::count)]
    keep: Option<Positive>,
    /// With the secret keys: the one that signs the audit trail, and private keys that lie in the state directory
    #[arg(long)]
    keys: bool,
    /// With the Tor network's directory, so that restored nodes need not download it; it is good for some hours
    #[arg(long)]
    with_cache: bool,
    /// Encrypt for a public key of age or of SSH, as `age-keygen` and `ssh-keygen` write them; can be said again
    #[arg(long, value_name = "KEY", conflicts_with = "passphrase_file")]
    recipient: Vec<String>,
    /// Encrypt for the keys of a file, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    recipients_file: Vec<PathBuf>,
    /// Encrypt with the passphrase in the first line of a file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    state: State,
}

/// What opens an encrypted backup.
#[derive(Debug, Args)]
pub(super) struct Opening {
    /// The key that opens it: of age, or a private key of SSH without a passphrase; can be said again
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// The passphrase that opens it, in the first line of a file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Opening {
    pub(super) fn opener(&self) -> anyhow::Result<Opener> {
        Ok(Opener::of(&self.identity, self.passphrase_file.as_deref())?)
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    match &arguments.verb {
        Some(Verb::Verify(arguments)) => verify::run(arguments),
        None => make(&arguments.write),
    }
}

fn make(arguments: &Write) -> anyhow::Result<Exit> {
    let target = arguments.target()?;
    let state_dir = &arguments.state.state_dir;
    let made = arguments.envelope().map_err(anyhow::Error::from).and_then(|envelope| {
        let wish = Wish { keys: arguments.keys, cache: arguments.with_cache };
        Ok(write(state_dir, wish, &envelope, &target)?)
    });
    // Whoever backs up may be somebody who can only read.
    if state_dir.is_dir()
        && let Err(error) = Note::write(state_dir, Timestamp::now(), made.is_ok())
    {
        output::talk(&format!(
            "the daemon's metrics do not say so, since its state cannot be written: {}",
            chain(&error)
        ));
    }
    tell(&made.with_context(|| format!("no backup of {} is made", state_dir.display()))?);
    Ok(Exit::Done)
}

impl Write {
    fn target(&self) -> anyhow::Result<Target> {
        let keep = self.keep.map(|keep| keep.0 as usize);
        let wrong = |message: String| Told { kind: error::Kind::Usage, message };
        let path = self.target.clone().ok_or_else(|| wrong("name the file to write, or `-`".to_owned()))?;
        match path {
            path if path.is_dir() => Ok(Target::Directory(path, keep)),
            path if keep.is_some() => {
                Err(wrong(format!("--keep needs a directory, and {} is none", path.display())).into())
            }
            path if path.as_os_str() == "-" && stdout().is_terminal() => {
                Err(wrong("a backup is nothing for a terminal: name a file, or a program to give it to".to_owned())
                    .into())
            }
            path if path.as_os_str() == "-" => Ok(Target::Out),
            path => Ok(Target::File(path)),
        }
    }

    fn envelope(&self) -> Result<Envelope, crate::backup::BackupError> {
        match &self.passphrase_file {
            Some(path) => Envelope::passphrase(path),
            None => Envelope::to(&self.recipient, &self.recipients_file),
        }
    }
}

fn tell(made: &Made) {
    let manifest = &made.manifest;
    let count = |kind| manifest.members.iter().filter(|member| member.kind == kind).count();
    let guards = count(Kind::Guards);
    let tors = if guards == 1 { "tor" } else { "tors" };
    let place = made.path.as_ref().map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
    let keys = if manifest.has(Kind::Key) { ", with its secret keys" } else { "" };
    output::talk(&format!("{} is backed up to {place}, with the guard relays of {guards} {tors}{keys}", manifest.host));
    made.removed.iter().for_each(|path| output::talk(&format!("{} is removed: newer ones are kept", path.display())));
}
