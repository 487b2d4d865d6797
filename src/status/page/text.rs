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
