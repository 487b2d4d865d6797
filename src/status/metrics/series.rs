//! Every series, with its help text and the closed sets of its labels.

use prometheus::core::Collector;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::labels::{Endpoint, Method};
use super::process::Process;
use crate::export::{Attempt, ExportFormat};
use crate::plan::HoldReason;
use crate::plan::step::ObjectKind;
use crate::status::condition::{ConditionStatus, ConditionType};
use crate::status::inputs::{Fault, PassResult};
use crate::status::totals::Outcome;
use crate::status::warning::Warning;

/// Upper bounds of the buckets of a pass: from a look at a converged host to the start of hundreds of nodes.
const PASS_SECONDS: [f64; 11] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0, 600.0, 1800.0];
/// Upper bounds of the buckets of a request.
const REQUEST_SECONDS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

const DRIVERS: [&str; 5] = ["nftables", "iptables", "ufw", "firewalld", "none"];
const ROLLBACK_CAUSES: [&str; 3] = ["probe_failed", "unconfirmed", "operator"];
const ALERT_CHANNELS: [&str; 4] = ["email", "telegram", "webhook", "alertmanager"];

/// What each metric says.
const HELP: &[(&str, &str)] = &[
    ("tor_nodes_total", "Nodes that the desired state asks for."),
    ("tor_nodes_up", "Nodes that are known to serve: bootstrapped, with a circuit, listening."),
    (
        "tor_node_latency_ms",
        "How long the node's latest circuit took to build, in milliseconds; 0 while that is not known.",
    ),
    ("tor_newnym_total", "Times that the node has changed its exit."),
    ("tor_restarts_total", "Times that the node's tor process has become another one, for whatever reason."),
    ("api_requests_total", "HTTP requests that were answered."),
    (
        "api_request_duration_seconds",
        "How long it took to answer an HTTP request; a stream of events is answered when it begins.",
    ),
    ("auth_attempts_total", "Tokens and sign-ins, by what became of them: `accepted`, or why not."),
    (
        "exitpool_tls_certificate_expiry_timestamp_seconds",
        "Until when the certificate of the page is valid; 0 where no TLS is spoken.",
    ),
    (
        "exitpool_tls_certificate_stale",
        "1 while the files of the page's certificate are others than what is served, since they cannot be; the log says why.",
    ),
    (
        "exitpool_http_connections_refused_total",
        "Connections that were closed unheard, since the address had too many open already.",
    ),
    (
        "exitpool_lockouts_total",
        "Times that an address was locked out: too many of its tokens or passwords were refused.",
    ),
    ("exitpool_locked_out_addresses", "Addresses that are locked out now; the status says which."),
    (
        "export_tokens_active",
        "Export tokens that were used since the daemon started, have not expired and are not revoked.",
    ),
    ("export_downloads_total", "Lists that were downloaded."),
    (
        "exitpool_config_last_reload_successful",
        "Whether the source was read and its newest revision is in force: 0 while it is refused, missing or out of reach.",
    ),
    ("exitpool_config_last_reload_success_timestamp_seconds", "When the revision in force was accepted."),
    ("exitpool_reconcile_duration_seconds", "How long a pass took."),
    (
        "exitpool_reconcile_total",
        "Passes, by how they ended: nothing left to do, something failed, or something under way.",
    ),
    (
        "exitpool_condition",
        "The conditions of the host: 1 for the status that each one has, 0 for the others; all 0 where it does not apply.",
    ),
    ("exitpool_drifted_resources", "Objects that are not as they were left."),
    (
        "exitpool_contested_resources",
        "Objects that need the same repair over and over, and whose next one waits; the status says who keeps changing them.",
    ),
    ("exitpool_held_steps", "Steps that are decided and wait for an operator's word, by what holds them."),
    (
        "exitpool_drift_detected_total",
        "Times that an object was found not to be as it was left, removed at once or not.",
    ),
    ("exitpool_source_last_success_timestamp_seconds", "When the source was last read; 0 for never."),
    ("exitpool_source_rejected_total", "Revisions of the source that were refused."),
    (
        "exitpool_rollback_total",
        "Changes that were taken back, by what caused it: `operator` is `exitpool rollback`, the others a change of the firewall that was not kept.",
    ),
    ("exitpool_firewall_apply_total", "Changes of the firewall that were tried."),
    (
        "exitpool_audit_records_lost_total",
        "Records of the audit trail that could not be written; the trail says where they are missing.",
    ),
    (
        "exitpool_alerts_sent_total",
        "Attempts to hand an alert to a channel, by the channel's kind: `error` is one that is tried again, or was given up.",
    ),
    (
        "exitpool_unfinished_work_seconds",
        "How long the pass that is under way has taken so far; 0 between passes. It rises without end when a pass hangs.",
    ),
    (
        "exitpool_warnings",
        "Things that are weaker than they should be, by what they are; the status says more of each.",
    ),
    (
        "exitpool_guard_relay_nodes_max",
        "Nodes that enter Tor by one guard relay: of the guard relay that most nodes of this host use.",
    ),
    (
        "exitpool_circuits_waiting",
        "Tors whose start, repair or rotation waits, since a guard relay would take their circuits for too many.",
    ),
    (
        "exitpool_unsafe_socks_total",
        "Connections that clients asked for by address and not by name, so that they may have looked it up outside of Tor.",
    ),
    (
        "exitpool_backup_last_success_timestamp_seconds",
        "When `exitpool backup` last succeeded on this host; 0 for never.",
    ),
    ("exitpool_backup_last_failure_timestamp_seconds", "When `exitpool backup` last failed on this host; 0 for never."),
    ("exitpool_build_info", "Always 1; the label says which version runs."),
    ("process_cpu_seconds_total", "The time that the daemon has computed, on all cores; its tors are not in it."),
    ("process_resident_memory_bytes", "The memory that the daemon has in use; its tors are not in it."),
    ("process_virtual_memory_bytes", "The addresses that the daemon has given out."),
    ("process_open_fds", "File descriptors that the daemon has open."),
    ("process_max_fds", "File descriptors that it may have open; +Inf for no limit."),
    ("process_start_time_seconds", "When the daemon started."),
];

