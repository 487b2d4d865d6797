//! `exitpool status`: what the daemon published last, or all that it publishes from now on.

mod screen;
mod watch;

use clap::Args;

use crate::daemon::socket::{self, Report, Verb};

use super::arguments::{Daemon, Format, Output};
use super::{Exit, nodes, output};

/// Show whether this host is as desired, and what is not
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
    /// Go on showing it: on a terminal the whole, drawn anew; else what happens, line by line, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    if arguments.watch {
        return watch::run(&arguments.daemon.runtime_dir, arguments.output.output).await;
    }
    let report = socket::ask(&arguments.daemon.runtime_dir, Verb::Status).await?;
    match arguments.output.output {
        Format::Json => output::json(&report.status)?,
        Format::Text => output::data(&text(&report)),
    }
    Ok(Exit::Done)
}

fn text(report: &Report) -> String {
    let status = &report.status;
    let word = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let condition = |condition: &serde_json::Value| {
        ["type", "status", "reason", "message"].iter().map(|field| word(&condition[*field])).collect()
    };
    let conditions = status["conditions"].as_array().map(|all| all.iter().map(condition).collect()).unwrap_or_default();
    let mut text = format!("revision  {}\n", word(&status["revision"]));
    let audit = &status["audit"];
    match audit["trouble"].as_str() {
        Some(trouble) => text += &format!("audit     not written, {} records are lost: {trouble}\n\n", audit["lost"]),
        None => text += &format!("audit     signed by {}\n\n", word(&audit["key"])),
    }
    text += &output::table(&["CONDITION", "STATUS", "REASON", "MESSAGE"], conditions);
    text += "\n\n";
    text += &nodes::text(&report.nodes);
    for sentence in report.left.iter().chain(&report.failures) {
        text += &format!("\n  {sentence}");
    }
    for warning in status["warnings"].as_array().into_iter().flatten() {
        text += &format!("\n  warning: {} ({})", word(&warning["message"]), word(&warning["reason"]));
    }
    text
}
