//! What the template is given: words and numbers, ready to be shown. Nothing is decided in the template.

mod firewall;
mod lists;
mod nodes;
mod places;
mod spark;
mod warning;

use serde::Serialize;

use super::Visit;
use super::asked::{Asked, Refresh};
use super::headline::{self, Headline, Tone};
use super::text::{age, duration, listed};
use crate::status::wire::rfc3339;
use crate::status::{ConditionStatus, ConditionType, Healing, NodeState, PassResult, Signatures, Status};
use firewall::FirewallView;
use lists::{AlertView, Differences, EventView, Row};
use nodes::{Nodes, Pools};
use places::Places;
use warning::Warning;

/// How many of those who are locked out are named.
const LOCKOUTS_SHOWN: usize = 3;

/// The whole page.
#[derive(Debug, Serialize)]
pub(super) struct View {
    refresh: bool,
    /// The link that pauses the page, or lets it go on.
    toggle: String,
    /// The pool that is shown alone.
    pool: Option<String>,
    version: &'static str,
    server: Vec<String>,
    headline: Headline,
    warning: Option<Warning>,
    tiles: Vec<Tile>,
    facts: Vec<Fact>,
    conditions: Vec<Row>,
    differences: Differences,
    healing: &'static str,
    pools: Pools,
    places: Option<Places>,
    nodes: Nodes,
    firewall: FirewallView,
    alerts: Vec<AlertView>,
    more_alerts: usize,
    events: Vec<EventView>,
    /// The id of the newest event.
    event: u64,
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

/// A time, for machines and for people.
#[derive(Debug, Serialize)]
struct Time {
    exact: String,
    words: String,
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
        let (alerts, more_alerts) = lists::alerts(status, &time);
        let asked = &visit.asked;
        let toggle = match asked.refresh {
            Refresh::On => Refresh::Off,
            Refresh::Off => Refresh::On,
        };
        Self {
            refresh: asked.refresh == Refresh::On,
            toggle: Asked { refresh: toggle, ..asked.clone() }.link(),
            pool: asked.pool.clone(),
            version: env!("CARGO_PKG_VERSION"),
            server: status.server_addresses.iter().map(ToString::to_string).collect(),
            headline: headline::of(status),
            warning: warning::of(status, visit),
            tiles: tiles(status, visit),
            facts: facts(status, visit),
            conditions: lists::conditions(status, &time),
            differences: lists::differences(status, &time),
            healing: match status.healing {
                Healing::Removes => "removed when found",
                Healing::Reports => "reported and left alone",
            },
            pools: nodes::pools(status, visit),
            places: places::of(status, nodes::asked(status, visit).into_iter()),
            nodes: nodes::nodes(status, visit),
            firewall: firewall::of(status, &time),
            alerts,
            more_alerts,
            events: lists::events(status, &time),
            event: status.events.back().map_or(0, |event| event.id),
            client: ClientView {
                address: visit.client.to_canonical().to_string(),
                panel: yes(status.access.panel_has(visit.client)),
                socks: yes(status.access.socks_has(visit.client)),
            },
            made: Time { exact: rfc3339(status.made), words: status.made.strftime("%H:%M:%S UTC").to_string() },
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
        tile(ConditionType::Drifted, "Drift", drift_count(status), drift_note(status, visit)),
        tile(
            ConditionType::FirewallInSync,
            "Firewall",
            firewall::in_sync(status.firewall.in_sync).to_owned(),
            status.firewall.driver.to_owned(),
        ),
        Tile { tone: source_tone(status), label: "Source", value: source_word(status).to_owned(), note: last_read },
    ]
}

fn drift_count(status: &Status) -> String {
    match (status.condition_status(ConditionType::Drifted), status.drift.items.len()) {
        (ConditionStatus::Unknown, _) => "unknown".to_owned(),
        (_, 0) => "none".to_owned(),
        (_, count) => count.to_string(),
    }
}

/// Since when something drifts, or when something was brought back last.
fn drift_note(status: &Status, visit: &Visit) -> String {
    let since = status.drift.items.iter().map(|item| item.since).min();
    let repaired = status.drift.lately.first().map(|repair| repair.at);
    match (since, repaired) {
        (Some(since), _) => format!("the first found {}", age(since, visit.now)),
        (None, Some(at)) => format!("last repair {}", age(at, visit.now)),
        (None, None) => "none repaired since the start".to_owned(),
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

fn facts(status: &Status, visit: &Visit) -> Vec<Fact> {
    let text = |label, value: String| Fact { label, value, code: false };
    let code = |label, value: String| Fact { label, value, code: true };
    let revision = status.revision.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let newer = status.source.offered.as_ref().filter(|offered| Some(*offered) != status.source.accepted.as_ref());
    let since = status.accepted_since.map_or_else(|| "never".to_owned(), |at| age(at, visit.now));
    let mut facts = vec![code("Revision in force", revision), text("Signed by", signed_by(status))];
    facts.extend(newer.map(|offered| code("Revision offered", offered.to_string())));
    facts.push(text("In force since", since));
    facts.push(text("Last pass", last_pass(status, visit)));
    facts.push(text("Daemon started", age(status.started, visit.now)));
    facts.extend(locked_out(status, visit).map(|who| text("Locked out", who)));
    facts
}

fn signed_by(status: &Status) -> String {
    match status.source.signatures {
        _ if !status.source.signers.is_empty() => listed(&status.source.signers, ", "),
        Signatures::NotRequired => "not checked (no --allowed-signers)".to_owned(),
        Signatures::Required if status.revision.is_none() => "nobody yet".to_owned(),
        Signatures::Required => "taken by hand, or pinned".to_owned(),
    }
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
