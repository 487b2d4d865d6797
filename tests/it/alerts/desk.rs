//! A host whose daemon follows a file that says who is told about what.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::remotes::host::Host;

/// A rule that is always so, and one that never is: how full the disk of a test is, nobody knows.
pub const FIRES: &str = "state_directory_full: {above: 0%}";
pub const RESTS: &str = "state_directory_full: {above: 100%}";

/// A host, and the file that its daemon follows.
pub struct Desk {
    pub host: Host,
}

impl Desk {
    /// Makes a host; `None` where that cannot be.
    pub fn new() -> Option<Self> {
        Some(Self { host: Host::new()? })
    }

    /// A path beside the file.
    pub fn at(&self, name: &str) -> PathBuf {
        self.host.kit.at(name)
    }

    /// Writes a file beside it; gives its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.at(name), text).unwrap();
        self.at(name).display().to_string()
    }

    /// Says what is desired: no node at all, and these alerts.
    pub fn desire(&self, channels: &str, rules: &str) {
        self.write(&format!("allow_empty: true\nalerts:\n  channels: [{channels}]\n  rules: {{{rules}}}\n"));
    }

    /// Writes the file, as an editor does.
    pub fn write(&self, more: &str) {
        let text = format!("version: 1\nfirewall: {{driver: none}}\nreconcile: {{resync_every: 1s}}\n{more}");
        fs::write(self.at("pool.new"), text).unwrap();
        fs::rename(self.at("pool.new"), self.at("pool.yaml")).unwrap();
    }

    /// Starts the daemon.
    pub fn start(&mut self) {
        let source = self.at("pool.yaml").display().to_string();
        self.host.start_believing(&source, &[]);
    }

    /// What `exitpool alerts` says.
    pub fn alerts(&self) -> Value {
        let output = self.verb(&["alerts", "-o", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Runs a verb of this host.
    pub fn verb(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exitpool"));
        command.args(arguments).arg("--runtime-dir").arg(self.host.runtime_dir()).output().unwrap()
    }

    /// Waits until `exitpool alerts` says something.
    #[track_caller]
    pub fn says(&self, what: &str, said: impl Fn(&Value) -> bool) -> Value {
        let alerts = crate::support::eventually(|| Some(self.alerts()).filter(|alerts| said(alerts)));
        alerts.unwrap_or_else(|| panic!("not said: {what}; but {}\n{}", self.alerts(), self.host.log()))
    }

    /// The states of all alerts, with their rules.
    pub fn states(alerts: &Value) -> Vec<(String, String)> {
        let text = |alert: &Value, field: &str| alert[field].as_str().unwrap().to_owned();
        let all = alerts["alerts"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|alert| (text(alert, "rule"), text(alert, "state"))).collect()
    }

    /// Whether a rule fires.
    pub fn fires(alerts: &Value, rule: &str) -> bool {
        Self::states(alerts).contains(&(rule.to_owned(), "firing".to_owned()))
    }
}
