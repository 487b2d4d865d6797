//! `exitpool scale`: another size for a pool, written into the operator's own file. Needs neither host nor daemon.

mod work_tree;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use similar::TextDiff;

use crate::desired::edit::{self, EditError, Resized};
use crate::desired::lists::Given;
use crate::desired::load::{self, Invalid};
use crate::desired::{Diagnostic, Lists, PoolName};
use crate::error::{Classify as _, Kind};
use crate::source::{Candidate, Source, SourceSpec};
use crate::sys::files;

use super::arguments::{Format, Output};
use super::{Exit, Told, output};
use work_tree::WorkTree;

/// Give a pool another size in the desired-state file, and show the difference
///
/// Changes the number and nothing else: comments and layout stay. A file that is invalid, or would be, is left alone.
/// With --commit the file is committed by git as it is set up here, so it is signed where git signs.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: PoolName,
    /// How many nodes it is to have
    #[arg(value_name = "SIZE")]
    size: u16,
    /// The desired-state file
    #[arg(long, default_value = "pool.yaml", value_name = "PATH")]
    file: PathBuf,
    /// Show the difference, and change nothing
    #[arg(long, conflicts_with = "commit")]
    dry_run: bool,
    /// Commit the file, and only it; refused where it has other changes
    #[arg(long)]
    commit: bool,
    /// Why; it becomes the body of the commit's message
    #[arg(long, value_name = "TEXT", requires = "commit")]
    reason: Option<String>,
    /// Push the branch after the commit, as `git push` does
    #[arg(long, requires = "commit")]
    push: bool,
    #[command(flatten)]
    output: Output,
}

/// What was done, as JSON.
#[derive(Debug, Default, Serialize)]
struct Document {
    file: String,
    pool: String,
    from: Option<u16>,
    to: u16,
    diff: String,
    commit: Option<String>,
    pushed: bool,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let name = arguments.file.display().to_string();
    let path = arguments.file.canonicalize().with_context(|| format!("cannot read {name}: give it with --file"))?;
    let (before, lists) = read(&path, &name)?;
    let resized = resize(arguments, &name, Given { document: before.as_bytes(), lists: &lists })?;
    let work_tree = if arguments.commit { Some(WorkTree::of(&path).await?) } else { None };
    let mut document = Document::of(arguments, &name, &before, &resized);
    if resized.from == Some(arguments.size) {
        output::talk(&format!("{} has {} nodes already; nothing was changed", arguments.pool, arguments.size));
        return document.show(arguments.output.output);
    }
    if arguments.output.output == Format::Text {
        output::data(&document.diff);
    }
    if !arguments.dry_run {
        let edit = Edit { path: &path, before: &before, after: &resized.text };
        edit.write()?;
        if let Some(work_tree) = &work_tree {
            document.commit = Some(edit.commit(work_tree, &message(arguments, resized.from)).await?);
        }
    }
    if let Some(work_tree) = work_tree.filter(|_| arguments.push) {
        work_tree.push().await?;
        document.pushed = true;
    }
    document.tell();
    if arguments.output.output == Format::Json { document.show(Format::Json) } else { Ok(Exit::Done) }
}

fn read(path: &Path, name: &str) -> anyhow::Result<(String, Lists)> {
    let Candidate { bytes, lists, .. } = Source::new(SourceSpec::File(path.to_owned())).candidate()?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, lists)),
        Err(error) => match load::load(name, error.as_bytes()) {
            Err(invalid) => Err(refused(&invalid, "", format!("{name} is not a valid desired state"))),
            Ok(_) => bail!("{name} is not UTF-8"),
        },
    }
}

/// Makes the new text; a file that is refused is told in full.
fn resize(arguments: &Arguments, name: &str, given: Given<'_>) -> anyhow::Result<Resized> {
    let text = &String::from_utf8_lossy(given.document);
    edit::resize(name, given, &arguments.pool, arguments.size).map_err(|error| match &error {
        EditError::InvalidBefore(invalid) => {
            refused(invalid, text, format!("{name} is not a valid desired state; nothing was changed"))
        }
        EditError::InvalidAfter { invalid, text } => {
            let (pool, size) = (&arguments.pool, arguments.size);
            refused(invalid, text, format!("{name} would be invalid with {size} nodes in {pool}; nothing was changed"))
        }
        other => Told { kind: other.kind(), message: format!("{name}: {other}") }.into(),
    })
}

fn refused(invalid: &Invalid, text: &str, message: String) -> anyhow::Error {
    let errors = invalid.diagnostics.iter().filter(|it| it.severity == crate::desired::Severity::Error);
    let errors: Vec<Diagnostic> = errors.cloned().collect();
    output::diagnostics(&errors, text);
    Told { kind: Kind::Desired, message }.into()
}

/// The commit's message: what, and why where that was said.
fn message(arguments: &Arguments, from: Option<u16>) -> String {
    let (pool, size) = (&arguments.pool, arguments.size);
    let subject = match from {
        Some(from) => format!("{pool}: scale {from} → {size}"),
        None => format!("{pool}: scale to {size}"),
    };
    match &arguments.reason {
        Some(reason) => format!("{subject}\n\n{reason}\n"),
        None => format!("{subject}\n"),
    }
}

/// A file, before and after.
struct Edit<'a> {
    path: &'a Path,
    before: &'a str,
    after: &'a str,
}

impl Edit<'_> {
    fn write(&self) -> anyhow::Result<()> {
        files::replace(self.path, self.after.as_bytes())
            .with_context(|| format!("cannot write {}; nothing was changed", self.path.display()))
    }

    /// Commits the file; where that fails, it is as it was before.
    async fn commit(&self, work_tree: &WorkTree, message: &str) -> anyhow::Result<String> {
        let Err(error) = work_tree.commit(message).await else { return work_tree.head().await };
        let path = self.path.display();
        match files::replace(self.path, self.before.as_bytes()) {
            Ok(()) => Err(error.context(format!("{path} was not committed, and is as it was"))),
            Err(second) => Err(error.context(format!("{path} was changed and not committed ({second})"))),
        }
    }
}

impl Document {
    fn of(arguments: &Arguments, name: &str, before: &str, resized: &Resized) -> Self {
        let diff = TextDiff::from_lines(before, resized.text.as_str());
        let diff = diff.unified_diff().header(name, name).to_string();
        let (file, pool) = (name.to_owned(), arguments.pool.to_string());
        Self { file, pool, from: resized.from, to: arguments.size, diff, ..Self::default() }
    }

    fn show(&self, format: Format) -> anyhow::Result<Exit> {
        if format == Format::Json {
            output::json(self)?;
        }
        Ok(Exit::Done)
    }

    /// Says what became of it.
    fn tell(&self) {
        let Some(commit) = &self.commit else { return };
        let pushed = if self.pushed { ", and pushed" } else { "" };
        output::talk(&format!("committed as {commit}{pushed}"));
    }
}
