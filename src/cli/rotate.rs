//! `exitpool rotate`: let nodes leave from another exit now.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::daemon::socket::{self, Report, Verb};
use crate::desired::values::Period;

use super::arguments::{Daemon, Format, Output};
use super::{Exit, output, reconcile};

/// How often the daemon is asked whether the nodes have rotated.
const STEP: Duration = Duration::from_millis(200);

/// Let nodes leave from another exit now: new connections do, those that run go on
///
/// tor changes circuits at most every 10 seconds; a node that did so less long ago waits, and so do nodes beyond the 16
/// that rotate at once. The exit before is left alone until the next rotation, where another one fits.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Nodes, as in `eu-0`, and pools
    #[arg(value_name = "NODE|POOL", required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,
    /// All nodes of this host
    #[arg(long)]
    all: bool,
    /// Wait until the new exits are known, at the longest for so long, as in `30s`
    #[arg(long, value_name = "TIME")]
    wait: Option<Period>,
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let runtime_dir = &arguments.daemon.runtime_dir;
    let before = rotations(&socket::ask(runtime_dir, Verb::Status).await?, arguments);
    let report = socket::ask(runtime_dir, Verb::Rotate { names: arguments.names.clone() }).await?;
    let Some(patience) = arguments.wait.filter(|_| report.refused.is_none()) else {
        return reconcile::tell(&report, arguments.output.output);
    };
    let deadline = Instant::now() + patience.0;
    let mut latest = report.clone();
    let late = loop {
        let late = unrotated(&before, &rotations(&latest, arguments));
        if late.is_empty() || Instant::now() >= deadline {
            break late;
        }
        tokio::time::sleep(STEP).await;
        latest = socket::ask(runtime_dir, Verb::Status).await?;
    };
    let latest = Report { said: report.said, ..latest };
    match arguments.output.output {
        Format::Json => output::json(&latest)?,
        Format::Text => output::data(&text(&latest, &before, &rotations(&latest, arguments))),
    }
    if late.is_empty() {
        return Ok(Exit::Done);
    }
    anyhow::bail!("no new exit is known within the time of --wait: {}", late.join(", "))
}

/// The last rotation of each node that is meant, by the node's name.
fn rotations(report: &Report, arguments: &Arguments) -> BTreeMap<String, Value> {
    let text = |node: &Value, field: &str| node[field].as_str().unwrap_or_default().to_owned();
    let is_meant = |node: &&Value| {
        arguments.all || ["name", "pool"].iter().any(|field| arguments.names.contains(&text(node, field)))
    };
    let nodes = report.nodes["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    nodes.iter().filter(is_meant).map(|node| (text(node, "name"), node["last_rotation"].clone())).collect()
}

/// The nodes whose last rotation is the one of before.
fn unrotated(before: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> Vec<String> {
    before
        .iter()
        .filter(|(name, rotation)| now.get(*name).is_none_or(|now| at(now) == at(rotation)))
        .map(|(name, _)| name.clone())
        .collect()
}

fn at(rotation: &Value) -> &Value {
    &rotation["at"]
}

fn text(report: &Report, before: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> String {
    let ordered = report.said.iter().map(|sentence| format!("ordered  {sentence}\n"));
    let late = unrotated(before, now);
    let rotated = now.iter().filter(|(name, _)| !late.contains(name)).map(|(name, rotation)| {
        let known = if rotation["confirmed"] == true { "confirmed" } else { "guessed" };
        format!("rotated  {name}: {} → {} ({known})\n", exit(&rotation["from"]), exit(&rotation["to"]))
    });
    ordered.chain(rotated).collect()
}

/// An exit's address and country, or what else is known of it.
fn exit(exit: &Value) -> String {
    let text = |field: &str| exit[field].as_str().map(str::to_owned);
    let name = text("ip").or_else(|| text("fingerprint")).unwrap_or_else(|| "an unknown exit".to_owned());
    text("country").map_or_else(|| name.clone(), |country| format!("{name} in {country}"))
}
