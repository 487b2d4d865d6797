//! The rules of alerts.

use std::time::Duration;

use super::{not_empty, unique};
use crate::desired::alerts::Alerts as Meaning;
use crate::desired::document::{Alerts, Channel, Document, MailTls};
use crate::desired::findings::Findings;

/// An alert is repeated at most so often.
const SHORTEST_REPEAT: Duration = Duration::from_secs(60);
/// Refused tokens are remembered for so long.
const LONGEST_WINDOW: Duration = Duration::from_secs(3600);

pub fn check(findings: &mut Findings<'_>, document: &Document) {
    let alerts = &document.alerts;
    times(findings, alerts);
    rules(findings, alerts);
    let names: Vec<_> = alerts.channels.iter().map(|channel| channel.name.0.clone()).collect();
    unique(findings, "alerts.channels", "name", &names);
    for (at, channel) in alerts.channels.iter().enumerate() {
        let path = format!("alerts.channels[{at}]");
        one_way(findings, &path, channel);
        login(findings, &path, channel);
        tls(findings, &path, channel);
        via(findings, &path, channel, document);
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

/// What is sent in the clear can be read on the way: nothing secret is, and nothing is that was to be under TLS.
fn tls(findings: &mut Findings<'_>, path: &str, channel: &Channel) {
    let Some(email) = channel.email.as_ref().filter(|email| email.tls == MailTls::Off) else { return };
    let node = findings.find(&format!("{path}.email.tls"));
    if email.server.0.starts_with("smtps://") {
        findings.error(node, "`smtps://` is TLS from the start", "remove `tls: off`, or write `smtp://`");
    } else if email.password.is_some() {
        findings.error(node, "a password would be sent in the clear", "remove `tls: off`, or the login");
    }
}

fn via(findings: &mut Findings<'_>, path: &str, channel: &Channel, document: &Document) {
    let Some(via) = &channel.via else { return };
    if document.pools.iter().any(|pool| pool.name == *via) || !findings.is_complete("pools") {
        return;
    }
    let node = findings.find(&format!("{path}.via"));
    findings.error(node, format!("there is no pool `{via}`"), "name a pool of this file");
}

fn times(findings: &mut Findings<'_>, alerts: &Alerts) {
    if alerts.repeat_every.0 < SHORTEST_REPEAT {
        let node = findings.find("alerts.repeat_every");
        findings.error(node, "nobody reads an alert more often than once a minute", "write `1m` or more");
    }
    let window = alerts.rules.as_ref().and_then(|rules| rules.brute_force.as_ref()).map(|rule| rule.within.0);
    if window.is_some_and(|window| window.is_zero() || window > LONGEST_WINDOW) {
        let node = findings.find("alerts.rules.brute_force.within");
        findings.error(node, "refused tokens are counted over at most an hour", "write `1s` to `1h`");
    }
}

fn rules(findings: &mut Findings<'_>, alerts: &Alerts) {
    if Meaning::of(alerts).rules.is_empty() && findings.is_complete("alerts.rules") {
        let node = findings.find("alerts.rules");
        findings.warn_at_key(node, "no rule is named, so there is no alert", "remove `rules` to have all of them");
    }
}
