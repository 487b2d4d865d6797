//! `exitpool drift`: what has moved on this host although nobody committed it.

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::plan::{Object, Step};

use super::arguments::{Format, Host, Output, SourceArguments};
use super::look;
use super::{Exit, output};

/// Show what has moved on this host since it was as desired
///
/// Compares the host with the revision in force; what a newer commit changes is not drift. A running daemon is asked
/// since when it is so, and who did it. Exits with 0 for none, 1 for some, 2 when it cannot be told. Opens nothing for
/// writing.
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
    /// What a running daemon knows of it.
    #[serde(flatten)]
    known: Known,
    #[serde(flatten)]
    step: &'a Step,
}

/// What only a daemon that was running can know; absent where none runs, or has seen nothing.
#[derive(Debug, Default, Serialize)]
struct Known {
    /// When it was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Value>,
    /// Who changed it last: name, pid, time; null where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_by: Option<Value>,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let wished = look::in_force(&arguments.host, &arguments.source)?;
    let plan = look::look(&arguments.host, &arguments.source, &wished).await?.plan;
    let drift: Vec<&Step> = plan.drift().collect();
    let known = match drift.is_empty() {
        true => Value::Null,
        false => look::published(&arguments.host.runtime_dir).await.map(|report| report.drift).unwrap_or_default(),
    };
    match arguments.output.output {
        Format::Json => output::json(&document(&wished.revision.to_string(), &drift, &known))?,
        Format::Text if drift.is_empty() => output::data(&format!("No drift from {}.", wished.revision.short())),
        Format::Text => {
            let lines: String = drift.iter().map(|step| line(step, &known)).collect();
            output::data(&format!("Drift from {}:\n\n{lines}", wished.revision.short()));
        }
    }
    let unknowns = look::unknowns(&plan);
    if !unknowns.is_empty() {
        bail!("cannot tell everything: {}", unknowns.join("; "));
    }
    Ok(if drift.is_empty() { Exit::Done } else { Exit::Differs })
}

/// A step's line, and what the daemon knows of it below.
fn line(step: &Step, known: &Value) -> String {
    let line = look::lines([step]);
    let Known { since: Some(since), changed_by } = Known::of(step, known) else { return line };
    let since = since.as_str().unwrap_or_default().to_owned();
    let by = match (changed_by.filter(|by| !by.is_null()), &step.object) {
        (Some(by), _) => {
            let name = by["name"].as_str().unwrap_or("a program without a name");
            let pid = by["pid"].as_u64().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            format!("; changed by {name}{pid} at {}", by["at"].as_str().unwrap_or_default())
        }
        (None, Object::Guard) => "; by whom it was changed is not known".to_owned(),
        (None, Object::Instance(_)) => String::new(),
    };
    format!("{line}      seen since {since}{by}\n")
}

impl Known {
    /// Finds an object in `/api/v1/drift`.
    fn of(step: &Step, drift: &Value) -> Self {
        let (kind, name) = match &step.object {
            Object::Guard => ("guard", "guard".to_owned()),
            Object::Instance(name) => ("instance", name.to_string()),
        };
        let items = drift["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = items.iter().find(|item| item["kind"] == kind && item["name"] == name);
        found.map_or_else(Self::default, |item| Self {
            since: item.get("since").cloned(),
            changed_by: item.get("changed_by").cloned(),
        })
    }
}

fn document<'a>(revision: &str, drift: &[&'a Step], known: &Value) -> Document<'a> {
    let item = |step: &&'a Step| Item {
        kind: step.object.kind().label(),
        name: step.object.to_string(),
        message: step.to_string(),
        known: Known::of(step, known),
        step,
    };
    Document { revision: revision.to_owned(), drifted: !drift.is_empty(), items: drift.iter().map(item).collect() }
}
