//! What people are told: one message of an incident, the same on every channel.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RuleName, Severity};

/// What has happened to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// It has begun.
    Raised,
    /// It goes on.
    Repeated,
    /// It is over.
    Resolved,
    /// Nothing: somebody tries the channel.
    Test,
}

/// One message of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// The incident: the same for all its messages.
    pub incident: String,
    /// Which of its messages this is, from 0.
    pub sequence: u32,
    /// What has happened.
    pub happened: Happened,
    /// The rule.
    pub rule: RuleName,
    /// What it is about.
    pub about: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is so, or was, in one sentence.
    pub summary: String,
    /// More of it.
    pub details: Vec<String>,
    /// The host.
    pub host: String,
    /// The revision in force; null while there is none.
    pub revision: Option<String>,
    /// When the incident began.
    #[schemars(with = "String")]
    pub began: Timestamp,
    /// When this was decided.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

impl Notice {
    /// What stays the same when one message comes twice on a channel.
    pub fn key(&self) -> String {
        format!("{}-{}", self.incident, self.sequence)
    }

    /// The word that a message begins with.
    pub fn heading(&self) -> String {
        match self.happened {
            Happened::Raised => self.severity.word().to_uppercase(),
            Happened::Repeated => format!("STILL {}", self.severity.word().to_uppercase()),
            Happened::Resolved => "RESOLVED".to_owned(),
            Happened::Test => "TEST".to_owned(),
        }
    }

    /// What a message says of it beside its summary, as names and values.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let revision = self.revision.clone().map(|revision| ("revision", revision));
        let fields =
            [("host", self.host.clone()), ("rule", self.rule.word().to_owned()), ("about", self.about.clone())];
        let began = ("since", format!("{:.0}", self.began));
        let over = (self.happened == Happened::Resolved).then(|| ("until", format!("{:.0}", self.at)));
        fields
            .into_iter()
            .chain([began])
            .chain(over)
            .chain(revision)
            .chain([("incident", self.incident.clone())])
            .collect()
    }

    /// A message that says that a channel works.
    pub fn test(channel: &str, host: &str, at: Timestamp) -> Self {
        Self {
            incident: format!("test-{}", at.as_microsecond()),
            sequence: 0,
            happened: Happened::Test,
            rule: RuleName::ChannelFailing,
            about: channel.to_owned(),
            severity: Severity::Info,
            summary: format!("this is a test of the channel {channel}; nothing has happened"),
            details: Vec::new(),
            host: host.to_owned(),
            revision: None,
            began: at,
            at,
        }
    }
}

#[cfg(test)]
#[expect(missing_docs, reason = "tests")]
pub mod tests {
    use super::*;

    /// A notice of nodes that do not serve.
    pub fn notice(happened: Happened) -> Notice {
        Notice {
            incident: "00ff00ff00ff00ff".to_owned(),
            sequence: 0,
            happened,
            rule: RuleName::NodeFailureRate,
            about: "nodes".to_owned(),
            severity: Severity::Critical,
            summary: "5 of 10 nodes do not serve".to_owned(),
            details: vec!["eu-0: it can build no circuit".to_owned()],
            host: "vps-1".to_owned(),
            revision: Some("main@sha1:0f0f".to_owned()),
            began: "2026-03-01T12:00:00Z".parse().unwrap(),
            at: "2026-03-01T12:02:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_message_begins_with_what_matters() {
        let heading = |happened| notice(happened).heading();
        let all = [Happened::Raised, Happened::Repeated, Happened::Resolved].map(heading);
        assert_eq!(all, ["CRITICAL", "STILL CRITICAL", "RESOLVED"]);
    }
}
