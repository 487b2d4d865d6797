//! The rules of exports.

use std::time::Duration;

use super::super::whitelist;
use super::{limits, not_empty, unique};
use crate::desired::document::{Document, Grant};
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
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(366 * 86_400));
        limits::within(findings, &format!("{path}.max_ttl"), grant.max_ttl.0, shortest, longest);
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
