//! What `exitpool status --watch` draws: the page's answers in the page's order, cut to the terminal.

use std::fmt::Display;

use clap::builder::styling::{AnsiColor, Style};
use serde_json::Value;

use crate::cli::output::Size;
use crate::daemon::socket::Report;
use crate::status::wire::{EventDocument, ObjectDocument};

/// So many nodes that are not ready, and things that are left, are said in words.
const WORDS: usize = 8;

/// The states with their shapes: the colour says nothing that the shape does not.
const SHAPES: [(&str, char, AnsiColor); 6] = [
    ("ready", '●', AnsiColor::Green),
    ("bootstrapping", '◐', AnsiColor::Blue),
    ("pending", '○', AnsiColor::White),
    ("degraded", '▲', AnsiColor::Yellow),
    ("failed", '✗', AnsiColor::Red),
    ("suspended", '‖', AnsiColor::Magenta),
];

/// A line: texts, each with its style.
type Line = Vec<(Style, String)>;

const PLAIN: Style = Style::new();
const BOLD: Style = Style::new().bold();
const SOFT: Style = Style::new().dimmed();

/// Draws a screen, no line wider and none more than fit. `lost` says that this is what was known last.
pub(super) fn draw(report: &Report, lost: Option<&dyn Display>, size: Size) -> String {
    let mut lines = head(report, lost);
    lines.extend(pools(&report.status, &report.nodes, size.columns));
    lines.extend(list("", &[firewall(&report.status)]));
    lines.extend(list("LEFT TO DO", &report.failures.iter().chain(&report.left).cloned().collect::<Vec<_>>()));
    lines.extend(list("NOT READY", &troubles(&report.nodes)));
    let room = size.rows.saturating_sub(lines.len() + 2);
    let events: Vec<String> = events(report, None).into_iter().rev().take(room).collect();
    lines.extend(list("LATEST EVENTS", &events));
    let shown = lines.into_iter().take(size.rows).map(|line| cut(line, size.columns));
    shown.collect::<Vec<_>>().join("\n")
}

/// The events as lines, oldest first; those after one alone, where it is named.
pub(super) fn events(report: &Report, after: Option<u64>) -> Vec<String> {
    let new = report.events.events.iter().filter(|event| after.is_none_or(|after| event.id > after));
    let told = |event: &EventDocument| {
        let ObjectDocument { kind, name } = &event.object;
        let about = if kind == name { name.clone() } else { format!("{kind} {name}") };
        format!("{}Z {about} {}", event.timestamp.get(..19).unwrap_or_default(), event.message)
    };
    new.map(told).collect()
}

fn head(report: &Report, lost: Option<&dyn Display>) -> Vec<Line> {
    let mut sentences = report.headline.iter();
    let style = if report.converged { BOLD.fg_color(Some(AnsiColor::Green.into())) } else { BOLD };
    let first: Line = vec![(style, sentences.next().cloned().unwrap_or_default())];
    let lost = lost.map(|error| vec![(BOLD.fg_color(Some(AnsiColor::Red.into())), format!("As it was last: {error}"))]);
    let more = sentences.map(|sentence| vec![(SOFT, sentence.clone())]);
    let revision = vec![(SOFT, format!("revision {}", word(&report.status["revision"])))];
    lost.into_iter().chain([first]).chain(more).chain([revision, Vec::new()]).collect()
}

/// A pool a line, or more where its shapes need them.
fn pools(status: &Value, nodes: &Value, columns: usize) -> Vec<Line> {
    let pools: Vec<&Value> = status["pools"].as_array().into_iter().flatten().collect();
    let name_width = pools.iter().map(|pool| word(&pool["name"]).chars().count()).max().unwrap_or(0);
    let label = |pool: &Value| {
        let (ready, desired) = (pool["ready"].to_string(), pool["desired"].to_string());
        format!("{:name_width$}  {ready:>4}/{desired:<4}  ", word(&pool["name"]))
    };
    let room = columns.saturating_sub(name_width + 13).max(10);
    let mut lines = Vec::new();
    for pool in pools {
        let shapes: Line = all(nodes).filter(|node| node["pool"] == pool["name"]).map(shape).collect();
        let rows: Vec<&[(Style, String)]> = if shapes.is_empty() { vec![&[]] } else { shapes.chunks(room).collect() };
        for (at, row) in rows.into_iter().enumerate() {
            let label = if at == 0 { label(pool) } else { " ".repeat(name_width + 13) };
            lines.push([&[(PLAIN, label)], row].concat());
        }
    }
    let count = |state: &str| all(nodes).filter(|node| node["state"] == state).count();
    let legend = SHAPES.into_iter().filter(|(state, ..)| count(state) > 0).flat_map(|(state, shape, colour)| {
        let number = format!(" {} {state}   ", count(state));
        [(PLAIN.fg_color(Some(colour.into())), shape.to_string()), (SOFT, number)]
    });
    lines.push(legend.collect());
    lines
}

fn shape(node: &Value) -> (Style, String) {
    let found = SHAPES.into_iter().find(|(state, ..)| node["state"] == *state);
    found.map_or((PLAIN, "?".to_owned()), |(_, shape, colour)| (PLAIN.fg_color(Some(colour.into())), shape.to_string()))
}

