//! The metrics: counters and gauges that follow each published status, in Prometheus' text format.
//!
//! Every series is there from start-up, at 0, so that an alert on one never waits for its first event. Labels come
//! from closed sets, and from the names of desired nodes; the series of a node go when the node goes.
//! Sums are counted in the status: publishing one twice counts nothing twice. `docs/metrics.md` is generated from here.
//!
//! What only a status changes is written once for each status; the rest is written for each request.

mod labels;
mod process;
mod series;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use prometheus::core::Desc;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Registry, TextEncoder};

use super::condition::{ConditionStatus, ConditionType};
use super::http::tls::Certificate;
use super::inputs::Fault;
use super::totals::Outcome;
use super::warning::{Warning, by_guard_relay};
use super::{Activity, NodeStatus, Rollbacks, Status};
use crate::export::{Attempt, ExportFormat};
use crate::plan::HoldReason;
use crate::plan::step::ObjectKind;
use crate::sys::usage::usage;
pub use labels::{Endpoint, Method};
use series::{Series, Typed};

/// The metrics registry and every series in it.
#[derive(Debug)]
pub struct Metrics {
    /// What changes at any time.
    live: Registry,
    /// What nothing but a published status changes.
    published: Registry,
    /// That, written once for each status: it has the series of all nodes.
    written: Mutex<Option<String>>,
    series: Series,
    known: Mutex<Known>,
    /// How often something was counted, scrapes aside.
    counted: AtomicU64,
}

/// What was published last.
#[derive(Debug, Default)]
struct Known {
    /// The nodes that have series.
    nodes: BTreeSet<String>,
    /// When the pass began that was counted last.
    pass: Option<Timestamp>,
}

/// Counts a request, with its duration, when it is dropped.
#[derive(Debug)]
pub struct RequestTimer<'a> {
    metrics: &'a Metrics,
    method: Method,
    endpoint: Endpoint,
    begun: Instant,
    status: u16,
}

