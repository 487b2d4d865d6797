//! The firewall, as the page shows it: whether it stands, what it closes, and who changed it last.

use serde::Serialize;

use super::Time;
use crate::firewall::model::{Guard, Ports};
use crate::status::page::headline::{self, Tone};
use crate::status::page::text::{listed, ports};
use crate::status::{ConditionStatus, ConditionType, Status};

/// So many networks of a list are named.
const NETWORKS_SHOWN: usize = 24;

#[derive(Debug, Serialize)]
pub(super) struct FirewallView {
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

pub(super) fn in_sync(status: ConditionStatus) -> &'static str {
    match status {
        ConditionStatus::True => "in sync",
        ConditionStatus::False => "not in sync",
        ConditionStatus::Unknown => "unknown",
    }
}

pub(super) fn of(status: &Status, time: &impl Fn(jiff::Timestamp) -> Time) -> FirewallView {
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

fn who(list: &[ipnet::IpNet]) -> String {
    let shown = listed(list.iter().take(NETWORKS_SHOWN), ", ");
    match list.len() {
        0 => "nobody but this host".to_owned(),
        1..=NETWORKS_SHOWN => shown,
        more => format!("{shown}, and {} more", more - NETWORKS_SHOWN),
    }
}
