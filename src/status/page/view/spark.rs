//! Sparklines: the paths of small drawings, a column a value.

use std::fmt::Write as _;

use crate::status::history::KEPT;

/// How wide a column is, and how high a drawing, in units of the drawing.
const STEP: usize = 2;
const HEIGHT: u32 = 20;
/// How many columns the drawing of a node has: each is two of the history, since a row is short.
const OF_NODE: usize = KEPT / 2;

/// A line through what is known, with a gap where nothing is.
pub(super) fn line(values: &[Option<u16>; KEPT]) -> String {
    path(values.iter().copied())
}

/// The same for a row of the table: the later of each two values.
pub(super) fn short_line(values: &[Option<u16>; KEPT]) -> String {
    path((0..OF_NODE).map(|at| values[2 * at + 1].or(values[2 * at])))
}

/// A bar for each value that is not zero.
pub(super) fn bars(values: &[u32; KEPT]) -> String {
    let highest = values.iter().copied().max().unwrap_or(0).max(1);
    let mut path = String::new();
    for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let height = (value * HEIGHT / highest).max(2);
        let _ = write!(path, "M{} {HEIGHT}v-{height}", at * STEP + 1);
    }
    path
}

fn path(values: impl Iterator<Item = Option<u16>> + Clone) -> String {
    let highest = values.clone().flatten().max().unwrap_or(0).max(4);
    // What hardly changes is drawn as what hardly changes.
    let lowest = values.clone().flatten().min().unwrap_or(0).min(highest - highest / 4);
    let height = |value: u16| HEIGHT - 1 - u32::from(value - lowest) * (HEIGHT - 2) / u32::from(highest - lowest);
    let mut path = String::new();
    let mut last = None;
    for (at, value) in values.enumerate() {
        let now = value.map(height);
        match (last, now) {
            (_, None) => {}
            // A point of its own is as wide as a column, or nobody would see it.
            (None, Some(now)) => _ = write!(path, "M{} {now}h{STEP}", at * STEP),
            (Some(last), Some(now)) if last == now => _ = write!(path, "h{STEP}"),
            (Some(_), Some(now)) => _ = write!(path, "L{} {now}", (at + 1) * STEP),
        }
        last = now;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_show_what_changes_and_have_gaps() {
        let mut values = [None; KEPT];
        assert_eq!((line(&values), bars(&[0; KEPT])), (String::new(), String::new()));
        values[1..6].copy_from_slice(&[Some(100), Some(100), Some(100), None, Some(100)]);
        assert_eq!(line(&values), "M2 1h2h2h2M10 1h2", "no mountains of nothing");
        values[1..6].copy_from_slice(&[Some(50), Some(100), Some(100), None, Some(0)]);
        assert_eq!(line(&values), "M2 10h2L6 1h2M10 19h2");
        assert_eq!(short_line(&values), "M0 10h2L4 1L6 19", "a gap of one column is not seen here");
        let mut rotations = [0; KEPT];
        (rotations[0], rotations[47]) = (1, 100);
        assert_eq!(bars(&rotations), "M1 20v-2M95 20v-20");
    }
}
