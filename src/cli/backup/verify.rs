//! `backup verify`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::backup::check::{Checked, open};
use crate::backup::container::Keys;

use super::super::arguments::{Format, Output};
use super::super::documents::BackupDocument;
use super::super::{Exit, output};
use super::Opening;

/// Check that a backup is whole and of a format that is known here, and list what is in it
///
/// Every member is compared with its sum, the databases are looked through, and the chain of the audit trail is verified.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The backup, or `-`
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    #[command(flatten)]
    opening: Opening,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let opener = arguments.opening.opener()?;
    let place = tempfile::tempdir().context("cannot make a directory to unpack to: set TMPDIR")?;
    let from = reader(&arguments.file)?;
    let checked = open(from, &opener, place.path(), Keys::Leave);
    let checked = checked.with_context(|| format!("{} is not verified", arguments.file.display()))?;
    let document = BackupDocument::of(&checked);
    match arguments.output.output {
        Format::Json => output::json(&document)?,
        Format::Text => output::data(&text(&checked)),
    }
    Ok(Exit::Done)
}

/// Opens a backup, or standard input.
pub(in crate::cli) fn reader(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).with_context(|| format!("cannot read the backup {}", path.display()))?;
    Ok(Box::new(file))
}

fn text(checked: &Checked) -> String {
    let Checked { manifest, is_encrypted, rows } = checked;
    let sealed = if *is_encrypted { ", encrypted" } else { "" };
    let (host, program) = (&manifest.host, &manifest.exitpool);
    let mut lines = vec![format!(
        "whole: of {host}, made at {:.0} by exitpool {program}, format {}{sealed}",
        manifest.made_at, manifest.version
    )];
    lines.extend(manifest.revision.iter().map(|revision| format!("  in force   {revision}")));
    if let (Some(rows), Some(trail)) = (rows, &manifest.trail) {
        lines.push(format!("  trail      {rows} rows, to {trail}"));
    }
    lines.extend(manifest.trail_key.iter().map(|key| format!("  signed by  {key}")));
    let row = |member: &crate::backup::manifest::Entry| {
        vec![member.kind.word().to_owned(), member.size.to_string(), member.name.clone()]
    };
    let table = output::table(&["KIND", "BYTES", "NAME"], manifest.members.iter().map(row).collect());
    format!("{}\n{table}", lines.join("\n"))
}
