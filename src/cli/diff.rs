//! `exitpool diff`: whether this host differs from the newest revision, and in what.

use anyhow::bail;
use clap::Args;

use super::arguments::{Format, Host, Output, SourceArguments};
use super::look::{self, PlanDocument};
use super::{Exit, output};

/// Show how this host differs from the newest revision of the source
///
/// Exits with 0 for no difference, 1 for some, 2 when it cannot be told. Opens nothing for writing.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    host: Host,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let wished = look::newest(&arguments.host, &arguments.source)?;
    let plan = look::look(&arguments.host, &arguments.source, &wished).await?.plan;
    let document = PlanDocument::of(&wished, &plan);
    match arguments.output.output {
        Format::Json => output::json(&document)?,
        Format::Text if plan.steps.is_empty() => output::data(&document.notes()),
        Format::Text => {
            let header = format!("--- this host\n+++ {}\n", wished.revision);
            output::data(&format!("{header}{}{}", look::lines(&plan.steps), document.notes()));
        }
    }
    let unknowns = look::unknowns(&plan);
    if !unknowns.is_empty() {
        bail!("cannot tell whether there is a difference: {}", unknowns.join("; "));
    }
    Ok(if plan.decided().next().is_none() { Exit::Done } else { Exit::Differs })
}
