//! What makes sense together: the rules that no single value can break.
//!
//! Rules report to [`Findings`] and never stop: all that is wrong is said at once. Values that are well formed by
//! themselves are the business of `values`.

mod alerts;
mod exports;
mod limits;
mod pools;
mod sign_in;
mod torrc;

use std::collections::HashMap;
use std::hash::Hash;

use super::document::Document;
use super::findings::Findings;
use super::tree::{LinkStep, Tree};
use super::whitelist;

/// Applies every rule.
pub fn validate(findings: &mut Findings<'_>, document: &Document) {
    emptiness(findings, document);
    pools::check(findings, document);
    access(findings, document);
    limits::check(findings, document);
    alerts::check(findings, document);
    exports::check(findings, document);
    if let Some(document) = &document.access.sign_in {
        sign_in::check(findings, document);
    }
}

/// A state without any node has to be meant.
fn emptiness(findings: &mut Findings<'_>, document: &Document) {
    let has_nodes = document.pools.iter().any(|pool| pool.size > 0);
    if has_nodes || document.allow_empty || !findings.is_complete("pools") {
        return;
    }
    let message = "this state has no node at all: every node of the host would be removed";
    let help = "add a pool, or say `allow_empty: true` if that is meant";
    match findings.find("pools") {
        Tree::ROOT => findings.error_of_file(message, help),
        pools => findings.error_at_key(pools, message, help),
    }
}

fn access(findings: &mut Findings<'_>, document: &Document) {
    if document.access.ssh.is_some() {
        not_empty(findings, "access.ssh.allow");
        not_empty(findings, "access.ssh.ports");
    }
    whitelist::remark(findings, "access.trusted_proxies", &document.access.trusted_proxies);
    for (at, proxy) in document.access.trusted_proxies.iter().enumerate() {
        if proxy.0.prefix_len() == 0 {
            let node = findings.find(&format!("access.trusted_proxies[{at}]"));
            findings.error(node, "anybody could say to be anybody else", "name the addresses of the proxies");
        }
    }
}

/// Refuses an empty list; one that is not in the file has a default, or is missing anyway.
fn not_empty(findings: &mut Findings<'_>, path: &str) {
    let tree = findings.tree();
    let node = findings.find(path);
    let key = path.rsplit(['.', ']']).next().unwrap_or_default();
    if tree.key(node) == Some(key) && tree.children(node).is_empty() {
        findings.error(node, format!("`{key}` is empty"), "add one, or remove the line");
    }
}

/// Refuses a second item with the same value of a field.
fn unique<T: Eq + Hash + std::fmt::Display>(findings: &mut Findings<'_>, list: &str, field: &str, values: &[T]) {
    let mut first = HashMap::new();
    for (at, value) in values.iter().enumerate() {
        let node = findings.find(&format!("{list}[{at}].{field}"));
        let Some(earlier) = first.insert(value, node) else { continue };
        let tree = findings.tree();
        let message = format!(
            "`{value}` is taken by `{}` on line {}",
            tree.path(holder(tree, earlier)),
            tree.node(earlier).span.line
        );
        findings.error(node, message, "give it another name");
        first.insert(value, earlier);
    }
}

/// The item of a list that a field belongs to.
fn holder(tree: &Tree, node: super::tree::NodeId) -> super::tree::NodeId {
    match &tree.node(node).link {
        Some(link) if matches!(link.step, LinkStep::Key(..)) => link.parent,
        _ => node,
    }
}
