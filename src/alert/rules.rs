//! The rules: what of the facts is worth an alert. Pure; how long it has to last is the engine's business.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::facts::{Certificate, Facts};
use super::{RuleName, Severity};
use crate::desired::Alerts;
use crate::desired::alerts::{Criterion, Rule};
use crate::plan::step::Object;
use crate::rollout::Why;
use crate::status::{ConditionStatus, ConditionType, DriftItem, NodeState, NodeStatus, Reason, Status};

/// So many details are told; of more, how many there are.
const MOST_DETAILS: usize = 10;
/// So many rotations of a node have to fail in a row: one that fails is tried again by itself.
const FAILED_ROTATIONS: u32 = 2;

/// What a rule says of the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The rule.
    pub rule: RuleName,
    /// How long what was found has to last.
    pub lasting: Duration,
    /// What was found.
    pub found: Found,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// What is worth an alert; nothing where all is well.
    Findings(Vec<Finding>),
    /// Nobody knows: what is pending or firing stays so.
    Unknown,
}

/// Something that is worth an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: two findings of one rule about different things are two incidents.
    pub about: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is so, in one sentence.
    pub summary: String,
    /// More of it.
    pub details: Vec<String>,
    /// What makes it another one: where this changes, the one before is over.
    pub mark: String,
}

/// Judges the facts by every rule of the file.
pub fn judge(facts: &Facts<'_>, alerts: &Alerts, now: Timestamp) -> Vec<Judgement> {
    let outage = Outage::of(facts.status);
    let judged = |rule: &Rule| Judgement {
        rule: rule.criterion.name(),
        lasting: rule.lasting,
        found: found(&rule.criterion, facts, outage, now),
    };
    alerts.rules.iter().map(judged).collect()
}

/// How much of the pool does not serve: one incident, whatever follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    None,
    /// Some nodes do not serve.
    Nodes,
    /// No instance can use the network.
    Network,
}

impl Outage {
    fn of(status: &Status) -> Self {
        if network_is_gone(status).is_some() {
            return Self::Network;
        }
        let is_down = |node: &&NodeStatus| !node.serving && node.state != NodeState::Suspended;
        if status.nodes.iter().any(|node| is_down(&node)) { Self::Nodes } else { Self::None }
    }
}

/// Why the network is gone, where it is.
fn network_is_gone(status: &Status) -> Option<&str> {
    let healthy = status.condition(ConditionType::Healthy)?;
    (healthy.reason == Reason::NetworkDown).then_some(healthy.message.as_str())
}

fn found(criterion: &Criterion, facts: &Facts<'_>, outage: Outage, now: Timestamp) -> Found {
    let (status, host) = (facts.status, facts.host);
    match criterion {
        Criterion::NodeFailureRate { above_percent } => node_failure_rate(status, *above_percent),
        Criterion::FirewallApplyFailed => seen(status, firewall_apply_failed(status)),
        Criterion::CertificateExpiry { within, .. } => {
            Found::Findings(host.certificates.iter().filter_map(|it| expiry(it, *within, now)).collect())
        }
        Criterion::BruteForce { failures, .. } => Found::Findings(Vec::from_iter(brute_force(facts, *failures))),
        Criterion::Drift => seen(status, drift(status, outage)),
        // Both follow from a network that is gone, and end with it.
        Criterion::SourceStale | Criterion::ExitsShort if outage == Outage::Network => Found::Unknown,
        Criterion::RotationFailed if outage != Outage::None => Found::Unknown,
        Criterion::SourceStale => Found::Findings(vec![source_stale(status)]),
        Criterion::RevisionStalled => seen(status, stalled(status)),
        Criterion::RolledBack => seen(status, rolled_back(status)),
        Criterion::RotationFailed => seen(status, rotation_failed(status)),
        Criterion::ExitsShort => seen(status, exits_short(status)),
        Criterion::StateDirectoryFull { above_percent } => state_directory_full(facts, *above_percent),
        Criterion::TorUpdatePending => host
            .tor_installed
            .as_ref()
            .map_or(Found::Unknown, |installed| seen(status, tor_update_pending(status, installed))),
        Criterion::ChannelFailing => Found::Findings(host.failing_channels.iter().map(channel_failing).collect()),
    }
}