/// Every series.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) nodes_total: IntGauge,
    pub(super) nodes_up: IntGauge,
    pub(super) node_latency_ms: IntGaugeVec,
    pub(super) newnym_total: IntCounterVec,
    pub(super) restarts_total: IntCounterVec,
    pub(super) api_requests_total: IntCounterVec,
    pub(super) api_request_duration_seconds: Histogram,
    pub(super) auth_attempts_total: IntCounterVec,
    pub(super) certificate_expiry_timestamp: Gauge,
    pub(super) certificate_stale: IntGauge,
    pub(super) backup_last_success_timestamp: Gauge,
    pub(super) backup_last_failure_timestamp: Gauge,
    pub(super) connections_refused_total: IntCounter,
    pub(super) lockouts_total: IntCounter,
    pub(super) locked_out_addresses: IntGauge,
    pub(super) export_tokens_active: IntGauge,
    pub(super) export_downloads_total: IntCounterVec,
    pub(super) last_reload_successful: IntGauge,
    pub(super) last_reload_success_timestamp: Gauge,
    pub(super) reconcile_duration_seconds: Histogram,
    pub(super) reconcile_total: IntCounterVec,
    pub(super) condition: IntGaugeVec,
    pub(super) drifted_resources: IntGaugeVec,
    pub(super) contested_resources: IntGaugeVec,
    pub(super) held_steps: IntGaugeVec,
    pub(super) drift_detected_total: IntCounterVec,
    pub(super) source_last_success_timestamp: Gauge,
    pub(super) source_rejected_total: IntCounterVec,
    pub(super) rollback_total: IntCounterVec,
    pub(super) firewall_apply_total: IntCounterVec,
    pub(super) alerts_sent_total: IntCounterVec,
    pub(super) audit_records_lost_total: IntCounterVec,
    pub(super) unfinished_work_seconds: Gauge,
    pub(super) warnings: IntGaugeVec,
    pub(super) guard_relay_nodes_max: IntGauge,
    pub(super) circuits_waiting: IntGauge,
    pub(super) unsafe_socks_total: IntCounter,
    build_info: IntGaugeVec,
    pub(super) process: Process,
}

