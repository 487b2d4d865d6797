//! Alertmanager's API, version 2: what a Prometheus server would send it, so that a team's own routing applies.
//!
//! Alertmanager counts an alert as over at its `endsAt`. One that goes on is posted again each `repeat_every`, with an
//! end that lies beyond the next time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Errand, Failure, taken};
use crate::alert::{Happened, Notice};

/// By how much an alert outlives the next time that it is posted, which a dead channel may delay.
const MARGIN: Duration = Duration::from_secs(900);
/// How long a test is shown.
const TEST: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
}

pub(super) async fn send(url: &str, errand: &Errand<'_>) -> Result<String, Failure> {
    let alert = alert(errand.notice, errand.repeat_every, Timestamp::now());
    let json = serde_json::to_vec(&[alert]).map_err(|error| Failure::of_channel(error.to_string()))?;
    let url = format!("{}/api/v2/alerts", url.trim_end_matches('/'));
    taken(&errand.post(&url, &[], json).await?)
}

fn alert(notice: &Notice, repeat_every: Duration, now: Timestamp) -> Alert {
    let later = |length: Duration| {
        let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        now.checked_add(length).unwrap_or(Timestamp::MAX)
    };
    let ends = match notice.happened {
        Happened::Raised | Happened::Repeated => later(repeat_every.saturating_add(MARGIN)),
        Happened::Resolved => now,
        Happened::Test => later(TEST),
    };
    // The host's clock may have been set back since: an end before the beginning would be refused.
    let starts = notice.began.min(ends);
    let labels = [
        ("alertname", name(notice)),
        ("severity", notice.severity.word().to_owned()),
        ("job", "exitpool".to_owned()),
        ("instance", notice.host.clone()),
        ("rule", notice.rule.word().to_owned()),
        ("about", notice.about.clone()),
    ];
    let details = notice.details.join("\n");
    let annotations = [("summary", notice.summary.clone()), ("description", details)];
    let annotations = annotations.into_iter().filter(|(_, value)| !value.is_empty());
    Alert {
        labels: labels.into(),
        annotations: annotations.collect(),
        starts_at: starts.to_string(),
        ends_at: ends.to_string(),
    }
}

/// `ExitpoolNodeFailureRate`: alerts of Prometheus are named so.
fn name(notice: &Notice) -> String {
    let word = if notice.happened == Happened::Test { "test" } else { notice.rule.word() };
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    "Exitpool".to_owned() + &word.split('_').map(capital).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::notice::tests::notice;

    const HOURS: Duration = Duration::from_secs(4 * 3600);

    #[test]
    fn an_alert_outlives_the_next_time_that_it_is_posted_and_ends_when_it_is_over() {
        let now: Timestamp = "2026-03-01T13:00:00Z".parse().unwrap();
        let raised = alert(&notice(Happened::Raised), HOURS, now);
        assert_eq!(
            (raised.starts_at.as_str(), raised.ends_at.as_str()),
            ("2026-03-01T12:00:00Z", "2026-03-01T17:15:00Z")
        );
        assert_eq!(raised.labels["alertname"], "ExitpoolNodeFailureRate");
        let over = alert(&notice(Happened::Resolved), HOURS, now);
        assert_eq!((over.starts_at, over.ends_at.as_str()), (raised.starts_at, "2026-03-01T13:00:00Z"));
        assert_eq!(over.labels, raised.labels, "or it would be another alert");
    }

    #[test]
    fn an_end_is_never_before_the_beginning() {
        let back: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
        let over = alert(&notice(Happened::Resolved), HOURS, back);
        assert_eq!(over.starts_at, over.ends_at);
    }
}
