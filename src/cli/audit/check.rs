//! `audit verify` and `audit key`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::audit::{self, Pinned, Place, Verified};
use crate::daemon::journal::FILE;
use crate::export::key::PublicKey;

use super::super::arguments::{Format, Output, State};
use super::super::documents::VerifiedDocument;
use super::super::{Exit, output};

/// Check that no row of the trail was changed, moved, added or taken out, and that none was cut off
///
/// Without FILE, this host's own trail is checked, with its key and where the daemon knows that it ended. With FILE, a copy
/// or what `exitpool audit export` wrote, on any machine: name the key then, or what is proved is only that one key has
/// signed all of it.
#[derive(Debug, Args)]
pub struct Verify {
    /// A copy of the database, or an export
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The key that has to have signed it, as `exitpool audit key` printed it on its host
    #[arg(long, value_name = "KEY", value_parser = key_of)]
    public: Option<PublicKey>,
    /// A row that has to be there with this hash, as an earlier `exitpool audit verify` printed it
    #[arg(long, value_name = "ROW:HASH")]
    place: Vec<Place>,
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    output: Output,
}

/// Print the public key that this host signs its trail with: keep it elsewhere
#[derive(Debug, Args)]
pub struct Key {
    #[command(flatten)]
    state: State,
}

fn key_of(text: &str) -> Result<PublicKey, String> {
    text.parse().map_err(|_| {
        format!(
            "`{text}` is no public key: write `ed25519:` and 44 characters of base64, as `exitpool audit key` prints it"
        )
    })
}

pub(super) fn verify(arguments: &Verify) -> anyhow::Result<Exit> {
    let own = arguments.state.state_dir.join(FILE);
    let (path, known) = match &arguments.file {
        Some(file) => (file.clone(), Pinned::default()),
        None => (own.clone(), audit::own(&own)),
    };
    let places = known.places.into_iter().chain(arguments.place.iter().cloned()).collect();
    let pinned = Pinned { key: arguments.public.or(known.key), places };
    let verified = audit::verify(&path, &pinned).with_context(|| format!("{} is not verified", path.display()))?;
    let document = document(&verified, pinned.key.is_some());
    match arguments.output.output {
        Format::Json => output::json(&document)?,
        Format::Text => output::data(&text(&document)),
    }
    if pinned.key.is_none() {
        output::talk("no key was named: whoever has another one could have made another trail; see --public");
    }
    Ok(Exit::Done)
}

fn document(verified: &Verified, pinned: bool) -> VerifiedDocument {
    let Verified { rows, removed, erased, head, signed_at, key } = verified;
    VerifiedDocument {
        rows: *rows,
        removed: *removed,
        erased: *erased,
        head: head.to_string(),
        signed_at: signed_at.to_string(),
        key: key.to_string(),
        pinned,
    }
}

fn text(document: &VerifiedDocument) -> String {
    let VerifiedDocument { rows, removed, erased, head, signed_at, key, .. } = document;
    let removed =
        if *removed > 0 { format!(", behind {removed} that its retention has removed") } else { String::new() };
    let erased = if *erased > 0 { format!(", {erased} without their address") } else { String::new() };
    format!(
        "{rows} rows are as they were written{removed}{erased}\n  newest     {head}\n  signed     {signed_at}\n  by         {key}"
    )
}

pub(super) fn key(arguments: &Key) -> anyhow::Result<Exit> {
    let path = arguments.state.state_dir.join(FILE);
    let key = audit::public_key(&path).with_context(|| super::advice(&path))?;
    let Some(key) = key else { bail!("{} is not signed by any key", path.display()) };
    output::data(&key.to_string());
    Ok(Exit::Done)
}
