//! What is pending, firing and silenced now: for `exitpool alerts`, and for the next status.

use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RuleName, Severity};
use crate::status::Alert;

/// `exitpool alerts -o json`: what is pending, firing and silenced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AlertsDocument {
    /// The alerts, the most important ones first.
    pub alerts: Vec<AlertDocument>,
    /// The channels, in the file's order.
    pub channels: Vec<ChannelDocument>,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertDocument {
    /// `pending`, `firing` or `silenced`.
    pub state: State,
    /// `critical`, `warning` or `info`.
    pub severity: Severity,
    /// The rule.
    pub rule: RuleName,
    /// What it is about.
    pub about: String,
    /// What is so, in one sentence.
    pub summary: String,
    /// More of it.
    pub details: Vec<String>,
    /// Since when, RFC 3339.
    pub since: String,
    /// The incident; null while it is pending.
    pub incident: Option<String>,
}

/// How far an alert has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It lasts long enough, and people are told.
    Firing,
    /// It lasts long enough, and a silence keeps it back.
    Silenced,
    /// It does not last long enough yet.
    Pending,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelDocument {
    /// Its name.
    pub name: String,
    /// `email`, `telegram`, `webhook` or `alertmanager`.
    pub way: String,
    /// How many messages wait for it.
    pub waiting: u64,
    /// What went wrong the last time; null where nothing did.
    pub failing: Option<String>,
}

/// The latest of it; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    document: Arc<AlertsDocument>,
    firing: Arc<[Alert]>,
}

impl Board {
    /// Shows something else; says whether what fires is another.
    pub fn show(&self, document: AlertsDocument, firing: Vec<Alert>) -> bool {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.document = Arc::new(document);
        let is_new = *shown.firing != *firing;
        if is_new {
            shown.firing = firing.into();
        }
        is_new
    }

    /// What is pending, firing and silenced.
    pub fn document(&self) -> Arc<AlertsDocument> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner).document)
    }

    /// What fires.
    pub fn firing(&self) -> Arc<[Alert]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner).firing)
    }
}

impl State {
    /// The state's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Silenced => "silenced",
            Self::Pending => "pending",
        }
    }
}
