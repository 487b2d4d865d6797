//! `exitpool nodes`: the nodes, with their exits.

use clap::Args;

use crate::daemon::socket::{self, Verb};

use super::arguments::{Daemon, Format, Output};
use super::{Exit, output};

/// List the nodes: where they listen, how they are, where they leave from
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let report = socket::ask(&arguments.daemon.runtime_dir, Verb::Status).await?;
    match arguments.output.output {
        Format::Json => output::json(&report.nodes)?,
        Format::Text => output::data(&text(&report.nodes)),
    }
    Ok(Exit::Done)
}

/// Writes the nodes as a table, and beneath it why some of them are not ready.
pub(super) fn text(nodes: &serde_json::Value) -> String {
    let field = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |node: &serde_json::Value| {
        let (exit, last) = (&node["exit"], &node["last_rotation"]);
        let columns = [
            &node["name"],
            &node["socks"],
            &node["state"],
            &exit["country"],
            &exit["ip"],
            &node["latency_ms"],
            &last["from"]["ip"],
            &last["at"],
        ];
        columns.into_iter().map(field).collect()
    };
    let rows = nodes["nodes"].as_array().map(|nodes| nodes.iter().map(row).collect()).unwrap_or_default();
    let table =
        output::table(&["NODE", "SOCKS", "STATE", "COUNTRY", "EXIT", "LATENCY MS", "EXIT BEFORE", "ROTATED"], rows);
    let troubles: Vec<String> = nodes["nodes"].as_array().into_iter().flatten().filter_map(trouble).collect();
    if troubles.is_empty() { table } else { format!("{}\n\n{}", table.trim_end(), troubles.join("\n")) }
}

/// Says why a node is not ready, in the words of its condition.
fn trouble(node: &serde_json::Value) -> Option<String> {
    let ready = node["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Ready")?;
    let message = ready["message"].as_str().filter(|_| ready["status"] != "True")?;
    Some(format!("{}: {message}", node["name"].as_str()?))
}
