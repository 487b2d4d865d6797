//! Whom a guard would lock out who is inside: judged by the guard alone, before it is put in place.
//!
//! Who is inside is observed. Whether a lockout is meant is what the file says (`access.allow_lockout`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::desired::AccessLines;
use crate::firewall::model::Guard;
use crate::observe::{Door, Visitor};

use super::hold::HoldReason;

/// What somebody would be locked out by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// `access.ssh`
    Ssh,
    /// `access.panel`
    Panel,
    /// `firewall.control_ports`
    ControlPorts,
}

/// Who would be locked out, by which list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Victims {
    /// Those who use SSH.
    pub ssh: BTreeSet<Visitor>,
    /// Those who use the page: all of them, or nobody. As long as one is let in, that one can mend it.
    pub panel: BTreeSet<Visitor>,
}

/// Finds who would be locked out by a guard in place of the one that stands.
///
/// Only a list that changes counts: who is inside although it keeps him out is its business no more. Where nothing is
/// known to stand, the page is taken for unchanged, and SSH for open.
pub fn victims(guard: &Guard, stands: Option<&Guard>, visitors: &BTreeSet<Visitor>) -> Victims {
    let ssh_changes = stands.is_none_or(|stands| ssh(stands) != ssh(guard));
    let panel_changes = stands.is_some_and(|stands| panel(stands) != panel(guard));
    let of = |is_theirs: fn(&Visitor) -> bool| visitors.iter().filter(move |visitor| is_theirs(visitor));
    let ssh = of(|visitor| matches!(visitor.door, Door::Ssh(_))).filter(|visitor| !lets_in(guard, visitor));
    let mut panel = of(|visitor| visitor.door == Door::Panel).peekable();
    let all_out = panel.peek().is_some() && panel.clone().all(|visitor| !lets_in(guard, visitor));
    Victims {
        ssh: ssh.filter(|_| ssh_changes).copied().collect(),
        panel: panel.filter(|_| panel_changes && all_out).copied().collect(),
    }
}

/// Whether a guard lets somebody in by the door that they use.
pub fn lets_in(guard: &Guard, visitor: &Visitor) -> bool {
    match visitor.door {
        Door::Ssh(port) => guard.ssh_lets_in(visitor.address, port),
        Door::Panel => guard.panel_lets_in(visitor.address),
    }
}

impl Victims {
    /// Why a guard is held for their sake, where it has to be.
    pub fn reason(&self, guard: &Guard, lines: &AccessLines) -> Option<HoldReason> {
        let visitors: BTreeSet<Visitor> = self.ssh.union(&self.panel).copied().collect();
        let (by, line) = match visitors.first()?.door {
            Door::Ssh(port) if guard.is_control_port(port) => (Closing::ControlPorts, lines.control_ports),
            Door::Ssh(_) => (Closing::Ssh, lines.ssh),
            Door::Panel => (Closing::Panel, lines.panel),
        };
        Some(HoldReason::Lockout { visitors, by, line })
    }

    /// The guard that keeps every list as it stands which would lock somebody out, and is as wished in all else.
    pub fn spared(&self, wished: &Guard, stands: Option<&Guard>) -> Guard {
        let (mut spared, stands) = (wished.clone(), stands.cloned().unwrap_or_default());
        if !self.ssh.is_empty() {
            (spared.ssh_ports, spared.ssh_allow) = (stands.ssh_ports, stands.ssh_allow);
            spared.control_ports = stands.control_ports;
        }
        if !self.panel.is_empty() {
            (spared.panel_port, spared.panel_allow) = (stands.panel_port, stands.panel_allow);
        }
        spared
    }
}

fn ssh(guard: &Guard) -> impl PartialEq + '_ {
    (&guard.ssh_ports, &guard.ssh_allow, &guard.control_ports)
}

fn panel(guard: &Guard) -> impl PartialEq + '_ {
    (&guard.panel_port, &guard.panel_allow)
}

/// Says who would be locked out, where that is written, and how to insist.
pub(super) fn advice(visitors: &BTreeSet<Visitor>, by: Closing, line: Option<usize>) -> String {
    let Some(first) = visitors.first() else { return String::new() };
    let of_the_door = visitors.iter().filter(|it| (it.door == Door::Panel) == (first.door == Door::Panel));
    let others = match of_the_door.count() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let use_it = match first.door {
        Door::Ssh(port) => format!("uses SSH (port {port})"),
        Door::Panel => "has used the page within the last hour".to_owned(),
    };
    let (field, remedy) = match by {
        Closing::Ssh => ("access.ssh.allow", "does not have it; add it there"),
        Closing::Panel => ("access.panel", "does not have it; add it there"),
        Closing::ControlPorts => ("firewall.control_ports", "closes that port to everybody; choose others"),
    };
    let place = line.map_or_else(String::new, |line| format!(" (line {line} of the file)"));
    format!(
        "{}{others} {use_it} and would be locked out: `{field}`{place} {remedy}, or say `access.allow_lockout: true` if \
         that is meant",
        first.address
    )
}
