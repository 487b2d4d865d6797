//! Load by wrk, and what it says of it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// How many connections ask at once.
pub const CONNECTIONS: usize = 16;

/// What came out of one measurement.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Requests a second.
    pub rate: f64,
    /// Below this stay 99 of 100 requests.
    pub p99: Duration,
}

impl Load {
    /// Asks for one path for some time, over connections that stay open.
    pub fn of(address: SocketAddr, path: &str, token: &str, span: Duration) -> Self {
        let output = Command::new("wrk")
            .args(["--threads", "1", "--connections", &CONNECTIONS.to_string(), "--latency"])
            .args([
                "--duration",
                &format!("{}s", span.as_secs()),
                "--header",
                &format!("Authorization: Bearer {token}"),
            ])
            .arg(format!("http://{address}{path}"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && !said.contains("Non-2xx"), "{path}: {said}");
        Self { rate: behind(&said, "Requests/sec:").parse().unwrap(), p99: span_of(behind(&said, "99%")) }
    }

    /// The middle one by its rate.
    pub fn median(mut loads: Vec<Self>) -> Self {
        loads.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        loads[loads.len() / 2]
    }
}

/// The word behind another one, at the beginning of a line.
fn behind<'a>(said: &'a str, word: &str) -> &'a str {
    said.lines().find_map(|line| line.trim().strip_prefix(word)).unwrap_or_else(|| panic!("no {word} in {said}")).trim()
}

/// Reads a span as wrk writes it: `812.00us`, `3.41ms`, `1.20s`.
fn span_of(text: &str) -> Duration {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text[..text.len() - unit.len()].parse().unwrap();
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => panic!("{text} is no span"),
    };
    Duration::from_secs_f64(number * seconds)
}