/// What was found of a host that was looked at; before the first pass nobody knows.
fn seen(status: &Status, findings: impl IntoIterator<Item = Finding>) -> Found {
    match &status.last_pass {
        Some(_) => Found::Findings(findings.into_iter().collect()),
        None => Found::Unknown,
    }
}

impl Finding {
    fn of(rule: RuleName, about: &str, summary: String) -> Self {
        let (about, severity) = (about.to_owned(), rule.severity());
        Self { about, severity, summary, details: Vec::new(), mark: String::new() }
    }

    fn with(mut self, details: impl IntoIterator<Item = String>) -> Self {
        let mut details = details.into_iter();
        self.details = details.by_ref().take(MOST_DETAILS).collect();
        let more = details.count();
        if more > 0 {
            self.details.push(format!("and {more} more"));
        }
        self
    }
}

fn node_failure_rate(status: &Status, above_percent: u8) -> Found {
    let nodes: Vec<&NodeStatus> = status.nodes.iter().filter(|node| node.state != NodeState::Suspended).collect();
    let down: Vec<&&NodeStatus> = nodes.iter().filter(|node| !node.serving).collect();
    if status.last_pass.is_none() {
        return Found::Unknown;
    }
    let rule = RuleName::NodeFailureRate;
    if let Some(why) = network_is_gone(status) {
        return Found::Findings(vec![Finding::of(rule, "nodes", why.to_owned())]);
    }
    if down.len() * 100 <= nodes.len() * usize::from(above_percent) {
        return Found::Findings(Vec::new());
    }
    let told = |node: &&&NodeStatus| format!("{}: {}", node.name, node.trouble().unwrap_or("it does not serve"));
    let summary = format!("{} of {} do not serve", down.len(), nodes_in_words(nodes.len()));
    Found::Findings(vec![Finding::of(rule, "nodes", summary).with(down.iter().map(told))])
}

fn nodes_in_words(number: usize) -> String {
    if number == 1 { "1 node".to_owned() } else { format!("{number} nodes") }
}

fn firewall_apply_failed(status: &Status) -> Option<Finding> {
    let failure = status.failures.get(&Object::Guard)?;
    let summary = format!("the firewall could not be put in place: {}", failure.message);
    Some(Finding::of(RuleName::FirewallApplyFailed, "guard", summary))
}

fn expiry(certificate: &Certificate, within: Duration, now: Timestamp) -> Option<Finding> {
    let shown = certificate.path.display();
    let summary = match &certificate.ends {
        Err(why) => format!("the certificate {shown} cannot be read: {why}"),
        Ok(ends) => {
            let left = ends.duration_since(now);
            if left > SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX) {
                return None;
            }
            match left.as_hours() {
                _ if left.is_negative() => format!("the certificate {shown} has run out on {ends:.0}"),
                hours @ 0..48 => format!("the certificate {shown} runs out in {hours} hours, on {ends:.0}"),
                hours => format!("the certificate {shown} runs out in {} days, on {ends:.0}", hours / 24),
            }
        }
    };
    Some(Finding::of(RuleName::CertificateExpiry, &shown.to_string(), summary))
}

fn brute_force(facts: &Facts<'_>, failures: u32) -> Option<Finding> {
    let most = usize::try_from(failures).unwrap_or(usize::MAX);
    let callers: Vec<_> = facts.host.refusals.iter().filter(|(_, refused)| **refused >= most).collect();
    let sum: usize = callers.iter().map(|(_, refused)| **refused).sum();
    let (first, _) = callers.first()?;
    let who = if callers.len() == 1 { first.to_string() } else { format!("{} addresses", callers.len()) };
    let summary = format!("{who} tried tokens: {sum} were refused");
    let told = callers.iter().map(|(address, refused)| format!("{address}: {refused} refused"));
    Some(Finding::of(RuleName::BruteForce, "exports", summary).with(told))
}

/// Drift of instances is not told while nodes do not serve: a tor that died is that incident.
fn drift(status: &Status, outage: Outage) -> Option<Finding> {
    let is_told = |item: &&DriftItem| outage == Outage::None || item.object == Object::Guard;
    let items: Vec<&DriftItem> = status.drift.items.iter().filter(|item| is_told(item)).collect();
    let first = items.first()?;
    let summary = match items.len() {
        1 => format!("{} is not as it was left", first.object),
        many => format!("{many} objects are not as they were left"),
    };
    let told = items.iter().map(|item| format!("{}: {}", item.object, item.told()));
    Some(Finding::of(RuleName::Drift, "host", summary).with(told))
}