impl Series {
    /// Makes every series whose labels are known beforehand, at 0.
    pub(super) fn new() -> Self {
        let series = Self {
            nodes_total: gauge("tor_nodes_total"),
            nodes_up: gauge("tor_nodes_up"),
            node_latency_ms: gauges("tor_node_latency_ms", &["node"]),
            newnym_total: counters("tor_newnym_total", &["node"]),
            restarts_total: counters("tor_restarts_total", &["node"]),
            api_requests_total: counters("api_requests_total", &["method", "endpoint", "status"]),
            api_request_duration_seconds: histogram("api_request_duration_seconds", &REQUEST_SECONDS),
            auth_attempts_total: counters("auth_attempts_total", &["result"]),
            certificate_expiry_timestamp: floating("exitpool_tls_certificate_expiry_timestamp_seconds"),
            certificate_stale: gauge("exitpool_tls_certificate_stale"),
            backup_last_success_timestamp: floating("exitpool_backup_last_success_timestamp_seconds"),
            backup_last_failure_timestamp: floating("exitpool_backup_last_failure_timestamp_seconds"),
            connections_refused_total: counter("exitpool_http_connections_refused_total"),
            lockouts_total: counter("exitpool_lockouts_total"),
            locked_out_addresses: gauge("exitpool_locked_out_addresses"),
            export_tokens_active: gauge("export_tokens_active"),
            export_downloads_total: counters("export_downloads_total", &["format"]),
            last_reload_successful: gauge("exitpool_config_last_reload_successful"),
            last_reload_success_timestamp: floating("exitpool_config_last_reload_success_timestamp_seconds"),
            reconcile_duration_seconds: histogram("exitpool_reconcile_duration_seconds", &PASS_SECONDS),
            reconcile_total: counters("exitpool_reconcile_total", &["result"]),
            condition: gauges("exitpool_condition", &["type", "status"]),
            drifted_resources: gauges("exitpool_drifted_resources", &["kind"]),
            contested_resources: gauges("exitpool_contested_resources", &["kind"]),
            held_steps: gauges("exitpool_held_steps", &["reason"]),
            drift_detected_total: counters("exitpool_drift_detected_total", &["kind"]),
            source_last_success_timestamp: floating("exitpool_source_last_success_timestamp_seconds"),
            source_rejected_total: counters("exitpool_source_rejected_total", &["reason"]),
            rollback_total: counters("exitpool_rollback_total", &["cause"]),
            firewall_apply_total: counters("exitpool_firewall_apply_total", &["driver", "result"]),
            audit_records_lost_total: counters("exitpool_audit_records_lost_total", &[]),
            alerts_sent_total: counters("exitpool_alerts_sent_total", &["channel", "result"]),
            unfinished_work_seconds: floating("exitpool_unfinished_work_seconds"),
            warnings: gauges("exitpool_warnings", &["reason"]),
            guard_relay_nodes_max: gauge("exitpool_guard_relay_nodes_max"),
            circuits_waiting: gauge("exitpool_circuits_waiting"),
            unsafe_socks_total: counter("exitpool_unsafe_socks_total"),
            build_info: gauges("exitpool_build_info", &["version"]),
            process: Process::new(),
        };
        series.create();
        series
    }

    /// Creates the series of every closed set of labels.
    fn create(&self) {
        self.create_requests();
        for kind in ObjectKind::ALL.map(ObjectKind::label) {
            self.drifted_resources.with_label_values(&[kind]);
            self.contested_resources.with_label_values(&[kind]);
            self.drift_detected_total.with_label_values(&[kind]);
        }
        each(&self.reconcile_total, &PassResult::ALL.map(PassResult::label));
        each(&self.source_rejected_total, &Fault::REFUSALS.map(Fault::label));
        each(&self.auth_attempts_total, &Attempt::ALL.map(Attempt::label));
        each(&self.export_downloads_total, &ExportFormat::ALL.map(ExportFormat::word));
        each(&self.rollback_total, &ROLLBACK_CAUSES);
        pairs(&self.firewall_apply_total, &DRIVERS, &Outcome::ALL.map(Outcome::label));
        self.audit_records_lost_total.with_label_values::<&str>(&[]);
        pairs(&self.alerts_sent_total, &ALERT_CHANNELS, &Outcome::ALL.map(Outcome::label));
        for reason in HoldReason::LABELS {
            self.held_steps.with_label_values(&[reason]);
        }
        for reason in Warning::REASONS {
            self.warnings.with_label_values(&[reason.as_str()]);
        }
        for kind in ConditionType::ALL {
            for status in ConditionStatus::ALL {
                self.condition.with_label_values(&[kind.as_str(), status.as_str()]);
            }
        }
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }

    fn create_requests(&self) {
        for endpoint in Endpoint::ALL {
            for method in Method::ALL {
                for status in endpoint.statuses(method) {
                    self.api_requests_total.with_label_values(&[method.label(), endpoint.label(), status]);
                }
            }
        }
    }

