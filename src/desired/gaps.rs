//! Fields that are accepted and not acted on yet: one table, and a warning wherever a file sets one of them.
//!
//! `docs/known-issues.md` has the same table for people; a test keeps the two in step.

use super::findings::Findings;
use super::tree::{NodeId, Tree, Value};

/// A field that is accepted and not acted on yet.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    /// Its path; `[]` stands for any index.
    pub path: &'static str,
    /// Which of its values are not acted on.
    pub when: When,
    /// What does not happen.
    pub missing: &'static str,
}

/// Which values of a field are not acted on.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// All.
    Set,
    /// All but this.
    IsNot(&'static str),
}

/// All of them, in the order of the file format.
pub const GAPS: [Gap; 1] = [Gap { path: "alerts", when: When::Set, missing: "nobody is told anything" }];

/// Warns about every gap that the file runs into.
pub fn warn(findings: &mut Findings<'_>) {
    let tree = findings.tree();
    for gap in &GAPS {
        for node in matching(tree, gap.path) {
            if gap.when.holds(&tree.node(node).value) {
                let message = format!("accepted, not acted on yet: {}", gap.missing);
                findings.warn_at_key(node, message, "docs/known-issues.md lists what is not acted on yet");
            }
        }
    }
}

/// The nodes at a path with `[]` for any index.
fn matching(tree: &Tree, path: &str) -> Vec<NodeId> {
    path.split('.').fold(vec![Tree::ROOT], |nodes, part| {
        let (key, each) = match part.strip_suffix("[]") {
            Some(key) => (key, Each::Item),
            None => (part, Each::Itself),
        };
        let children = nodes.into_iter().filter_map(|node| tree.child(node, key));
        match each {
            Each::Item => children.flat_map(|child| tree.children(child).to_vec()).collect(),
            Each::Itself => children.collect(),
        }
    })
}

enum Each {
    Item,
    Itself,
}

impl When {
    fn holds(self, value: &Value) -> bool {
        let word = match value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => String::new(),
        };
        match self {
            Self::Set => true,
            Self::IsNot(default) => word != default,
        }
    }
}

impl std::fmt::Display for Gap {
    /// Writes the row of the table for people: `| path | which values | what does not happen |`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let values = match self.when {
            When::Set => "all".to_owned(),
            When::IsNot(default) => format!("all but `{default}`"),
        };
        write!(f, "| `{}` | {values} | {} |", self.path, self.missing)
    }
}
