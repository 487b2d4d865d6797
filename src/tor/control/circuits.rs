//! Which exit an instance leaves from, read from its circuits and streams. Pure.

use std::collections::BTreeSet;

use crate::desired::Fingerprint;
use crate::observe::{GuardRelay, ObservedExit};

/// A circuit, as `GETINFO circuit-status` lists it and a `CIRC` event announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit<'a> {
    /// tor's number for it.
    pub id: u64,
    /// `LAUNCHED`, `BUILT`, `EXTENDED`, `FAILED`, `CLOSED` and some more.
    pub status: &'a str,
    /// The relays of its path, as `$fingerprint~name` between commas.
    path: &'a str,
    /// When it was made, in UTC: `2026-01-02T03:04:05.678901`, which orders as text.
    created: &'a str,
    /// Whether it may carry a consumer's stream to an exit.
    pub for_exit: bool,
    /// Why it is gone, where it is, as tor's one word.
    reason: &'a str,
}

impl<'a> Circuit<'a> {
    /// Reads a line of `circuit-status`, which is also the text behind `CIRC`.
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let (id, status) = (words.next()?.parse().ok()?, words.next()?);
        let mut circuit = Self { id, status, path: "", created: "", for_exit: false, reason: "" };
        let (mut is_general, mut is_special) = (false, false);
        for word in words {
            match word.split_once('=') {
                Some(("PURPOSE", purpose)) => is_general = purpose == "GENERAL",
                Some(("BUILD_FLAGS", flags)) => is_special = is_internal(flags),
                Some(("TIME_CREATED", time)) => circuit.created = time,
                Some(("REASON", reason)) => circuit.reason = reason,
                // Only the path begins with `$`; with `=` in it, it has the long form `$fingerprint=name`.
                _ if word.starts_with('$') => circuit.path = word,
                _ => {}
            }
        }
        circuit.for_exit = is_general && !is_special;
        Some(circuit)
    }

    /// Whether nothing more becomes of it on its way: it is built, or will not be.
    pub fn is_over(&self) -> bool {
        matches!(self.status, "BUILT" | "FAILED" | "CLOSED")
    }

    /// Whether it is gone because somebody, or tor itself, did not want it any more.
    pub fn is_unwanted(&self) -> bool {
        matches!(self.reason, "REQUESTED" | "FINISHED" | "NONE" | "IP_NOW_REDUNDANT")
    }

    /// The last relay of its path.
    fn exit(&self) -> Option<Fingerprint> {
        Some(relay(self.path.rsplit(',').next()?)?.fingerprint)
    }
}

/// Reads a relay of a path: `$fingerprint~name`, `$fingerprint=name` or `$fingerprint`.
fn relay(word: &str) -> Option<GuardRelay> {
    let (fingerprint, nickname) = word.split_once(['~', '=']).unwrap_or((word, ""));
    Some(GuardRelay { fingerprint: fingerprint.parse().ok()?, nickname: nickname.to_owned() })
}

/// Whether a circuit was built for tor's own use.
fn is_internal(flags: &str) -> bool {
    flags.split(',').any(|flag| matches!(flag, "IS_INTERNAL" | "ONEHOP_TUNNEL"))
}

/// Finds the exit: of the newest circuit that carries a stream, or else of the newest one that could. Those from before
/// `since` are passed over, since no new connection uses them.
pub fn exit(circuit_status: &str, stream_status: &str, since: &str) -> Option<ObservedExit> {
    let carrying = carrying(stream_status);
    let usable = for_exits(circuit_status).filter(|circuit| circuit.status == "BUILT" && circuit.created >= since);
    let newest =
        usable.max_by_key(|circuit| (carrying.contains(&circuit.id), circuit.created.to_owned(), circuit.id))?;
    Some(ObservedExit { fingerprint: newest.exit()?, confirmed: carrying.contains(&newest.id) })
}

/// The guard relays that built circuits begin at. tor's own list of guards holds those as well that it has never used.
pub fn guard_relays(circuit_status: &str) -> BTreeSet<GuardRelay> {
    let built = for_exits(circuit_status).filter(|circuit| circuit.status == "BUILT");
    built.filter_map(|circuit| relay(circuit.path.split(',').next()?)).collect()
}

/// The circuits from before a time that no stream is attached to, in whatever state.
pub fn idle_before(circuit_status: &str, stream_status: &str, time: &str) -> Vec<u64> {
    let attached: BTreeSet<u64> = streams(stream_status).map(|(_, circuit)| circuit).collect();
    let idle = |circuit: &Circuit<'_>| circuit.created < time && !attached.contains(&circuit.id);
    for_exits(circuit_status).filter(idle).map(|circuit| circuit.id).collect()
}

/// Whether there is a circuit that was begun at a time or later.
pub fn has_one_since(circuit_status: &str, time: &str) -> bool {
    for_exits(circuit_status).any(|circuit| circuit.created >= time)
}

