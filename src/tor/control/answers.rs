//! What an instance says of itself, read from the answers to GETINFO and GETCONF. Pure.

use std::collections::BTreeMap;

use super::framing::Message;
use super::{Heard, circuits};
use crate::observe::{Bootstrap, Control};
use crate::tor::options::RunningOptions;

/// The one question that every look asks.
pub const QUESTION: &str = "GETINFO version process/pid config-text status/bootstrap-phase status/circuit-established \
    network-liveness net/listeners/socks circuit-status stream-status consensus/valid-after";

/// What is asked where nothing but circuits can have changed.
pub const CIRCUITS: &str = "GETINFO status/circuit-established circuit-status stream-status";

/// The answers to a GETINFO, by keyword.
#[derive(Debug)]
pub struct Answers<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Answers<'a> {
    /// Reads a reply to GETINFO.
    pub fn of(reply: &'a Message) -> Self {
        let answer = |line: &'a super::framing::Line| {
            let (keyword, value) = line.text.split_once('=')?;
            Some((keyword, line.data.as_deref().unwrap_or(value)))
        };
        Self(reply.lines.iter().filter_map(answer).collect())
    }

    /// The answer for a keyword; empty when there is none.
    pub fn get(&self, keyword: &str) -> &'a str {
        self.0.get(keyword).copied().unwrap_or_default()
    }

    /// The process id.
    pub fn pid(&self) -> Option<u32> {
        self.get("process/pid").parse().ok()
    }

    /// The options of `config-text`.
    pub fn options(&self) -> RunningOptions {
        RunningOptions::parse(self.get("config-text"))
    }

    /// Writes what the answers say of circuits over what was known of them.
    pub fn renew_circuits(&self, control: &mut Control, heard: Heard) {
        let Heard { latency_ms, renewal, renewed_at, unsafe_socks, begun } = heard;
        control.circuit_established = self.get("status/circuit-established") == "1";
        control.exit = circuits::exit(self.get("circuit-status"), self.get("stream-status"), &renewed_at);
        control.connections = self.get("stream-status").lines().filter(|line| !line.trim().is_empty()).count();
        control.latency_ms = latency_ms;
        control.renewal = renewal;
        control.unsafe_socks = unsafe_socks;
        control.begun = begun;
        let guard_relays = circuits::guard_relays(self.get("circuit-status"));
        // An idle tor lets its circuits go, and keeps its guard relays.
        if !guard_relays.is_empty() {
            control.guard_relays = guard_relays;
        }
    }

    /// Everything else, put together with the options and with what was heard.
    pub fn control(&self, options: RunningOptions, heard: Heard) -> Control {
        let mut control = Control {
            version: self.get("version").split(' ').next().unwrap_or_default().to_owned(),
            options,
            bootstrap: bootstrap(self.get("status/bootstrap-phase")),
            network_live: match self.get("network-liveness") {
                "up" => Some(true),
                "down" => Some(false),
                _ => None,
            },
            // Listeners on AF_UNIX sockets are no addresses and are passed over.
            socks_listeners: words(self.get("net/listeners/socks")).filter_map(|word| word.parse().ok()).collect(),
            ..Control::default()
        };
        self.renew_circuits(&mut control, heard);
        control
    }
}

/// Reads the lines of a reply to GETCONF.
pub fn settings(reply: &Message) -> impl Iterator<Item = &str> {
    reply.lines.iter().map(|line| line.text.as_str())
}

/// Reads `NOTICE BOOTSTRAP PROGRESS=85 TAG=… SUMMARY="…"`.
fn bootstrap(line: &str) -> Bootstrap {
    let fields: BTreeMap<String, String> = words(line)
        .filter_map(|word| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect();
    let field = |key: &str| fields.get(key).cloned();
    let is_warned_of = field("RECOMMENDATION").as_deref() == Some("warn");
    Bootstrap {
        progress: field("PROGRESS").and_then(|percent| percent.parse().ok()).unwrap_or_default(),
        summary: field("SUMMARY").unwrap_or_default(),
        warning: field("WARNING").filter(|_| is_warned_of),
        ignorable: field("RECOMMENDATION").as_deref() == Some("ignore"),
    }
}

/// Splits at spaces, where text in quotes is one word; the quotes are taken away.
fn words(text: &str) -> impl Iterator<Item = String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.into_iter().filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::framing::Framing;
    use super::*;

    fn reply(wire: &str) -> Message {
        let mut framing = Framing::default();
        framing.buffer.extend_from_slice(wire.as_bytes());
        framing.next().unwrap().unwrap()
    }

    #[test]
    fn a_look_is_read_as_a_whole() {
        let reply = reply(
            "250-version=0.4.9.11\r\n250-process/pid=20170\r\n250+config-text=\r\nSocksPort 0\r\nMaxMemInQueues 1\r\n.\r\n\
             250-status/bootstrap-phase=WARN BOOTSTRAP PROGRESS=85 TAG=x SUMMARY=\"Finishing \\\"it\\\"\" \
             WARNING=\"No route\" REASON=NOROUTE COUNT=11 RECOMMENDATION=warn\r\n\
             250-status/circuit-established=1\r\n250-network-liveness=up\r\n\
             250-net/listeners/socks=\"127.0.0.1:30000\" \"[::1]:30000\" \"unix:/x\"\r\n250 OK\r\n",
        );
        let answers = Answers::of(&reply);
        assert_eq!(answers.pid(), Some(20170));
        let control = answers.control(answers.options(), Heard { latency_ms: Some(7), ..Heard::default() });
        assert_eq!((control.version.as_str(), control.latency_ms), ("0.4.9.11", Some(7)));
        assert_eq!(control.bootstrap.progress, 85);
        assert_eq!(control.bootstrap.summary, "Finishing \"it\"");
        assert_eq!(control.bootstrap.warning.as_deref(), Some("No route"));
        assert_eq!((control.circuit_established, control.network_live), (true, Some(true)));
        assert_eq!(control.socks_listeners.len(), 2);
        assert_eq!(control.options.values("MaxMemInQueues"), ["1"]);
    }

    #[test]
    fn a_problem_that_tor_would_ignore_is_no_warning() {
        let line = "WARN BOOTSTRAP PROGRESS=5 SUMMARY=\"x\" WARNING=\"y\" RECOMMENDATION=ignore";
        assert_eq!((bootstrap(line).warning, bootstrap(line).ignorable), (None, true));
    }
}
