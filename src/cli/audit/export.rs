//! `audit export`.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::audit;
use crate::daemon::journal::FILE;
use crate::sys::files;

use super::super::arguments::State;
use super::super::{Exit, output};

/// Write the trail out as text that another machine can check: a JSON document a line
///
/// It has the addresses that were not erased: what is erased later on this host stays in it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where it goes, readable to you alone; one that is there is replaced. Default: standard output
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    state: State,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let path = arguments.state.state_dir.join(FILE);
    let Some(file) = &arguments.file else {
        let mut out = BufWriter::new(std::io::stdout().lock());
        audit::export(&path, &mut out, Path::new("standard output")).with_context(|| super::advice(&path))?;
        out.flush().context("cannot write to standard output")?;
        return Ok(Exit::Done);
    };
    let mut text = Vec::new();
    let rows = audit::export(&path, &mut text, file).with_context(|| super::advice(&path))?;
    let whole = if file.is_absolute() { file.clone() } else { Path::new(".").join(file) };
    files::write_atomically(&whole, &text).with_context(|| format!("cannot write {}", file.display()))?;
    output::talk(&format!("{rows} rows are written to {}", file.display()));
    Ok(Exit::Done)
}