    /// Removes the series of a node that is gone.
    pub(super) fn remove_node(&self, name: &str) {
        // An error says that there is no such series, which is what is wanted.
        let _ = self.node_latency_ms.remove_label_values(&[name]);
        let _ = self.newnym_total.remove_label_values(&[name]);
        let _ = self.restarts_total.remove_label_values(&[name]);
    }

    /// Lists the collectors that nothing but a published status changes, with their types.
    pub(super) fn published(&self) -> Vec<Typed> {
        let counters = [
            &self.newnym_total,
            &self.restarts_total,
            &self.reconcile_total,
            &self.drift_detected_total,
            &self.source_rejected_total,
            &self.rollback_total,
            &self.firewall_apply_total,
            &self.audit_records_lost_total,
        ];
        let gauges = [
            &self.nodes_total,
            &self.nodes_up,
            &self.last_reload_successful,
            &self.guard_relay_nodes_max,
            &self.circuits_waiting,
        ];
        let labelled = [
            &self.node_latency_ms,
            &self.condition,
            &self.drifted_resources,
            &self.contested_resources,
            &self.held_steps,
            &self.warnings,
            &self.build_info,
        ];
        let mut all = boxed("counter", &counters);
        all.extend(boxed("counter", &[&self.unsafe_socks_total]));
        all.extend(boxed("gauge", &gauges));
        all.extend(boxed("gauge", &labelled));
        all.extend(boxed("gauge", &[&self.last_reload_success_timestamp, &self.source_last_success_timestamp]));
        all.extend(boxed("histogram", &[&self.reconcile_duration_seconds]));
        all
    }

    /// Lists the collectors that change at any time, with their types.
    pub(super) fn live(&self) -> Vec<Typed> {
        let counters = [
            &self.api_requests_total,
            &self.auth_attempts_total,
            &self.export_downloads_total,
            &self.alerts_sent_total,
        ];
        let gauges = [&self.export_tokens_active, &self.locked_out_addresses, &self.certificate_stale];
        let mut all = boxed("counter", &counters);
        all.extend(boxed("counter", &[&self.lockouts_total, &self.connections_refused_total]));
        all.extend(boxed("gauge", &gauges));
        all.extend(boxed("gauge", &[&self.unfinished_work_seconds, &self.certificate_expiry_timestamp]));
        all.extend(boxed("gauge", &[&self.backup_last_success_timestamp, &self.backup_last_failure_timestamp]));
        all.extend(boxed("histogram", &[&self.api_request_duration_seconds]));
        all.extend(self.process.collectors());
        all
    }
}

/// A collector with the type of its metric.
pub(super) type Typed = (&'static str, Box<dyn Collector>);

pub(super) fn boxed<T: Collector + Clone + 'static>(kind: &'static str, all: &[&T]) -> Vec<Typed> {
    all.iter().map(|one| (kind, Box::new(T::clone(one)) as Box<dyn Collector>)).collect()
}

fn each(counters: &IntCounterVec, values: &[&str]) {
    for value in values {
        counters.with_label_values(&[*value]);
    }
}

fn pairs(counters: &IntCounterVec, firsts: &[&str], seconds: &[&str]) {
    for first in firsts {
        for second in seconds {
            counters.with_label_values(&[*first, *second]);
        }
    }
}

/// Why no metric can fail to be made.
pub(super) const WELL_FORMED: &str = "names and labels are literals, and a test makes them all";

pub(super) fn help(name: &str) -> &'static str {
    HELP.iter().find(|(other, _)| *other == name).map(|(_, help)| *help).expect(WELL_FORMED)
}

fn counter(name: &str) -> IntCounter {
    IntCounter::new(name, help(name)).expect(WELL_FORMED)
}

fn gauge(name: &str) -> IntGauge {
    IntGauge::new(name, help(name)).expect(WELL_FORMED)
}

pub(super) fn floating(name: &str) -> Gauge {
    Gauge::new(name, help(name)).expect(WELL_FORMED)
}

fn gauges(name: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help(name)), labels).expect(WELL_FORMED)
}

fn counters(name: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help(name)), labels).expect(WELL_FORMED)
}

fn histogram(name: &str, buckets: &[f64]) -> Histogram {
    Histogram::with_opts(HistogramOpts::new(name, help(name)).buckets(buckets.to_vec())).expect(WELL_FORMED)
}
