//! What the template is given: words and numbers, ready to be shown. Nothing is decided in the template.

mod nodes;

use serde::Serialize;

use super::headline::{self, Headline, Tone};
use super::text::{age, duration, listed, ports};
use super::{Refresh, Visit};
use crate::firewall::model::{Guard, Ports};
use crate::plan::Held;
use crate::status::wire::{ObjectDocument, rfc3339};
use crate::status::{
    Condition, ConditionStatus, ConditionType, DriftItem, Event, Healing, NodeState, Note, PassResult, Repair,
    Severity, Status,
};
use nodes::{Legend, NodeView, PoolView};

/// How many of the latest events are shown.
const EVENTS_SHOWN: usize = 40;
/// How many of those who are locked out are named.
const LOCKOUTS_SHOWN: usize = 3;

/// The whole page.
#[derive(Debug, Serialize)]
pub(super) struct View {
    refresh: bool,
    version: &'static str,
    server: String,
    headline: Headline,
    tiles: Vec<Tile>,
    facts: Vec<Fact>,
    conditions: Vec<Row>,
    notes: Vec<NoteView>,
    drift: Vec<DriftView>,
    repaired: Vec<DriftView>,
    healing: &'static str,
    no_differences: String,
    no_pools: &'static str,
    legend: Vec<Legend>,
    pools: Vec<PoolView>,
    nodes: Vec<NodeView>,
    firewall: FirewallView,
    events: Vec<EventView>,
    client: ClientView,
    made: Time,
}

/// One big number.
#[derive(Debug, Serialize)]
struct Tile {
    tone: Tone,
    label: &'static str,
    value: String,
    note: String,
}

/// A name and a value.
#[derive(Debug, Serialize)]
struct Fact {
    label: &'static str,
    value: String,
    code: bool,
}

/// A condition.
#[derive(Debug, Serialize)]
struct Row {
    tone: Tone,
    name: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
    since: Time,
}

/// A time, for machines and for people.
#[derive(Debug, Serialize)]
struct Time {
    exact: String,
    words: String,
}

