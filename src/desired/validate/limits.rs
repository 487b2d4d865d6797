//! The bounds of times and shares.

use std::time::Duration;

use super::super::document::{AuditDocument, Document};
use super::super::findings::Findings;
use super::super::values::Size;

/// NEWNYM more often than this is delayed by tor itself (`MAX_SIGNEWNYM_RATE` in its source).
const SHORTEST_ROTATION: Duration = Duration::from_secs(10);

/// The Tor project asks not to have circuits built again and again. tor by itself uses a circuit for new connections no
/// longer than this (`MaxCircuitDirtiness`), so rotating less often costs the network little beyond that.
const FAIR_ROTATION: Duration = Duration::from_secs(600);

const ONE_SECOND: Duration = Duration::from_secs(1);

const ONE_DAY: Duration = Duration::from_secs(86_400);

const ONE_YEAR: Duration = Duration::from_secs(366 * 86_400);

pub fn check(findings: &mut Findings<'_>, document: &Document) {
    let reconcile = &document.reconcile;
    within(findings, "reconcile.resync_every", reconcile.resync_every.0, ONE_SECOND, ONE_DAY);
    within(findings, "reconcile.drain_for", reconcile.drain_for.0, Duration::ZERO, ONE_DAY);
    within(findings, "firewall.confirm_within", document.firewall.confirm_within.0, ONE_SECOND, ONE_DAY);
    within(findings, "alerts.repeat_every", document.alerts.repeat_every.0, ONE_SECOND, ONE_YEAR);
    for (at, pool) in document.pools.iter().enumerate() {
        if let Some(period) = pool.rotate_every {
            let path = format!("pools[{at}].rotate_every");
            within(findings, &path, period.0, SHORTEST_ROTATION, ONE_YEAR);
            if (SHORTEST_ROTATION..FAIR_ROTATION).contains(&period.0) {
                let node = findings.find(&path);
                findings.warn(node, "rotating so often is a load on the Tor network", "use `10m` or more");
            }
        }
    }
    if let Some(limit) = &document.access.rate_limit {
        within(findings, "access.rate_limit.lockout_for", limit.lockout_for.0, ONE_SECOND, ONE_YEAR);
    }
    if let Some(probe) = &document.health.probe {
        within(findings, "health.probe.every", probe.every.0, ONE_SECOND, ONE_DAY);
        within(findings, "health.probe.timeout", probe.timeout.0, ONE_SECOND, probe.every.0.max(ONE_SECOND));
        if probe.ca_file.is_some() && probe.url.0.starts_with("http://") {
            let node = findings.find("health.probe.ca_file");
            findings.warn(node, "without TLS nobody shows a certificate", "take a `url` of https, or leave this out");
        }
    }
    audit(findings, &document.audit);
    if reconcile.max_unavailable.0 == 0 {
        let node = findings.find("reconcile.max_unavailable");
        findings.error(node, "with `0%` no change could ever be rolled over a pool", "use `1%` or more");
    }
}

/// A trail that forgets at once is none.
fn audit(findings: &mut Findings<'_>, audit: &AuditDocument) {
    const ONE_HOUR: Duration = Duration::from_secs(3_600);
    const SMALLEST: Size = Size(1 << 20);
    within(findings, "audit.keep_for", audit.keep_for.0, ONE_HOUR, 10 * ONE_YEAR);
    if audit.keep_size < SMALLEST {
        let node = findings.find("audit.keep_size");
        findings.error(node, "an audit trail this small has room for a few rows only", "use `1 MB` or more");
    }
}

/// Refuses a time out of its bounds.
pub fn within(findings: &mut Findings<'_>, path: &str, value: Duration, shortest: Duration, longest: Duration) {
    if (shortest..=longest).contains(&value) {
        return;
    }
    let node = findings.find(path);
    let message = format!("{} is out of bounds: from {} to {}", words(value), words(shortest), words(longest));
    findings.error(node, message, "choose a time within them");
}

/// Writes a time as the file would.
fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}
