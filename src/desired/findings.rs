//! Collects what is found in one file, and knows where each path of the document stands in it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Severity};
use super::reader::{Fault, Hidden, Place};
use super::tree::{NodeId, Span, Tree, Value};

/// Below this path an unknown or misplaced value may be a secret.
const SECRETS_BELOW: &str = "alerts.channels";

/// The fields below it whose values are none, whatever is wrong with them.
const NO_SECRETS: [&str; 9] = ["name", "server", "username", "from", "to", "chat_id", "ca_file", "via", "tls"];

/// More of one severity are counted, and not kept: nobody reads them.
const MOST_KEPT: usize = 200;

/// What was found in one file.
pub struct Findings<'t> {
    file: &'t str,
    tree: &'t Tree,
    hidden: Hidden,
    /// The children that are left of every node that has a hidden one.
    left: HashMap<NodeId, Vec<NodeId>>,
    diagnostics: Vec<Diagnostic>,
    kept: HashMap<Severity, usize>,
    secrets: Vec<Range<usize>>,
}

impl<'t> Findings<'t> {
    /// Starts with nothing.
    pub fn new(file: &'t str, tree: &'t Tree) -> Self {
        let (hidden, left, kept) = (Hidden::new(), HashMap::new(), HashMap::new());
        Self { file, tree, hidden, left, kept, diagnostics: Vec::new(), secrets: Vec::new() }
    }