/// Something that waits, failed or cannot be had.
#[derive(Debug, Serialize)]
struct NoteView {
    tone: Tone,
    word: &'static str,
    about: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct DriftView {
    message: String,
    since: Time,
}

#[derive(Debug, Serialize)]
struct FirewallView {
    driver: &'static str,
    tone: Tone,
    state: &'static str,
    message: String,
    changed: Option<ChangeView>,
    rules: Vec<Rule>,
}

/// Who changed the guard last.
#[derive(Debug, Serialize)]
struct ChangeView {
    by: String,
    at: Time,
}

/// What the guard closes, and to whom it stays open.
#[derive(Debug, Serialize)]
struct Rule {
    what: &'static str,
    ports: String,
    who: String,
}

#[derive(Debug, Serialize)]
struct EventView {
    at: Time,
    class: &'static str,
    severity: &'static str,
    reason: &'static str,
    about: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct ClientView {
    address: String,
    panel: &'static str,
    socks: &'static str,
}

impl View {
    pub(super) fn of(status: &Status, visit: &Visit) -> Self {
        let time = |at| Time { exact: rfc3339(at), words: age(at, visit.now) };
        Self {
            refresh: visit.refresh == Refresh::On,
            version: env!("CARGO_PKG_VERSION"),
            server: listed(&status.server_addresses, ", "),
            headline: headline::of(status),
            tiles: tiles(status, visit),
            facts: facts(status, visit),
            conditions: status.conditions.iter().map(|condition| row(condition, &time)).collect(),
            notes: notes(status),
            drift: status.drift.items.iter().map(|item| drift(item, &time)).collect(),
            repaired: status.drift.lately.iter().map(|repair| repaired(repair, &time)).collect(),
            healing: match status.healing {
                Healing::Removes => "Drift is removed by the next pass.",
                Healing::Reports => "Drift is reported and left alone, since reconcile.self_heal is `report`.",
            },
            no_differences: no_differences(status),
            no_pools: match status.revision {
                Some(_) => "No pools: the desired state asks for no node.",
                None => "Unknown: no revision is in force.",
            },
            legend: nodes::legend(status),
            pools: nodes::pools(status),
            nodes: nodes::nodes(status),
            firewall: firewall(status, &time),
            events: status.events.iter().rev().take(EVENTS_SHOWN).map(|made| event(made, &time)).collect(),
            client: ClientView {
                address: visit.client.to_canonical().to_string(),
                panel: yes(status.access.panel_has(visit.client)),
                socks: yes(status.access.socks_has(visit.client)),
            },
            made: time(status.made),
        }
    }
}

fn yes(known: bool) -> &'static str {
    if known { "yes" } else { "no" }
}

fn tiles(status: &Status, visit: &Visit) -> Vec<Tile> {
    let ready = status.nodes.iter().filter(|node| node.state == NodeState::Ready).count();
    let serving = status.nodes.iter().filter(|node| node.serving).count();
    let last_read =
        status.source.last_success.map_or_else(|| "never read".to_owned(), |at| format!("read {}", age(at, visit.now)));
    let tile = |kind, label, value, note| Tile { tone: headline::tone(status, kind), label, value, note };
    vec![
        tile(
            ConditionType::Healthy,
            "Nodes ready",
            format!("{ready} / {}", status.nodes.len()),
            format!("{serving} serving"),
        ),
        tile(ConditionType::Drifted, "Drift", drift_count(status), repaired_note(status)),
        tile(
            ConditionType::FirewallInSync,
            "Firewall",
            in_sync(status.firewall.in_sync).to_owned(),
            status.firewall.driver.to_owned(),
        ),
        Tile { tone: source_tone(status), label: "Source", value: source_word(status).to_owned(), note: last_read },
    ]
}

/// What stands in the place of differences where none is known.
fn no_differences(status: &Status) -> String {
    match status.condition(ConditionType::Drifted) {
        Some(drifted) if drifted.status == ConditionStatus::Unknown => format!("Unknown: {}.", drifted.message),
        _ => "None: nothing is left to do, to wait for or to repair.".to_owned(),
    }
}

fn drift_count(status: &Status) -> String {
    match (status.condition_status(ConditionType::Drifted), status.drift.items.len()) {
        (ConditionStatus::Unknown, _) => "unknown".to_owned(),
        (_, 0) => "none".to_owned(),
        (_, count) => count.to_string(),
    }
}

fn repaired_note(status: &Status) -> String {
    match status.drift.repaired.len() {
        0 => "none repaired in the last pass".to_owned(),
        count => format!("{count} repaired in the last pass"),
    }
}

fn source_tone(status: &Status) -> Tone {
    match &status.source.error {
        Some(error) if error.fault.is_refusal() => Tone::Bad,
        _ => headline::tone(status, ConditionType::FetchFailed),
    }
}

fn source_word(status: &Status) -> &'static str {
    match status.source.error.as_ref().map(|error| error.fault.is_refusal()) {
        Some(true) => "refused",
        Some(false) => "unreadable",
        None if status.source.last_success.is_some() => "read",
        None => "unknown",
    }
}

fn in_sync(status: ConditionStatus) -> &'static str {
    match status {
        ConditionStatus::True => "in sync",
        ConditionStatus::False => "not in sync",
        ConditionStatus::Unknown => "unknown",
    }
}

fn facts(status: &Status, visit: &Visit) -> Vec<Fact> {
    let text = |label, value: String| Fact { label, value, code: false };
    let code = |label, value: String| Fact { label, value, code: true };
    let revision = status.revision.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let newer = status.source.offered.as_ref().filter(|offered| Some(*offered) != status.source.accepted.as_ref());
    let since = status.accepted_since.map_or_else(|| "never".to_owned(), |at| age(at, visit.now));
    let mut facts = vec![code("Revision in force", revision)];
    facts.extend(newer.map(|offered| code("Revision offered", offered.to_string())));
    facts.push(text("In force", since));
    facts.push(text("Last pass", last_pass(status, visit)));
    facts.push(text("Daemon started", age(status.started, visit.now)));
    facts.extend(locked_out(status, visit).map(|who| text("Locked out", who)));
    facts
}

/// Who is locked out; of many, those who came first by address, and how many more.
fn locked_out(status: &Status, visit: &Visit) -> Option<String> {
    let lockouts: Vec<_> = status.lockouts.iter().filter(|lockout| lockout.until > visit.now).collect();
    let (shown, more) = lockouts.split_at(lockouts.len().min(LOCKOUTS_SHOWN));
    let more = (!more.is_empty()).then(|| format!("{} more", more.len()));
    let shown: Vec<String> = shown.iter().map(ToString::to_string).chain(more).collect();
    (!shown.is_empty()).then(|| format!("{}: `exitpool unlock` lets in again", shown.join(", ")))
}

