//! Metrics, and the alerts on them, as Prometheus' own tools see them; and which test breaks what each metric watches.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use exitpool::status::Metrics;

use crate::remotes::host::Host;
use crate::support::{is_installed, skip};

/// Each metric, with a test that breaks what it watches, and that names the metric.
///
/// All of them run the real daemon before real parts. Of requests and passes it is checked that they are counted, and not
/// how long they took.
const BREAKS: &[(&str, &str, &str)] = &[
    ("api_request_duration_seconds", "tests/it/pool/gauges.rs", "metrics_of_the_daemon_follow_what_it_is_given"),
    ("api_requests_total", "tests/it/pool/gauges.rs", "metrics_of_the_daemon_follow_what_it_is_given"),
    ("auth_attempts_total", "tests/it/export/daemon.rs", "a_consumer_downloads_until_a_commit_takes_it_away"),
    ("exitpool_alerts_sent_total", "tests/it/alerts/posts.rs", "a_webhook_is_signed_and_tried_again_until_it_takes_it"),
    (
        "exitpool_audit_records_lost_total",
        "tests/it/trail.rs",
        "records_that_cannot_be_written_are_counted_and_hold_nothing_up",
    ),
    (
        "exitpool_backup_last_failure_timestamp_seconds",
        "tests/it/backup.rs",
        "a_backup_beside_a_busy_daemon_is_whole_and_is_restored_here_and_elsewhere",
    ),
    (
        "exitpool_backup_last_success_timestamp_seconds",
        "tests/it/backup.rs",
        "a_backup_beside_a_busy_daemon_is_whole_and_is_restored_here_and_elsewhere",
    ),
    ("exitpool_build_info", "tests/it/pool/gauges.rs", "metrics_of_the_daemon_follow_what_it_is_given"),
    (
        "exitpool_circuits_waiting",
        "tests/it/pool/entry.rs",
        "no_guard_relay_is_asked_for_more_circuits_than_it_gives_to_one_client",
    ),
    ("exitpool_condition", "tests/it/pool/gauges.rs", "metrics_of_nodes_and_of_the_guard_follow_what_breaks"),
    (
        "exitpool_config_last_reload_success_timestamp_seconds",
        "tests/it/remotes/hostile.rs",
        "f25_a_frozen_mirror_shows_in_the_metrics",
    ),
    ("exitpool_config_last_reload_successful", "tests/it/pool/outage.rs", "f20_a_bad_source_changes_nothing"),
    (
        "exitpool_contested_resources",
        "tests/it/lockout/rivals.rs",
        "a_repair_that_another_program_undoes_waits_and_says_with_whom",
    ),
    (
        "exitpool_drift_detected_total",
        "tests/it/pool/gauges.rs",
        "metrics_of_nodes_and_of_the_guard_follow_what_breaks",
    ),
    ("exitpool_drifted_resources", "tests/it/pool/tamper.rs", "drift_can_be_reported_and_left_alone"),
    ("exitpool_firewall_apply_total", "tests/it/remotes/refusing.rs", "a_firewall_that_refuses_changes_is_counted"),
    (
        "exitpool_guard_relay_nodes_max",
        "tests/it/pool/entry.rs",
        "the_guard_relays_of_each_node_are_known_and_a_crowd_at_one_is_warned_of",
    ),
    ("exitpool_held_steps", "tests/it/pool/switches.rs", "f5_deletions_wait_for_a_word"),
    (
        "exitpool_http_connections_refused_total",
        "tests/it/crowd.rs",
        "two_thousand_idle_connections_of_one_address_leave_room_for_another",
    ),
    (
        "exitpool_locked_out_addresses",
        "tests/it/export/lockouts.rs",
        "the_sixth_try_is_locked_out_over_a_restart_until_an_operator_says_otherwise",
    ),
    (
        "exitpool_lockouts_total",
        "tests/it/export/lockouts.rs",
        "the_sixth_try_is_locked_out_over_a_restart_until_an_operator_says_otherwise",
    ),
    (
        "exitpool_reconcile_duration_seconds",
        "tests/it/pool/gauges.rs",
        "metrics_of_nodes_and_of_the_guard_follow_what_breaks",
    ),
    ("exitpool_reconcile_total", "tests/it/remotes/refusing.rs", "a_firewall_that_refuses_changes_is_counted"),
    ("exitpool_rollback_total", "tests/it/lockout/trials.rs", "a_lockout_is_taken_back"),
    (
        "exitpool_source_last_success_timestamp_seconds",
        "tests/it/remotes/hostile.rs",
        "f25_a_frozen_mirror_shows_in_the_metrics",
    ),
    (
        "exitpool_source_rejected_total",
        "tests/it/remotes/believed.rs",
        "f7_f8_f11_a_refused_commit_is_named_and_counted_and_changes_nothing",
    ),
    (
        "exitpool_tls_certificate_expiry_timestamp_seconds",
        "tests/it/export/tls.rs",
        "a_certificate_is_swapped_under_a_running_stream_and_bad_files_keep_the_old_one",
    ),
    (
        "exitpool_tls_certificate_stale",
        "tests/it/export/tls.rs",
        "a_certificate_is_swapped_under_a_running_stream_and_bad_files_keep_the_old_one",
    ),
    (
        "exitpool_unfinished_work_seconds",
        "tests/it/remotes/steady.rs",
        "f3_the_watchdog_is_fed_by_passes_that_have_ended_and_by_nothing_else",
    ),
    (
        "exitpool_unsafe_socks_total",
        "tests/it/pool/entry.rs",
        "clients_that_resolve_names_themselves_are_warned_of_and_can_be_refused",
    ),
    (
        "exitpool_warnings",
        "tests/it/pool/entry.rs",
        "clients_that_resolve_names_themselves_are_warned_of_and_can_be_refused",
    ),
    ("export_downloads_total", "tests/it/export/daemon.rs", "a_consumer_downloads_until_a_commit_takes_it_away"),
    ("export_tokens_active", "tests/it/export/daemon.rs", "a_consumer_downloads_until_a_commit_takes_it_away"),
    ("process_cpu_seconds_total", "tests/it/pool/gauges.rs", "metrics_of_the_daemon_follow_what_it_is_given"),
    ("process_max_fds", "tests/it/pool/gauges.rs", "metrics_of_the_daemon_follow_what_it_is_given"),
    ("process_open_fds", "tests/it/pool/gauges.rs", "metrics_of_the_daemon_follow_what_it_is_given"),
    ("process_resident_memory_bytes", "tests/it/pool/gauges.rs", "metrics_of_the_daemon_follow_what_it_is_given"),
    ("process_start_time_seconds", "tests/it/pool/gauges.rs", "metrics_of_the_daemon_follow_what_it_is_given"),
    ("process_virtual_memory_bytes", "tests/it/pool/gauges.rs", "metrics_of_the_daemon_follow_what_it_is_given"),
    ("tor_newnym_total", "tests/it/pool/rotate.rs", "an_order_rotates_a_node_while_a_download_runs_on"),
    ("tor_node_latency_ms", "tests/it/pool/prometheus.rs", "a_real_prometheus_alerts_on_a_pool_that_breaks"),
    ("tor_nodes_total", "tests/it/pool/gauges.rs", "metrics_of_nodes_and_of_the_guard_follow_what_breaks"),
    ("tor_nodes_up", "tests/it/pool/health.rs", "a_network_that_is_gone_is_one_incident_and_no_restart"),
    ("tor_restarts_total", "tests/it/pool/gauges.rs", "metrics_of_nodes_and_of_the_guard_follow_what_breaks"),
];

