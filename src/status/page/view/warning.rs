//! Whether whoever looks at the page would be locked out of it by what comes.

use serde::Serialize;

use crate::status::Status;
use crate::status::page::Visit;

/// A warning to the one who looks.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Warning {
    pub(super) title: &'static str,
    pub(super) sentence: String,
}

/// Finds the warning. This host itself is never locked out.
pub(super) fn of(status: &Status, visit: &Visit) -> Option<Warning> {
    let client = visit.client.to_canonical();
    if client.is_loopback() || status.server_addresses.iter().any(|own| own.to_canonical() == client) {
        return None;
    }
    held(status, visit).or_else(|| coming(status, visit))
}

/// The revision in force does not have the visitor, and the guard is held for the visitor's sake.
fn held(status: &Status, visit: &Visit) -> Option<Warning> {
    let client = visit.client.to_canonical();
    if status.access.panel_has(client) || !status.access.spared.contains(&client) {
        return None;
    }
    let revision = status.revision.as_ref().map(crate::desired::Revision::short).unwrap_or_default();
    let sentence = format!(
        "access.panel of {revision} does not have your address, {client}. The firewall is held so that you can still \
         read this; add the address there, or say access.allow_lockout: true if that is meant."
    );
    Some(Warning { title: "You are about to be locked out.", sentence })
}

/// A revision waits that does not have the visitor.
fn coming(status: &Status, visit: &Visit) -> Option<Warning> {
    let (coming, why) = (status.source.coming.as_ref()?, status.source.withheld?);
    let client = visit.client.to_canonical();
    let has = coming.panel.iter().any(|network| network.contains(&client));
    if has || !status.access.panel_has(client) {
        return None;
    }
    let revision = status.source.offered.as_ref().map(crate::desired::Revision::short).unwrap_or_default();
    let sentence = format!(
        "access.panel of {revision} does not have your address, {client}: once that commit is in force, this page does \
         not open for you any more. Now {why}."
    );
    Some(Warning { title: "A coming commit would lock you out.", sentence })
}
