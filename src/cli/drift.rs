//! `exitpool drift`: what has moved on this host although nobody committed it.

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use crate::plan::Step;

use super::arguments::{Format, Host, Output, SourceArguments};
use super::look;
use super::{Exit, output};

/// Show what has moved on this host since it was as desired
///
/// Compares the host with the revision in force; what a newer commit changes is not drift. Exits with 0 for none,
/// 1 for some, 2 when it cannot be told. Opens nothing for writing.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    host: Host,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    revision: String,
    drifted: bool,
    items: Vec<Item<'a>>,
}

#[derive(Debug, Serialize)]
struct Item<'a> {
    kind: &'static str,
    name: String,
    message: String,
    #[serde(flatten)]
    step: &'a Step,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let wished = look::in_force(&arguments.host, &arguments.source)?;
    let plan = look::look(&arguments.host, &arguments.source, &wished).await?.plan;
    let drift: Vec<&Step> = plan.drift().collect();
    match arguments.output.output {
        Format::Json => output::json(&document(&wished.revision.to_string(), &drift))?,
        Format::Text if drift.is_empty() => output::data(&format!("No drift from {}.", wished.revision.short())),
        Format::Text => {
            let steps = look::lines(drift.iter().copied());
            output::data(&format!("Drift from {}:\n\n{steps}", wished.revision.short()));
        }
    }
    let unknowns = look::unknowns(&plan);
    if !unknowns.is_empty() {
        bail!("cannot tell everything: {}", unknowns.join("; "));
    }
    Ok(if drift.is_empty() { Exit::Done } else { Exit::Differs })
}

fn document<'a>(revision: &str, drift: &[&'a Step]) -> Document<'a> {
    let item = |step: &&'a Step| Item {
        kind: step.object.kind().label(),
        name: step.object.to_string(),
        message: step.to_string(),
        step,
    };
    Document { revision: revision.to_owned(), drifted: !drift.is_empty(), items: drift.iter().map(item).collect() }
}