/// What promtool says of names that are promised: one is a gauge, one is in milliseconds.
const PROMISED: [&str; 2] = ["tor_node_latency_ms ", "tor_nodes_total "];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_metric_has_a_test_that_breaks_what_it_watches() {
    let metrics: Vec<String> = Metrics::new().catalogue().into_iter().map(|metric| metric.name).collect();
    let listed: Vec<&str> = BREAKS.iter().map(|(metric, ..)| *metric).collect();
    assert_eq!(listed, metrics, "BREAKS names a test for each metric: one that breaks what it watches");
    for (metric, file, test) in BREAKS.iter().copied() {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let test = format!("fn {test}(");
        let at = text.find(&test).unwrap_or_else(|| panic!("{metric}: {file} has no `{test}`"));
        let end = text[at..].find("\n}\n").map_or(text.len(), |end| at + end);
        let named = |text: &str| text.contains(metric);
        // The name may stand in a constant, or in a helper that the test calls.
        assert!(named(&text[at..end]) || named(&text), "{metric}: `{test}` does not name it");
    }
}

/// Runs promtool below `deploy/prometheus`; `None` where there is none.
pub fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    if !is_installed("promtool") {
        skip("there is no promtool (Debian: apt install prometheus)");
        return None;
    }
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(root().join("deploy/prometheus"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that ends before it has read everything says why.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Some(child.wait_with_output().unwrap())
}

pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn the_alerts_fire_when_they_should_and_leave_a_healthy_host_in_peace() {
    for arguments in [
        &["check", "rules", "exitpool.rules.yml"][..],
        &["check", "config", "prometheus.yml"],
        &["test", "rules", "exitpool.test.yml"],
    ] {
        let Some(output) = promtool(arguments, "") else { return };
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn every_alert_is_tested_and_speaks_of_metrics_that_exist() {
    let read = |file: &str| fs::read_to_string(root().join("deploy/prometheus").join(file)).unwrap();
    let (rules, tests) = (read("exitpool.rules.yml"), read("exitpool.test.yml"));
    let metrics: Vec<String> = Metrics::new().catalogue().into_iter().map(|metric| metric.name).collect();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let fires = format!("        alertname: {alert}\n        exp_alerts:\n");
        assert!(tests.contains(&fires), "exitpool.test.yml does not say when {alert} fires");
        assert!(tests.contains(&format!("m, alertname: {alert}}}")), "nor when it does not");
    }
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = ["exitpool_", "tor_", "process_", "api_", "export_", "auth_"];
    for word in words.filter(|word| named.iter().any(|begin| word.starts_with(begin))) {
        assert!(metrics.iter().any(|metric| metric == word), "there is no metric {word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_has_nothing_to_say_of_what_the_daemon_serves() {
    let Some(mut host) = Host::new() else { return };
    host.start(&host.kit.at("served/pool.git").display().to_string());
    let first = host.kit.head();
    host.in_force(&first, 1).await;
    let text = host.netns.sh("curl --silent --show-error --max-time 10 http://127.0.0.1:8080/metrics");
    let Some(output) = promtool(&["check", "metrics"], &text) else { return };
    let said = said(&output);
    let unexpected: Vec<&str> =
        said.lines().filter(|line| !PROMISED.iter().any(|promised| line.starts_with(promised))).collect();
    assert!(unexpected.is_empty(), "{said}");
    // And it would say something.
    let wrong = promtool(&["check", "metrics"], "# TYPE Wrong counter\nWrong 1\n").unwrap();
    assert!(!wrong.status.success());
    host.stop();
}
