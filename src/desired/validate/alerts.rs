//! The rules of alerts.

use super::{not_empty, unique};
use crate::desired::document::{Alerts, Channel};
use crate::desired::findings::Findings;

pub fn check(findings: &mut Findings<'_>, alerts: &Alerts) {
    let names: Vec<_> = alerts.channels.iter().map(|channel| channel.name.0.clone()).collect();
    unique(findings, "alerts.channels", "name", &names);
    for (at, channel) in alerts.channels.iter().enumerate() {
        let path = format!("alerts.channels[{at}]");
        one_way(findings, &path, channel);
        login(findings, &path, channel);
        not_empty(findings, &format!("{path}.email.to"));
    }
}

fn one_way(findings: &mut Findings<'_>, path: &str, channel: &Channel) {
    let ways = [
        channel.email.is_some(),
        channel.telegram.is_some(),
        channel.webhook.is_some(),
        channel.alertmanager.is_some(),
    ];
    let ways = ways.into_iter().filter(|is_there| *is_there).count();
    // A way that was refused by itself is not a missing one.
    if ways == 1 || (ways == 0 && !findings.is_complete(path)) {
        return;
    }
    let node = findings.find(path);
    let message = format!("channel `{}` has {ways} ways; it needs exactly one", channel.name.0);
    findings.error(node, message, "use one of `email`, `telegram`, `webhook` and `alertmanager`");
}

fn login(findings: &mut Findings<'_>, path: &str, channel: &Channel) {
    let path = format!("{path}.email");
    let Some(email) = &channel.email else { return };
    if email.username.is_some() != email.password.is_some() && findings.is_complete(&path) {
        let node = findings.find(&path);
        findings.error(node, "`username` and `password` go together", "say both, or neither");
    }
    if email.username.as_ref().is_some_and(|name| name.is_empty() || name.contains(char::is_control)) {
        let node = findings.find(&format!("{path}.username"));
        findings.error(node, "this is not a user's name", "write it on one line, without control characters");
    }
}