/// The circuits that may carry a consumer's stream and are there, or on their way.
fn for_exits(circuit_status: &str) -> impl Iterator<Item = Circuit<'_>> {
    let is_gone = |circuit: &Circuit<'_>| matches!(circuit.status, "FAILED" | "CLOSED");
    circuit_status.lines().filter_map(Circuit::parse).filter(move |circuit| circuit.for_exit && !is_gone(circuit))
}

/// The circuits that carry a stream.
fn carrying(stream_status: &str) -> BTreeSet<u64> {
    let carries = |state: &str| matches!(state, "SENTCONNECT" | "SUCCEEDED");
    streams(stream_status).filter(|(state, _)| carries(state)).map(|(_, circuit)| circuit).collect()
}

/// The streams' states and circuits; 0 stands for none. Where they go is passed over.
fn streams(stream_status: &str) -> impl Iterator<Item = (&str, u64)> {
    stream_status.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(exit: char) -> String {
        let relay = |digit: char| format!("${}~r", digit.to_string().repeat(40));
        format!("{},{},{}", relay('1'), relay('2'), relay(exit))
    }

    fn circuit(id: u64, exit: char, rest: &str) -> String {
        format!("{id} BUILT {} {rest} TIME_CREATED=2026-01-01T00:00:{id:02}.000000\n", path(exit))
    }

    const GENERAL: &str = "BUILD_FLAGS=NEED_CAPACITY PURPOSE=GENERAL";

    fn found(circuits: &[String], streams: &str) -> Option<(char, bool)> {
        let exit = exit(&circuits.concat(), streams, "")?;
        Some((exit.fingerprint.to_string().chars().next()?, exit.confirmed))
    }

    #[test]
    fn the_newest_idle_circuit_is_a_guess() {
        let circuits = [circuit(1, 'A', GENERAL), circuit(2, 'B', GENERAL)];
        assert_eq!(found(&circuits, ""), Some(('B', false)));
    }

    #[test]
    fn a_circuit_with_a_stream_is_certain() {
        let circuits = [circuit(1, 'A', GENERAL), circuit(2, 'B', GENERAL)];
        assert_eq!(found(&circuits, "9 SUCCEEDED 1 192.0.2.1:443\n"), Some(('A', true)));
        assert_eq!(found(&circuits, "9 NEW 0 192.0.2.1:443\n"), Some(('B', false)));
    }

    #[test]
    fn what_is_from_before_a_rotation_is_no_exit_and_idle_unless_a_stream_is_attached() {
        let circuits = [circuit(1, 'A', GENERAL), circuit(2, 'B', GENERAL), circuit(3, 'C', GENERAL)].concat();
        let streams = "9 SUCCEEDED 1 192.0.2.1:443\n10 DETACHED 2 192.0.2.1:443\n";
        let of = |since: &str| exit(&circuits, streams, since).map(|exit| exit.confirmed);
        assert_eq!((of(""), of("2026-01-01T00:00:03"), of("2026-01-01T00:00:04")), (Some(true), Some(false), None));
        assert_eq!(idle_before(&circuits, streams, "2026-01-01T00:00:04"), [3]);
        assert_eq!(idle_before(&circuits, "", "2026-01-01T00:00:03"), [1, 2]);
        assert!(has_one_since(&circuits, "2026-01-01T00:00:03") && !has_one_since(&circuits, "2026-01-01T00:00:04"));
    }

    #[test]
    fn the_guard_relays_are_those_that_built_circuits_begin_at() {
        let elsewhere = circuit(2, 'A', GENERAL)
            .replace("$1111111111111111111111111111111111111111~r", "$2222222222222222222222222222222222222222");
        let unbuilt = circuit(3, 'A', GENERAL).replace("$1", "$3").replace("BUILT", "EXTENDED");
        let own = circuit(4, 'A', "BUILD_FLAGS=ONEHOP_TUNNEL,IS_INTERNAL PURPOSE=GENERAL").replace("$1", "$4");
        let circuits = [circuit(1, 'A', GENERAL), elsewhere, unbuilt, own].concat();
        let found: Vec<String> = guard_relays(&circuits).iter().map(ToString::to_string).collect();
        assert_eq!(found, [format!("r ({})", "1".repeat(40)), "2".repeat(40)]);
    }

    #[test]
    fn circuits_for_tors_own_use_are_none() {
        let circuits = [
            circuit(1, 'A', "BUILD_FLAGS=IS_INTERNAL,NEED_CAPACITY PURPOSE=GENERAL"),
            circuit(2, 'B', "BUILD_FLAGS=ONEHOP_TUNNEL,IS_INTERNAL PURPOSE=GENERAL"),
            circuit(3, 'C', "BUILD_FLAGS=NEED_CAPACITY PURPOSE=CONFLUX_UNLINKED"),
            circuit(4, 'D', GENERAL).replace("BUILT", "EXTENDED"),
        ];
        assert_eq!(found(&circuits, ""), None);
    }

    #[test]
    fn the_long_form_of_a_path_is_read() {
        let circuits = [circuit(1, 'E', GENERAL).replace('~', "=")];
        assert_eq!(found(&circuits, ""), Some(('E', false)));
    }
}
