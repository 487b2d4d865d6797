//! Each gauge moves when what it watches breaks, and the reference is what the code says.

use std::fmt::Write as _;

use jiff::SignedDuration;

use super::*;
use crate::observe::{self, Observation, Process};
use crate::plan::step::{Action, Cause, Object, Step};
use crate::status::tests::{
    generated,
    world::{World, noon, revision},
};
use crate::status::{Failure, SourceError, SourceState};

/// The value of one series; `None` where there is no such series.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.text(Activity::Idle, noon());
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn published(world: &World) -> Metrics {
    let metrics = Metrics::new();
    metrics.publish(&world.status());
    metrics
}

fn drift(name: &str) -> Step {
    let action = Action::StartInstance { torrc: String::new(), fresh: false };
    Step { object: Object::Instance(name.parse().unwrap()), cause: Cause::Drift, action }
}

fn refused() -> SourceState {
    SourceState {
        offered: Some(revision('b')),
        error: Some(SourceError { fault: Fault::Malformed, message: "pool.yaml:7:5".to_owned() }),
        ..World::healthy(3).source
    }
}

#[test]
fn every_promised_metric_is_there_from_the_start() {
    let promised = "tor_nodes_total tor_nodes_up tor_node_latency_ms tor_newnym_total tor_restarts_total \
        api_requests_total api_request_duration_seconds auth_attempts_total export_tokens_active export_downloads_total \
        exitpool_config_last_reload_successful exitpool_config_last_reload_success_timestamp_seconds \
        exitpool_reconcile_duration_seconds exitpool_reconcile_total exitpool_condition exitpool_drifted_resources \
        exitpool_drift_detected_total exitpool_source_last_success_timestamp_seconds exitpool_source_rejected_total \
        exitpool_rollback_total exitpool_firewall_apply_total exitpool_alerts_sent_total exitpool_unfinished_work_seconds \
        exitpool_warnings exitpool_guard_relay_nodes_max exitpool_circuits_waiting exitpool_unsafe_socks_total \
        exitpool_tls_certificate_expiry_timestamp_seconds exitpool_tls_certificate_stale \
        exitpool_http_connections_refused_total \
        exitpool_backup_last_success_timestamp_seconds exitpool_backup_last_failure_timestamp_seconds \
        exitpool_audit_records_lost_total exitpool_lockouts_total exitpool_locked_out_addresses exitpool_held_steps \
        exitpool_contested_resources exitpool_build_info process_cpu_seconds_total \
        process_resident_memory_bytes process_virtual_memory_bytes process_open_fds process_max_fds \
        process_start_time_seconds";
    let text = Metrics::new().text(Activity::Idle, noon());
    for name in promised.split_ascii_whitespace() {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert_eq!(Metrics::new().catalogue().len(), promised.split_ascii_whitespace().count(), "and no other one");
}

#[test]
fn everything_begins_at_zero() {
    let text = Metrics::new().text(Activity::Idle, noon());
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(series.len() > 100, "{}", series.len());
    let is_of_the_host = |line: &&str| line.starts_with("exitpool_build_info") || line.starts_with("process_");
    for line in series.into_iter().filter(|line| !is_of_the_host(line)) {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

#[test]
fn gauges_of_nodes_fall_when_a_node_breaks() {
    let healthy = published(&World::healthy(3));
    assert_eq!((value(&healthy, "tor_nodes_total"), value(&healthy, "tor_nodes_up")), (Some(3.0), Some(3.0)));
    assert_eq!(value(&healthy, "tor_node_latency_ms{node=\"eu-1\"}"), Some(187.0));
    let mut world = World::healthy(3);
    *world.instance("eu-1") = observe::Instance::default();
    world.control("eu-0").circuit_established = false;
    let broken = published(&world);
    assert_eq!((value(&broken, "tor_nodes_total"), value(&broken, "tor_nodes_up")), (Some(3.0), Some(1.0)));
    assert_eq!(value(&broken, "tor_node_latency_ms{node=\"eu-1\"}"), Some(0.0));
}

#[test]
fn a_node_that_cannot_be_observed_is_not_up() {
    let mut world = World::healthy(3);
    world.instance("eu-1").control = Observation::Unknown("no answer".to_owned());
    assert_eq!(value(&published(&world), "tor_nodes_up"), Some(2.0));
}

#[test]
fn restarts_are_counted_once_each() {
    let first = World::healthy(3).status();
    let mut world = World::healthy(3).later(30);
    world.instance("eu-1").process = Observation::Present(Process { pid: 9, started: 99 });
    let second = world.status_after(&first);
    let metrics = Metrics::new();
    for status in [&first, &second, &second] {
        metrics.publish(status);
    }
    assert_eq!(value(&metrics, "tor_restarts_total{node=\"eu-1\"}"), Some(1.0));
    assert_eq!(value(&metrics, "tor_restarts_total{node=\"eu-0\"}"), Some(0.0));
    assert_eq!(value(&metrics, "tor_newnym_total{node=\"eu-0\"}"), Some(0.0));
}

#[test]
fn the_series_of_a_node_go_with_it() {
    let metrics = published(&World::healthy(9));
    assert_eq!(value(&metrics, "tor_restarts_total{node=\"eu-5\"}"), Some(0.0));
    metrics.publish(&World::healthy(3).status());
    assert!(!metrics.text(Activity::Idle, noon()).contains("eu-5"));
}

#[test]
fn a_refused_revision_shows() {
    let healthy = published(&World::healthy(3));
    assert_eq!(value(&healthy, "exitpool_config_last_reload_successful"), Some(1.0));
    assert_eq!(value(&healthy, "exitpool_config_last_reload_success_timestamp_seconds"), Some(1_772_366_400.0));
    assert_eq!(value(&healthy, "exitpool_source_last_success_timestamp_seconds"), Some(1_772_366_400.0));
    let broken = published(&World { source: refused(), ..World::healthy(3) });
    assert_eq!(value(&broken, "exitpool_config_last_reload_successful"), Some(0.0));
    let missing = SourceError { fault: Fault::Missing, message: "pool.yaml is not in the commit".to_owned() };
    let gone = World::healthy(3);
    let gone = World { source: SourceState { error: Some(missing), ..gone.source.clone() }, ..gone };
    assert_eq!(value(&published(&gone), "exitpool_config_last_reload_successful"), Some(0.0));
    assert_eq!(value(&broken, "exitpool_source_rejected_total{reason=\"malformed\"}"), Some(1.0));
    assert_eq!(value(&broken, "exitpool_condition{status=\"True\",type=\"Stalled\"}"), Some(1.0));
    assert_eq!(value(&broken, "exitpool_condition{status=\"False\",type=\"Stalled\"}"), Some(0.0));
}

#[test]
fn drift_shows_and_goes() {
    let mut world = World::healthy(3);
    world.plan.steps.push(drift("eu-1"));
    let first = world.status();
    let metrics = Metrics::new();
    metrics.publish(&first);
    assert_eq!(value(&metrics, "exitpool_drifted_resources{kind=\"instance\"}"), Some(1.0));
    assert_eq!(value(&metrics, "exitpool_drift_detected_total{kind=\"instance\"}"), Some(1.0));
    metrics.publish(&World::healthy(3).later(30).status_after(&first));
    assert_eq!(value(&metrics, "exitpool_drifted_resources{kind=\"instance\"}"), Some(0.0));
    assert_eq!(value(&metrics, "exitpool_drift_detected_total{kind=\"instance\"}"), Some(1.0));
    assert_eq!(value(&metrics, "exitpool_drift_detected_total{kind=\"guard\"}"), Some(0.0));
}

#[test]
fn unknown_is_its_own_status() {
    let mut world = World::healthy(3);
    world.observed.guard = Observation::Unknown("nft crashed".to_owned());
    let metrics = published(&world);
    for (status, expected) in [("True", 0.0), ("False", 0.0), ("Unknown", 1.0)] {
        let series = format!("exitpool_condition{{status=\"{status}\",type=\"FirewallInSync\"}}");
        assert_eq!(value(&metrics, &series), Some(expected), "{status}");
    }
}

#[test]
fn changes_of_the_firewall_are_counted_by_outcome() {
    let mut world = World::healthy(3);
    let step = Step {
        object: Object::Guard,
        cause: Cause::Change,
        action: Action::InstallGuard { guard: Default::default() },
    };
    world.pass.as_mut().unwrap().applied.push(step);
    let metrics = published(&world);
    assert_eq!(value(&metrics, "exitpool_firewall_apply_total{driver=\"nftables\",result=\"success\"}"), Some(1.0));
    let failure = Failure { message: "no".to_owned(), kind: crate::error::Kind::Firewall, attempts: 1, retry_at: None };
    let failed = World { failures: [(Object::Guard, failure)].into(), ..World::healthy(3) };
    let metrics = published(&failed);
    assert_eq!(value(&metrics, "exitpool_firewall_apply_total{driver=\"nftables\",result=\"error\"}"), Some(1.0));
}

#[test]
fn a_pass_is_counted_when_it_ends_and_shows_while_it_hangs() {
    let status = World::healthy(3).status();
    let metrics = Metrics::new();
    metrics.publish(&status);
    metrics.publish(&status);
    assert_eq!(value(&metrics, "exitpool_reconcile_duration_seconds_count"), Some(1.0));
    assert_eq!(value(&metrics, "exitpool_reconcile_total{result=\"success\"}"), Some(1.0));
    assert_eq!(value(&metrics, "exitpool_unfinished_work_seconds"), Some(0.0));
    let hung = Activity::Passing { since: noon() - SignedDuration::from_secs(90) };
    assert!(metrics.text(hung, noon()).contains("\nexitpool_unfinished_work_seconds 90\n"));
    assert_eq!(value(&metrics, "exitpool_unfinished_work_seconds"), Some(0.0), "and it is over when the pass is");
}

#[test]
fn a_request_is_counted_when_its_timer_goes() {
    let metrics = Metrics::new();
    let series = "api_requests_total{endpoint=\"/healthz\",method=\"GET\",status=\"503\"}";
    let mut timer = metrics.request(Method::Get, Endpoint::Healthz);
    timer.answered(503);
    assert_eq!(value(&metrics, series), Some(0.0));
    drop(timer);
    assert_eq!(value(&metrics, series), Some(1.0));
    assert_eq!(value(&metrics, "api_request_duration_seconds_count"), Some(1.0));
}

#[test]
fn what_the_daemon_takes_is_told_anew_each_time() {
    let metrics = Metrics::new();
    let before = value(&metrics, "process_open_fds").unwrap();
    let files: Vec<std::fs::File> = (0..50).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
    // Other tests of this process open and close files meanwhile.
    assert!(value(&metrics, "process_open_fds").unwrap() >= before + 25.0);
    drop(files);
    let cpu = value(&metrics, "process_cpu_seconds_total").unwrap();
    assert!(cpu > 0.0 && value(&metrics, "process_cpu_seconds_total").unwrap() >= cpu);
    for positive in ["resident_memory_bytes", "virtual_memory_bytes", "max_fds", "start_time_seconds"] {
        assert!(
            value(&metrics, &format!("process_{positive}")).unwrap() > 1_000.0 || positive == "max_fds",
            "{positive}"
        );
    }
}

/// What is written once for a status must not outlive it.
#[test]
fn a_status_is_told_at_once() {
    let metrics = published(&World::healthy(3));
    assert_eq!(value(&metrics, "tor_nodes_total"), Some(3.0));
    metrics.publish(&World::healthy(9).status());
    assert_eq!(value(&metrics, "tor_nodes_total"), Some(9.0));
}

#[test]
fn the_reference_is_what_the_code_says() {
    let mut text = String::from(
        "# Metrics\n\nGenerated from the code: do not edit. `/metrics` serves these, every series from start-up.\n\n\
        | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for Described { name, kind, labels, help } in Metrics::new().catalogue() {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(text, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
    generated("docs/metrics.md", &text);
}
