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
    /// Also list the guard relays by which each node enters Tor
    #[arg(long)]
    wide: bool,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let report = socket::ask(&arguments.daemon.runtime_dir, Verb::Status).await?;
    match arguments.output.output {
        Format::Json => output::json(&report.nodes)?,
        Format::Text if arguments.wide => {
            output::data(&format!("{}\n\n{}", text(&report.nodes).trim_end(), relays(&report.nodes)))
        }
        Format::Text => output::data(&text(&report.nodes)),
    }
    Ok(Exit::Done)
}

/// Writes the guard relays of each node as a table.
fn relays(nodes: &serde_json::Value) -> String {
    let row = |node: &serde_json::Value| {
        let names = node["instance"]["guard_relay_names"].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(serde_json::Value::as_str).collect();
        let names = if names.is_empty() { "-".to_owned() } else { names.join(", ") };
        vec![node["name"].as_str().unwrap_or("-").to_owned(), names]
    };
    let rows = nodes["nodes"].as_array().map(|nodes| nodes.iter().map(row).collect()).unwrap_or_default();
    output::table(&["NODE", "GUARD RELAYS"], rows)
}

/// Writes the nodes as a table, and beneath it why some of them are not ready, or what they wait for.
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

/// Says why a node is not ready, or what it waits for while it is, in the words of its condition.
fn trouble(node: &serde_json::Value) -> Option<String> {
    let ready = node["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Ready")?;
    let is_well = ready["status"] == "True" && ready["reason"] == "Succeeded";
    let message = ready["message"].as_str().filter(|_| !is_well)?;
    Some(format!("{}: {message}", node["name"].as_str()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_says_what_it_waits_for_while_it_serves_and_which_guard_relays_it_has() {
        let node = |reason: &str, relays: &[&str]| {
            json!({
                "name": "eu-0", "state": "ready", "instance": {"guard_relay_names": relays},
                "conditions": [{"type": "Ready", "status": "True", "reason": reason, "message": "it waits"}],
            })
        };
        assert_eq!(trouble(&node("Succeeded", &[])), None);
        assert_eq!(trouble(&node("GuardRelayLimitReached", &[])).as_deref(), Some("eu-0: it waits"));
        let told = relays(&json!({"nodes": [node("Succeeded", &["one (AB)", "two (CD)"]), node("Succeeded", &[])]}));
        assert!(told.contains("one (AB), two (CD)") && told.trim_end().ends_with('-'), "{told}");
    }
}
