//! The rules of exports.

use std::time::Duration;

use super::super::whitelist;
use super::{limits, not_empty, unique};
use crate::desired::document::{Document, ExportFormat, Exports, Grant};
use crate::desired::exports::LONGEST;
use crate::desired::findings::Findings;

pub fn check(findings: &mut Findings<'_>, document: &Document) {
    let names: Vec<_> = document.exports.grants.iter().map(|grant| grant.name.0.clone()).collect();
    unique(findings, "exports.grants", "name", &names);
    for (at, grant) in document.exports.grants.iter().enumerate() {
        let path = format!("exports.grants[{at}]");
        not_empty(findings, &format!("{path}.pools"));
        not_empty(findings, &format!("{path}.formats"));
        pools(findings, &path, grant, document);
        whitelist::remark(findings, &format!("{path}.allow"), &grant.allow);
        let (shortest, longest) = (Duration::from_secs(1), LONGEST);
        limits::within(findings, &format!("{path}.max_ttl"), grant.max_ttl.0, shortest, longest);
        if let Some(quota) = &grant.quota {
            limits::within(findings, &format!("{path}.quota.per"), quota.per.0, shortest, longest);
        }
    }
    keys(findings, &document.exports);
    addresses_alone(findings, &document.exports);
}

/// Without a key no token is believed, and every key is there once.
fn keys(findings: &mut Findings<'_>, exports: &Exports) {
    if exports.trusted_keys.is_empty() && !exports.grants.is_empty() && findings.is_complete("exports.trusted_keys") {
        let node = findings.find("exports.grants");
        let message = "no key is trusted, so no token for these grants is believed";
        findings.warn_at_key(
            node,
            message,
            "add the key that `exitpool token keygen` prints to `exports.trusted_keys`",
        );
    }
    for (at, key) in exports.trusted_keys.iter().enumerate() {
        if exports.trusted_keys[..at].contains(key) {
            let node = findings.find(&format!("exports.trusted_keys[{at}]"));
            findings.warn(node, "this key is there twice", "remove one of the two");
        }
    }
}

/// proxychains takes addresses for nodes, and no names.
fn addresses_alone(findings: &mut Findings<'_>, exports: &Exports) {
    let Some(host) = exports.advertise.as_ref().filter(|host| host.0.parse::<std::net::IpAddr>().is_err()) else {
        return;
    };
    for (at, grant) in exports.grants.iter().enumerate() {
        let path = format!("exports.grants[{at}].formats");
        let node = findings.find(&path);
        if findings.tree().key(node) == Some("formats") && grant.formats.contains(&ExportFormat::Proxychains) {
            let message = format!("`proxychains` takes no names, and `exports.advertise` is `{}`", host.0);
            findings.warn(node, message, "advertise an address, or leave this format out");
        }
    }
}

fn pools(findings: &mut Findings<'_>, path: &str, grant: &Grant, document: &Document) {
    if !findings.is_complete("pools") {
        return;
    }
    for (at, name) in grant.pools.iter().enumerate() {
        if !document.pools.iter().any(|pool| pool.name == *name) {
            let node = findings.find(&format!("{path}.pools[{at}]"));
            findings.error(node, format!("there is no pool `{name}`"), "name one of `pools`");
        }
    }
}
