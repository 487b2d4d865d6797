//! Which exit an instance leaves from, read from its circuits and streams. Pure.

use std::collections::BTreeSet;

use crate::desired::Fingerprint;
use crate::observe::ObservedExit;

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
}

impl<'a> Circuit<'a> {
    /// Reads a line of `circuit-status`, which is also the text behind `CIRC`.
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let (id, status) = (words.next()?.parse().ok()?, words.next()?);
        let mut circuit = Self { id, status, path: "", created: "", for_exit: false };
        let (mut is_general, mut is_special) = (false, false);
        for word in words {
            match word.split_once('=') {
                Some(("PURPOSE", purpose)) => is_general = purpose == "GENERAL",
                Some(("BUILD_FLAGS", flags)) => is_special = is_internal(flags),
                Some(("TIME_CREATED", time)) => circuit.created = time,
                // Only the path begins with `$`; with `=` in it, it has the long form `$fingerprint=name`.
                _ if word.starts_with('$') => circuit.path = word,
                _ => {}
            }
        }
        circuit.for_exit = is_general && !is_special;
        Some(circuit)
    }

    /// The last relay of its path.
    fn exit(&self) -> Option<Fingerprint> {
        let last = self.path.rsplit(',').next()?;
        last.split(['~', '=']).next()?.parse().ok()
    }
}

/// Whether a circuit was built for tor's own use.
fn is_internal(flags: &str) -> bool {
    flags.split(',').any(|flag| matches!(flag, "IS_INTERNAL" | "ONEHOP_TUNNEL"))
}

/// Finds the exit: of the newest circuit that carries a stream, or else of the newest one that could.
pub fn exit(circuit_status: &str, stream_status: &str) -> Option<ObservedExit> {
    let carrying = carrying(stream_status);
    let circuits = circuit_status.lines().filter_map(Circuit::parse);
    let usable = circuits.filter(|circuit| circuit.for_exit && circuit.status == "BUILT");
    let newest =
        usable.max_by_key(|circuit| (carrying.contains(&circuit.id), circuit.created.to_owned(), circuit.id))?;
    Some(ObservedExit { fingerprint: newest.exit()?, confirmed: carrying.contains(&newest.id) })
}

/// The circuits that carry a stream. Where the streams go is passed over.
fn carrying(stream_status: &str) -> BTreeSet<u64> {
    let circuit_of = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let status = words.next()?;
        matches!(status, "SENTCONNECT" | "SUCCEEDED").then_some(())?;
        words.next()?.parse().ok()
    };
    stream_status.lines().filter_map(circuit_of).collect()
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
        let exit = exit(&circuits.concat(), streams)?;
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
