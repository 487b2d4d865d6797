//! `exitpool events`: what has happened lately, as the daemon has published it.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::daemon::socket::{self, Verb};
use crate::desired::NodeName;
use crate::status::wire::{EventDocument, EventsDocument};

use super::arguments::{Daemon, Format, Output};
use super::{Exit, audit, output};

/// How often the daemon is asked for new ones.
const STEP: Duration = Duration::from_millis(500);

/// Show what has happened lately: the latest 200 events since the daemon started
///
/// Each has a reason, one word of a closed list. What was done, by whom and for how long back is `exitpool audit`'s business.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Go on with new ones as they come, until interrupted; as JSON, an object a line
    #[arg(short, long)]
    watch: bool,
    /// Only those of this node
    #[arg(long = "for", value_name = "NODE")]
    node: Option<NodeName>,
    /// Only those since then: a time as in `2026-11-24T08:00:00Z`, or how long ago as in `10m`
    #[arg(long, value_name = "TIME", value_parser = audit::since)]
    since: Option<Timestamp>,
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut seen = 0;
    if !arguments.watch {
        let events = arguments.ask(&mut seen).await?;
        match arguments.output.output {
            Format::Json => output::json(&EventsDocument { events, next: None })?,
            Format::Text if events.is_empty() => {
                output::talk("nothing like that has happened since the daemon started")
            }
            Format::Text => output::data(&table(&events)),
        }
        return Ok(Exit::Done);
    }
    loop {
        for event in arguments.ask(&mut seen).await? {
            output::data(&match arguments.output.output {
                Format::Json => serde_json::to_string(&event)?,
                Format::Text => cells(&event).join("  "),
            });
        }
        tokio::time::sleep(STEP).await;
    }
}

impl Arguments {
    /// The events behind the last one that was seen, as far as they are wanted.
    async fn ask(&self, seen: &mut u64) -> anyhow::Result<Vec<EventDocument>> {
        let report = socket::ask(&self.daemon.runtime_dir, Verb::Status).await?;
        let EventsDocument { events, .. } = report.events;
        let new: Vec<EventDocument> = events.into_iter().filter(|event| event.id > *seen).collect();
        *seen = new.last().map_or(*seen, |event| event.id);
        Ok(new.into_iter().filter(|event| self.wants(event)).collect())
    }

    fn wants(&self, event: &EventDocument) -> bool {
        let is_late = |since: Timestamp| event.timestamp.parse::<Timestamp>().is_ok_and(|at| at >= since);
        let is_of = |node: &NodeName| event.object.kind != "host" && event.object.name == node.to_string();
        self.since.is_none_or(is_late) && self.node.as_ref().is_none_or(is_of)
    }
}

fn cells(event: &EventDocument) -> [String; 5] {
    let EventDocument { id: _, timestamp, severity, reason, object, message } = event;
    let object =
        if object.kind == object.name { object.name.clone() } else { format!("{} {}", object.kind, object.name) };
    [timestamp.clone(), severity.clone(), reason.clone(), object, message.clone()]
}

fn table(events: &[EventDocument]) -> String {
    let rows = events.iter().map(|event| cells(event).to_vec()).collect();
    output::table(&["TIME", "SEVERITY", "REASON", "OBJECT", "MESSAGE"], rows)
}