/// What a metric is, for the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: Vec<String>,
    /// What it says.
    pub help: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Makes every series, at 0.
    pub fn new() -> Self {
        let series = Series::new();
        let (live, published) = (registry(series.live()), registry(series.published()));
        Self { live, published, written: Mutex::default(), series, known: Mutex::default(), counted: AtomicU64::new(0) }
    }

    /// Follows a status.
    pub fn publish(&self, status: &Status) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish_pass(status, &mut known);
        self.publish_nodes(status, &mut known);
        self.publish_source(status);
        self.publish_conditions(status);
        self.publish_held(status);
        self.publish_warnings(status);
        self.publish_sums(status);
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.count();
    }

    /// Begins to count a request.
    pub fn request(&self, method: Method, endpoint: Endpoint) -> RequestTimer<'_> {
        RequestTimer { metrics: self, method, endpoint, begun: Instant::now(), status: 500 }
    }

    /// Counts a token or a sign-in.
    pub fn attempted(&self, attempt: Attempt) {
        self.series.auth_attempts_total.with_label_values(&[attempt.label()]).inc();
        self.count();
    }

    /// Counts a message that was handed to a channel, by the channel's way.
    pub fn alerted(&self, way: &str, is_taken: bool) {
        let outcome = if is_taken { Outcome::Success } else { Outcome::Error };
        self.series.alerts_sent_total.with_label_values(&[way, outcome.label()]).inc();
        self.count();
    }

    /// Counts a list that was downloaded.
    pub fn downloaded(&self, format: ExportFormat) {
        self.series.export_downloads_total.with_label_values(&[format.word()]).inc();
        self.count();
    }

    /// Says how many export tokens are in use.
    pub fn tokens_in_use(&self, tokens: usize) {
        self.series.export_tokens_active.set(count(tokens));
    }

    /// Says what is served by TLS; `None` where none is spoken.
    pub fn certificate(&self, certificate: Option<&Certificate>) {
        self.series.certificate_expiry_timestamp.set(seconds(certificate.map(|certificate| certificate.expires)));
        let is_stale = certificate.is_some_and(|certificate| certificate.problem.is_some());
        self.series.certificate_stale.set(is_stale.into());
    }

    /// Says when a backup of this host was made last, and when one failed; `None` for never.
    pub fn backed_up(&self, succeeded: Option<Timestamp>, failed: Option<Timestamp>) {
        self.series.backup_last_success_timestamp.set(seconds(succeeded));
        self.series.backup_last_failure_timestamp.set(seconds(failed));
    }

    /// Counts a connection that was closed unheard.
    pub fn turned_away(&self) {
        self.series.connections_refused_total.inc();
        self.count();
    }

    /// How often something was counted so far, scrapes aside: as long as it is the same, so is what there is to tell.
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::Acquire)
    }

    fn count(&self) {
        self.counted.fetch_add(1, Ordering::Release);
    }

    /// Says how many addresses are locked out, and how often one was since the start.
    pub fn locked_out(&self, now: usize, so_far: u64) {
        self.series.locked_out_addresses.set(count(now));
        raise(&self.series.lockouts_total, so_far);
    }

    /// Writes every series in Prometheus' text format; what the daemon does now is told as of `now`.
    pub fn text(&self, activity: Activity, now: Timestamp) -> String {
        let unfinished = match activity {
            Activity::Idle => 0.0,
            Activity::Passing { since } => now.duration_since(since).as_secs_f64().max(0.0),
        };
        self.series.unfinished_work_seconds.set(unfinished);
        match usage() {
            Ok(usage) => self.series.process.follow(&usage),
            Err(error) => tracing::debug!(%error, "cannot read what this process takes"),
        }
        let mut text = write(&self.live.gather());
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(written.get_or_insert_with(|| self.write_published()));
        text
    }

    fn write_published(&self) -> String {
        let families = self.published.gather();
        let mut text = write(&families);
        // A metric whose nodes have not come yet is announced all the same.
        let silent = |metric: &Described| !families.iter().any(|family| family.name() == metric.name);
        for Described { name, kind, help, .. } in describe(self.series.published()).into_iter().filter(silent) {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        }
        text
    }

    /// Lists the metrics, by name.
    pub fn catalogue(&self) -> Vec<Described> {
        let mut metrics = describe(self.series.live());
        metrics.extend(describe(self.series.published()));
        metrics.sort_by(|left, right| left.name.cmp(&right.name));
        metrics
    }

    fn publish_pass(&self, status: &Status, known: &mut Known) {
        if let Some(pass) = status.last_pass.as_ref().filter(|pass| known.pass != Some(pass.started)) {
            known.pass = Some(pass.started);
            self.series.reconcile_duration_seconds.observe(pass.duration.as_secs_f64());
        }
    }

    fn publish_nodes(&self, status: &Status, known: &mut Known) {
        let names: BTreeSet<String> = status.nodes.iter().map(|node| node.name.to_string()).collect();
        for gone in known.nodes.difference(&names) {
            self.series.remove_node(gone);
        }
        known.nodes = names;
        self.series.nodes_total.set(count(status.nodes.len()));
        self.series.nodes_up.set(count(status.nodes.iter().filter(|node| node.serving).count()));
        for node in &status.nodes {
            self.publish_node(node);
        }
    }

    fn publish_node(&self, node: &NodeStatus) {
        let name = [node.name.to_string()];
        self.series.node_latency_ms.with_label_values(&name).set(node.latency_ms.map_or(0, i64::from));
        raise(&self.series.newnym_total.with_label_values(&name), node.rotations);
        raise(&self.series.restarts_total.with_label_values(&name), node.restarts);
    }

    fn publish_source(&self, status: &Status) {
        let successful = status.source.accepted.is_some() && status.source.error.is_none();
        self.series.last_reload_successful.set(i64::from(successful));
        self.series.last_reload_success_timestamp.set(seconds(status.accepted_since));
        self.series.source_last_success_timestamp.set(seconds(status.source.last_success));
    }

    fn publish_conditions(&self, status: &Status) {
        for kind in ConditionType::ALL {
            let current = status.condition(kind).map(|condition| condition.status);
            for value in ConditionStatus::ALL {
                let gauge = self.series.condition.with_label_values(&[kind.as_str(), value.as_str()]);
                gauge.set(i64::from(current == Some(value)));
            }
        }
        for kind in ObjectKind::ALL {
            let drifted = || status.drift.items.iter().filter(|item| item.object.kind() == kind);
            let contested = drifted().filter(|item| item.fight.is_some()).count();
            self.series.drifted_resources.with_label_values(&[kind.label()]).set(count(drifted().count()));
            self.series.contested_resources.with_label_values(&[kind.label()]).set(count(contested));
        }
    }

    fn publish_held(&self, status: &Status) {
        for reason in HoldReason::LABELS {
            let held = status.held.iter().filter(|held| held.reason.label() == reason).count();
            self.series.held_steps.with_label_values(&[reason]).set(count(held));
        }
    }

    fn publish_warnings(&self, status: &Status) {
        for reason in Warning::REASONS {
            let warnings = status.warnings.iter().filter(|warning| warning.reason == reason).count();
            self.series.warnings.with_label_values(&[reason.as_str()]).set(count(warnings));
        }
        let most = by_guard_relay(&status.nodes).iter().map(|(_, at_it)| at_it.len()).max().unwrap_or(0);
        self.series.guard_relay_nodes_max.set(count(most));
        self.series.circuits_waiting.set(count(status.paced));
        raise(&self.series.unsafe_socks_total, status.totals.unsafe_socks);
    }

    fn publish_sums(&self, status: &Status) {
        let Rollbacks { operator, probe_failed, unconfirmed } = status.totals.rollbacks;
        for (cause, sum) in [("operator", operator), ("probe_failed", probe_failed), ("unconfirmed", unconfirmed)] {
            raise(&self.series.rollback_total.with_label_values(&[cause]), sum);
        }
        raise(&self.series.audit_records_lost_total.with_label_values::<&str>(&[]), status.audit.lost);
        for (result, sum) in &status.totals.passes {
            raise(&self.series.reconcile_total.with_label_values(&[result.label()]), *sum);
        }
        for (kind, sum) in &status.totals.drift_detected {
            raise(&self.series.drift_detected_total.with_label_values(&[kind.label()]), *sum);
        }
        for fault in Fault::REFUSALS {
            let sum = status.totals.rejected.get(&fault).copied().unwrap_or(0);
            raise(&self.series.source_rejected_total.with_label_values(&[fault.label()]), sum);
        }
        for ((driver, outcome), sum) in &status.totals.firewall_applies {
            raise(&self.series.firewall_apply_total.with_label_values(&[*driver, outcome.label()]), *sum);
        }
    }
}