fn firewall(status: &Value) -> String {
    let in_sync = match status["firewall"]["in_sync"].as_bool() {
        Some(true) => "in sync",
        Some(false) => "NOT in sync",
        None => "unknown",
    };
    format!("firewall  {}, {in_sync}", word(&status["firewall"]["driver"]))
}

fn troubles(nodes: &Value) -> Vec<String> {
    let trouble = |node: &Value| {
        let ready = node["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Ready")?;
        let message = Some(word(&ready["message"])).filter(|_| ready["status"] != "True")?;
        Some(format!("{} {}: {message}", word(&node["name"]), word(&node["state"])))
    };
    all(nodes).filter_map(trouble).collect()
}

/// A heading and what stands under it; nothing where there is nothing.
fn list(heading: &str, sentences: &[String]) -> Vec<Line> {
    if sentences.is_empty() {
        return Vec::new();
    }
    let heading = (!heading.is_empty()).then(|| vec![(SOFT, heading.to_owned())]);
    let most = if heading.as_ref().is_some_and(|line| line[0].1 == "LATEST EVENTS") { sentences.len() } else { WORDS };
    let more = sentences.len().saturating_sub(most);
    let more = (more > 0).then(|| vec![(SOFT, format!("and {more} more"))]);
    let shown = sentences.iter().take(most).map(|sentence| vec![(PLAIN, sentence.clone())]);
    std::iter::once(Vec::new()).chain(heading).chain(shown).chain(more).collect()
}

/// Writes a line with its styles, cut to a width.
fn cut(line: Line, columns: usize) -> String {
    let whole: usize = line.iter().map(|(_, text)| text.chars().count()).sum();
    let mut room = if whole > columns { columns.saturating_sub(1) } else { columns };
    let mut written = String::new();
    for (style, text) in line {
        let text: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(room).collect();
        room -= text.chars().count();
        written += &format!("{style}{text}{style:#}");
    }
    if whole > columns { written + "…" } else { written }
}

fn all(nodes: &Value) -> impl Iterator<Item = &Value> {
    nodes["nodes"].as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SMALL: Size = Size { columns: 80, rows: 24 };

    fn report(nodes: usize) -> Report {
        let node = |at: usize| {
            let ready =
                json!({"type": "Ready", "status": if at == 1 { "False" } else { "True" }, "message": "x".repeat(90)});
            let state = if at == 1 { "failed" } else { "ready" };
            json!({"name": format!("eu-{at}"), "pool": "eu", "state": state, "conditions": [ready]})
        };
        let event = |id: u64| {
            let object = json!({"kind": "node", "name": "eu-1"});
            json!({"severity": "info", "reason": "Succeeded", "id": id, "timestamp": "2026-03-01T12:00:00.123Z", "object": object, "message": format!("is so {id}")})
        };
        serde_json::from_value(json!({
            "converged": false, "applied": [], "failures": [], "left": ["\u{1b}[31mdo it"],
            "headline": ["Node eu-1 failed.", "Besides: 1 to do."],
            "status": {
                "revision": "main@sha1:aa", "firewall": {"driver": "nftables", "in_sync": true},
                "pools": [{"name": "eu", "desired": nodes, "ready": nodes - 1}],
            },
            "nodes": {"nodes": (0..nodes).map(node).collect::<Vec<_>>()},
            "events": {"events": (1..40).map(event).collect::<Vec<_>>()},
        }))
        .unwrap()
    }

    #[test]
    fn everything_fits_the_terminal_whatever_its_size() {
        for (nodes, size) in
            [(3, SMALL), (1_000, SMALL), (200, Size { columns: 20, rows: 5 }), (3, Size { columns: 1, rows: 1 })]
        {
            let drawn = anstream::adapter::strip_str(&draw(&report(nodes), None, size)).to_string();
            assert!(drawn.lines().count() <= size.rows, "{drawn}");
            assert!(drawn.lines().all(|line| line.chars().count() <= size.columns), "{drawn}");
        }
    }

    #[test]
    fn the_first_questions_are_answered_first() {
        let drawn = draw(&report(3), None, SMALL);
        let plain = anstream::adapter::strip_str(&drawn).to_string();
        let told = [
            "Node eu-1 failed.",
            "Besides: 1 to do.",
            "revision main@sha1:aa",
            "eu     2/3     ●✗●",
            "● 2 ready   ✗ 1 failed",
            "firewall  nftables, in sync",
            "LEFT TO DO",
            " [31mdo it",
            "NOT READY",
            "eu-1 failed: xxx",
            "LATEST EVENTS",
            "2026-03-01T12:00:00Z node eu-1 is so 39",
        ];
        let places: Vec<usize> =
            told.iter().map(|it| plain.find(it).unwrap_or_else(|| panic!("{it}: {plain}"))).collect();
        assert!(places.is_sorted(), "{plain}");
        assert!(!drawn.contains("\u{1b}[31mdo it"), "what others say moves no cursor");
        let lost = draw(&report(3), Some(&"no daemon"), SMALL);
        assert!(anstream::adapter::strip_str(&lost).to_string().starts_with("As it was last: no daemon\nNode eu-1"));
    }

    #[test]
    fn only_events_that_are_new_are_told_again() {
        assert_eq!(
            events(&report(2), Some(37)),
            ["2026-03-01T12:00:00Z node eu-1 is so 38", "2026-03-01T12:00:00Z node eu-1 is so 39"]
        );
        assert_eq!(events(&report(2), None).len(), 39);
    }
}