    /// The file's name, as it was given.
    pub fn file(&self) -> &'t str {
        self.file
    }

    /// The file as a tree.
    pub fn tree(&self) -> &'t Tree {
        self.tree
    }

    /// Takes diagnostics that were made elsewhere.
    pub fn take(&mut self, diagnostics: Vec<Diagnostic>) {
        diagnostics.into_iter().for_each(|it| self.keep(it));
    }

    /// Leaves nodes out of sight, as the reader did: indices of the document count only what it saw.
    pub fn hide(&mut self, hidden: &Hidden) {
        self.hidden.clone_from(hidden);
        let parents = hidden.iter().filter_map(|id| self.tree.node(*id).link.as_ref()).map(|link| link.parent);
        let left = |node| self.tree.children(node).iter().copied().filter(|child| !hidden.contains(child)).collect();
        self.left = parents.collect::<HashSet<_>>().into_iter().map(|node| (node, left(node))).collect();
    }

    /// Whether the reader saw everything below a node, so that what is absent really is.
    pub fn is_complete(&self, path: &str) -> bool {
        let node = self.find(path);
        self.hidden.is_empty() || !self.hidden.iter().any(|hidden| self.is_below(*hidden, node))
    }

    fn is_below(&self, node: NodeId, ancestor: NodeId) -> bool {
        self.ancestry(node).any(|id| id == ancestor)
    }

    /// A node, its parent, and so on up to the root.
    fn ancestry(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(node), |id| self.tree.node(*id).link.as_ref().map(|link| link.parent))
    }

    /// Takes what the reader found. A value that was refused next to secrets is never shown.
    pub fn take_faults(&mut self, faults: &[Fault]) {
        for fault in faults {
            let shown = match fault.place {
                Place::Key => self.tree.key_span(fault.node),
                Place::Value => &self.tree.node(fault.node).span,
            };
            let message = self.discreet(fault);
            self.push(Severity::Error, fault.node, shown.clone(), message, &fault.help);
        }
    }

    /// The fault's message; without what it quotes where that may be a secret.
    fn discreet(&mut self, fault: &Fault) -> String {
        if !self.may_be_secret(fault) {
            return fault.message.clone();
        }
        if !matches!(self.tree.node(fault.node).value, Value::List(_) | Value::Map(_)) {
            self.secrets.push(self.tree.node(fault.node).span.bytes.clone());
        }
        match (fault.place, fault.message.split_once(", found ")) {
            (Place::Value, Some((before, _))) => before.to_owned(),
            _ => fault.message.clone(),
        }
    }

    fn may_be_secret(&self, fault: &Fault) -> bool {
        let key = self.ancestry(fault.node).find_map(|node| self.tree.key(node)).unwrap_or_default();
        let is_harmless = fault.place == Place::Value && NO_SECRETS.contains(&key);
        !is_harmless && self.tree.path(fault.node).starts_with(SECRETS_BELOW)
    }

    /// Refuses the value of a node.
    pub fn error(&mut self, node: NodeId, message: impl Into<String>, help: &str) {
        self.push(Severity::Error, node, self.tree.node(node).span.clone(), message.into(), help);
    }

    /// Refuses the key of a node.
    pub fn error_at_key(&mut self, node: NodeId, message: impl Into<String>, help: &str) {
        self.push(Severity::Error, node, self.tree.key_span(node).clone(), message.into(), help);
    }

    /// Refuses the whole file.
    pub fn error_of_file(&mut self, message: &str, help: &str) {
        self.keep(Diagnostic::of_file(Severity::Error, self.file, message, help));
    }

    /// Warns about the value of a node.
    pub fn warn(&mut self, node: NodeId, message: impl Into<String>, help: &str) {
        self.push(Severity::Warning, node, self.tree.node(node).span.clone(), message.into(), help);
    }

    /// Warns about a field.
    pub fn warn_at_key(&mut self, node: NodeId, message: impl Into<String>, help: &str) {
        self.push(Severity::Warning, node, self.tree.key_span(node).clone(), message.into(), help);
    }

    fn push(&mut self, severity: Severity, node: NodeId, span: Span, message: String, help: &str) {
        self.keep(Diagnostic {
            severity,
            file: self.file.to_owned(),
            line: span.line,
            column: span.column,
            path: self.tree.path(node),
            message,
            help: help.to_owned(),
            span: span.bytes,
            hidden: Arc::default(),
            excerpt: None,
        });
    }

    fn keep(&mut self, diagnostic: Diagnostic) {
        let kept = self.kept.entry(diagnostic.severity).or_default();
        *kept += 1;
        if *kept <= MOST_KEPT {
            self.diagnostics.push(diagnostic);
        }
    }

    /// The node at a path of the document, `pools[1].size`, or the nearest above it that stands in the file.
    pub fn find(&self, path: &str) -> NodeId {
        let mut node = Tree::ROOT;
        for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
            let next = match part.strip_suffix(']') {
                Some(index) => index.parse().ok().and_then(|index: usize| self.visible(node).get(index)),
                None => self.visible(node).iter().find(|child| self.tree.key(**child) == Some(part)),
            };
            let Some(next) = next else { break };
            node = *next;
        }
        node
    }

    /// The members of the mapping at a path, by their keys, whatever these are.
    pub fn members(&self, path: &str) -> HashMap<&'t str, NodeId> {
        let members = self.tree.children(self.find(path)).iter();
        members.filter_map(|child| Some((self.tree.key(*child)?, *child))).collect()
    }

    fn visible(&self, node: NodeId) -> &[NodeId] {
        self.left.get(&node).map_or_else(|| self.tree.children(node), Vec::as_slice)
    }

    /// Hands over all of it in the file's order; what stands in its lists comes behind it.
    pub fn finish(&mut self) -> Vec<Diagnostic> {
        let mut diagnostics = std::mem::take(&mut self.diagnostics);
        let secrets: Arc<[_]> = self.secrets.as_slice().into();
        diagnostics.sort_by(|one, other| {
            let place = |it: &Diagnostic| (it.line == 0, it.line, it.column);
            let own = |it: &Diagnostic| it.file != self.file;
            own(one)
                .cmp(&own(other))
                .then_with(|| one.file.cmp(&other.file))
                .then_with(|| place(one).cmp(&place(other)))
        });
        diagnostics.iter_mut().for_each(|it| it.hidden = Arc::clone(&secrets));
        for (severity, word) in [(Severity::Error, "errors"), (Severity::Warning, "warnings")] {
            let more = self.kept.get(&severity).map_or(0, |found| found.saturating_sub(MOST_KEPT));
            if more > 0 {
                let message = format!("there are {more} more {word} than are shown here");
                diagnostics.push(Diagnostic::of_file(severity, self.file, message, "correct these first"));
            }
        }
        diagnostics
    }
}