/// That the source was not read since then; how long ago that is, is told by the clock since the boot.
fn source_stale(status: &Status) -> Finding {
    let last = status.source.last_success;
    let summary = match last {
        Some(at) => format!("the source was last read at {at:.0}"),
        None => "the source was never read since the daemon started".to_owned(),
    };
    let error = status.source.error.iter().map(|error| error.message.clone());
    let finding = Finding::of(RuleName::SourceStale, "source", summary).with(error);
    Finding { mark: last.map(|at| at.to_string()).unwrap_or_default(), ..finding }
}

fn stalled(status: &Status) -> Option<Finding> {
    let stalled = status.condition(ConditionType::Stalled)?;
    let is_so = stalled.status == ConditionStatus::True;
    let summary = format!("somebody has to do something: {}", stalled.message);
    is_so.then(|| Finding::of(RuleName::RevisionStalled, "host", summary))
}

fn rolled_back(status: &Status) -> Option<Finding> {
    let by_condition = status.conditions.iter().find(|condition| condition.reason == Reason::RolledBack);
    let left = status.source.withheld == Some(Why::RolledBack);
    let message = by_condition.map(|condition| condition.message.clone());
    let message = message.or_else(|| left.then(|| Why::RolledBack.to_string()))?;
    let offered = status.source.offered.as_ref().map(ToString::to_string).unwrap_or_default();
    let finding = Finding::of(RuleName::RolledBack, "revision", format!("a revision was rolled back: {message}"));
    Some(Finding { mark: offered, ..finding })
}

fn rotation_failed(status: &Status) -> Option<Finding> {
    let failing: Vec<&NodeStatus> =
        status.nodes.iter().filter(|node| node.failed_rotations >= FAILED_ROTATIONS).collect();
    if failing.is_empty() {
        return None;
    }
    let summary = format!("nodes get no other exit: {}", failing.len());
    let told = failing.iter().map(|node| format!("{}: {} rotations failed in a row", node.name, node.failed_rotations));
    Some(Finding::of(RuleName::RotationFailed, "nodes", summary).with(told))
}

/// One finding a pool.
fn exits_short(status: &Status) -> Vec<Finding> {
    let mut pools: BTreeMap<String, Vec<&NodeStatus>> = BTreeMap::new();
    let is_short = |node: &&NodeStatus| node.ready().is_some_and(|ready| ready.reason == Reason::NoExits);
    for node in status.nodes.iter().filter(|node| is_short(node)) {
        pools.entry(node.pool.to_string()).or_default().push(node);
    }
    let finding = |(pool, nodes): (String, Vec<&NodeStatus>)| {
        let summary =
            format!("pool {pool} is short of exits in the wished countries: {} have none", nodes_in_words(nodes.len()));
        let told = nodes.iter().map(|node| format!("{}: {}", node.name, node.trouble().unwrap_or_default()));
        Finding::of(RuleName::ExitsShort, &format!("pool {pool}"), summary).with(told)
    };
    pools.into_iter().map(finding).collect()
}

fn state_directory_full(facts: &Facts<'_>, above_percent: u8) -> Found {
    let Some(disk) = facts.host.state_directory else { return Found::Unknown };
    let summary =
        format!("the disk of the state directory is {} % full, {} MiB are free", disk.used_percent, disk.free_mib);
    let finding = (disk.used_percent > above_percent)
        .then(|| Finding::of(RuleName::StateDirectoryFull, "state directory", summary));
    Found::Findings(finding.into_iter().collect())
}

fn tor_update_pending(status: &Status, installed: &str) -> Option<Finding> {
    let runs_other = |node: &&NodeStatus| node.instance.version.as_ref().is_some_and(|runs| runs != installed);
    let others: Vec<&NodeStatus> = status.nodes.iter().filter(runs_other).collect();
    let runs = others.first()?.instance.version.as_deref()?;
    let summary = format!(
        "tor {installed} is installed, and nodes run another one, as {runs}: {}. A tor takes it up when it is restarted",
        others.len()
    );
    Some(Finding::of(RuleName::TorUpdatePending, "tor", summary))
}

fn channel_failing((channel, why): &(String, String)) -> Finding {
    Finding::of(RuleName::ChannelFailing, channel, format!("the channel {channel} takes no alerts: {why}"))
}

#[cfg(test)]
mod tests;
