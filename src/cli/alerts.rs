//! `exitpool alerts`: what is pending, firing and silenced; `exitpool alerts test`: whether a channel works.

use clap::{Args, Subcommand};

use crate::alert::AlertsDocument;
use crate::daemon::socket::{self, Verb};

use super::arguments::{Daemon, Format, Output};
use super::{Exit, output};

/// Show the alerts that are pending, firing or silenced, and what waits for each channel
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Alerts>,
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Alerts {
    Test(Test),
}

/// Send a message to a channel, and say what became of it
///
/// The daemon sends it, with its credentials and by its way. The message says that nothing has happened.
#[derive(Debug, Args)]
struct Test {
    /// The channel's name in the desired state
    channel: String,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    match &arguments.verb {
        Some(Alerts::Test(test)) => try_channel(test).await,
        None => list(arguments).await,
    }
}

async fn list(arguments: &Arguments) -> anyhow::Result<Exit> {
    let report = socket::ask(&arguments.daemon.runtime_dir, Verb::Alerts).await?;
    let Some(alerts) = report.alerts else {
        anyhow::bail!("the daemon is an older one, and tells no alerts: restart it");
    };
    match arguments.output.output {
        Format::Json => output::json(&alerts)?,
        Format::Text => output::data(&text(&alerts)),
    }
    Ok(Exit::Done)
}

async fn try_channel(Test { channel, daemon }: &Test) -> anyhow::Result<Exit> {
    let report = socket::ask(&daemon.runtime_dir, Verb::TryChannel { channel: channel.clone() }).await?;
    if let Some(refused) = report.refused {
        anyhow::bail!("{channel}: {refused}");
    }
    for said in &report.said {
        output::data(&format!("{channel}: sent: {said}"));
    }
    Ok(Exit::Done)
}

fn text(AlertsDocument { alerts, channels }: &AlertsDocument) -> String {
    let mut text = String::new();
    if alerts.is_empty() {
        text += "no alert is pending or firing";
    } else {
        let row = |alert: &crate::alert::AlertDocument| {
            let words = [alert.state.word(), alert.severity.word(), alert.rule.word()].map(str::to_owned);
            words.into_iter().chain([alert.about.clone(), alert.since.clone(), alert.summary.clone()]).collect()
        };
        let heads = ["STATE", "SEVERITY", "RULE", "ABOUT", "SINCE", "SUMMARY"];
        text += &output::table(&heads, alerts.iter().map(row).collect());
    }
    text += "\n\n";
    if channels.is_empty() {
        return text + "no channel is set up: see alerts.channels";
    }
    let row = |channel: &crate::alert::board::ChannelDocument| {
        let failing = channel.failing.clone().unwrap_or_else(|| "-".to_owned());
        vec![channel.name.clone(), channel.way.clone(), channel.waiting.to_string(), failing]
    };
    text + &output::table(&["CHANNEL", "BY", "WAITING", "FAILING"], channels.iter().map(row).collect())
}
