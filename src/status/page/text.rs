//! Times, ranges and lists in words.

use std::fmt::Display;
use std::time::Duration;

use jiff::Timestamp;

use crate::firewall::model::Ports;

/// How long ago something was: `12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    match seconds {
        ..1 => "now".to_owned(),
        1..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// How long something took: `120 ms`, `3.4 s`, `2 min`.
pub(super) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{:.1} s", duration.as_secs_f64()),
        seconds => format!("{} min", seconds / 60),
    }
}

/// A range of ports: `30000–30009`, or one port alone.
pub(super) fn ports(ports: &Ports) -> String {
    if ports.first == ports.last { ports.first.to_string() } else { format!("{}–{}", ports.first, ports.last) }
}

/// Joins what can be written.
pub(super) fn listed<T: Display>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rounded_down_to_one_unit() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let table = [
            (-5, "now"),
            (0, "now"),
            (1, "1 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7199, "119 min ago"),
            (7200, "2 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 d ago"),
        ];
        for (seconds, words) in table {
            assert_eq!(age(now - jiff::SignedDuration::from_secs(seconds), now), words, "{seconds}");
        }
    }

    #[test]
    fn durations_and_ports_have_short_forms() {
        let durations = [(120, "120 ms"), (999, "999 ms"), (3400, "3.4 s"), (150_000, "2 min")];
        for (milliseconds, words) in durations {
            assert_eq!(duration(Duration::from_millis(milliseconds)), words);
        }
        assert_eq!(ports(&Ports { first: 22, last: 22 }), "22");
        assert_eq!(ports(&Ports { first: 30_000, last: 30_009 }), "30000–30009");
    }
}