fn last_pass(status: &Status, visit: &Visit) -> String {
    let Some(pass) = &status.last_pass else { return "none yet".to_owned() };
    let result = match pass.result {
        PassResult::Success => "nothing left to do",
        PassResult::Error => "something failed",
        PassResult::Requeue => "something under way",
    };
    format!("{}, took {}: {result}", age(pass.ended(), visit.now), duration(pass.duration))
}

fn row(condition: &Condition, time: &impl Fn(jiff::Timestamp) -> Time) -> Row {
    Row {
        tone: headline::tone_of(condition),
        name: condition.kind.as_str(),
        status: condition.status.as_str(),
        reason: condition.reason.as_str(),
        message: condition.message.clone(),
        since: time(condition.last_transition_time),
    }
}

/// What is not as desired and is not drift: what failed, what cannot be had, what is to be done, what is waited for.
fn notes(status: &Status) -> Vec<NoteView> {
    let failures = status.failures.iter().map(|(object, failure)| NoteView {
        tone: Tone::Bad,
        word: "failed",
        about: object.to_string(),
        message: crate::status::describe::describe_failure(failure),
    });
    let note = |tone, word| {
        move |note: &Note| NoteView { tone, word, about: note.object.to_string(), message: note.message.clone() }
    };
    failures
        .chain(status.blocked.iter().map(note(Tone::Bad, "blocked")))
        .chain(status.held.iter().map(held))
        .chain(status.pending.iter().map(note(Tone::Work, "to do")))
        .chain(status.waiting.iter().map(note(Tone::Work, "waiting")))
        .chain(status.warnings.iter().map(|warning| NoteView {
            tone: Tone::Warn,
            word: "warning",
            about: warning.reason.to_string(),
            message: warning.message.clone(),
        }))
        .collect()
}

fn held(held: &Held) -> NoteView {
    let message = format!("{} {}", held.step.action, held.reason);
    NoteView { tone: Tone::Warn, word: "held", about: held.step.object.to_string(), message }
}

fn drift(item: &DriftItem, time: &impl Fn(jiff::Timestamp) -> Time) -> DriftView {
    DriftView { message: item.told(), since: time(item.since) }
}

fn repaired(repair: &Repair, time: &impl Fn(jiff::Timestamp) -> Time) -> DriftView {
    DriftView { message: repair.item.told(), since: time(repair.at) }
}

fn firewall(status: &Status, time: &impl Fn(jiff::Timestamp) -> Time) -> FirewallView {
    let condition = status.condition(ConditionType::FirewallInSync);
    FirewallView {
        driver: status.firewall.driver,
        tone: headline::tone(status, ConditionType::FirewallInSync),
        state: in_sync(status.firewall.in_sync),
        message: condition.map(|condition| condition.message.clone()).unwrap_or_default(),
        changed: status.firewall.changed_by.as_ref().map(|by| ChangeView { by: by.to_string(), at: time(by.at) }),
        rules: status.firewall.guard.as_ref().map(rules).unwrap_or_default(),
    }
}

fn rules(guard: &Guard) -> Vec<Rule> {
    let nobody = || "nobody but this host".to_owned();
    let who = |list: &[ipnet::IpNet]| if list.is_empty() { nobody() } else { listed(list, ", ") };
    let socks = (!guard.socks_ports.is_empty()).then(|| Rule {
        what: "SOCKS",
        ports: guard.socks_ports.iter().map(ports).collect::<Vec<_>>().join(", "),
        who: who(&guard.socks_allow),
    });
    let panel =
        guard.panel_port.map(|port| Rule { what: "This page", ports: port.to_string(), who: who(&guard.panel_allow) });
    let control =
        guard.control_ports.as_ref().map(|range: &Ports| Rule { what: "Control", ports: ports(range), who: nobody() });
    let echo = Rule { what: "Ping", ports: "ICMP echo".to_owned(), who: format!("{} a second", guard.icmp_per_second) };
    socks.into_iter().chain(panel).chain(control).chain([echo]).collect()
}

fn event(event: &Event, time: &impl Fn(jiff::Timestamp) -> Time) -> EventView {
    let ObjectDocument { kind, name } = ObjectDocument::from(&event.about);
    EventView {
        at: time(event.at),
        class: match event.severity {
            Severity::Info => "i",
            Severity::Error => "f",
        },
        severity: event.severity.as_str(),
        reason: event.reason.as_str(),
        about: if kind == name { name } else { format!("{kind} {name}") },
        message: event.message.clone(),
    }
}