impl RequestTimer<'_> {
    /// Says how the request was answered.
    pub fn answered(&mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for RequestTimer<'_> {
    fn drop(&mut self) {
        let labels = [self.method.label(), self.endpoint.label(), &self.status.to_string()];
        let series = &self.metrics.series;
        series.api_requests_total.with_label_values(&labels).inc();
        series.api_request_duration_seconds.observe(self.begun.elapsed().as_secs_f64());
        if self.endpoint != Endpoint::Metrics {
            self.metrics.count();
        }
    }
}

fn registry(collectors: Vec<Typed>) -> Registry {
    let registry = Registry::new();
    for (_, collector) in collectors {
        registry.register(collector).expect("every metric has its own name");
    }
    registry
}

fn write(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    TextEncoder::new().encode_utf8(families, &mut text).expect("memory takes what is written to it");
    text
}

fn describe(collectors: Vec<Typed>) -> Vec<Described> {
    let described = |(kind, collector): &Typed| {
        let of = |desc: &Desc| Described {
            name: desc.fq_name.clone(),
            kind,
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        };
        collector.desc().into_iter().map(of).collect::<Vec<_>>()
    };
    collectors.iter().flat_map(described).collect()
}

/// Raises a counter to a sum; it never falls.
fn raise(counter: &IntCounter, sum: u64) {
    counter.inc_by(sum.saturating_sub(counter.get()));
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Seconds of the Unix epoch; 0 for never.
fn seconds(time: Option<Timestamp>) -> f64 {
    time.map_or(0.0, |time| time.as_duration().as_secs_f64())
}

#[cfg(test)]
mod tests;
