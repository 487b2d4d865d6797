//! `exitpool plan`: what a pass would do, without doing it.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{Format, Host, Output, SourceArguments};
use super::look::{self, PlanDocument};
use super::{Exit, output, snapshot};

/// Show what would be done so that this host is as desired
///
/// Reads the newest revision of the source and looks at the host; opens nothing for writing. With --observed it looks at
/// no host, and needs neither tor nor root.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    host: Host,
    /// Plan for the host that `exitpool snapshot` wrote down, instead of this one
    #[arg(long, value_name = "FILE")]
    observed: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    /// Exit with 0 for no changes, 1 for an error, 2 for changes
    #[arg(long)]
    detailed_exitcode: bool,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let wished = look::newest(&arguments.host, &arguments.source)?;
    let plan = match &arguments.observed {
        Some(file) => snapshot::plan(file, &wished.desired)?,
        None => look::look(&arguments.host, &arguments.source, &wished).await?.plan,
    };
    let document = PlanDocument::of(&wished, &plan);
    match arguments.output.output {
        Format::Json => output::json(&document)?,
        Format::Text if plan.steps.is_empty() => {
            output::data(&format!("No changes for {}.\n{}", wished.revision.short(), document.notes()));
        }
        Format::Text => {
            let steps = look::lines(&plan.steps);
            output::data(&format!(
                "For {}:\n\n{steps}{}\n{}",
                wished.revision.short(),
                document.notes(),
                plan.counts()
            ));
        }
    }
    let changes = arguments.detailed_exitcode && !plan.steps.is_empty();
    Ok(if changes { Exit::Changes } else { Exit::Done })
}
