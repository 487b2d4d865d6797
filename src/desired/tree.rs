//! The file as a tree: YAML read once, with the place of every key and value.
//!
//! Everything that is wrong with the YAML itself is found here, in bounded time: size, encoding, nesting, aliases,
//! duplicate keys. What the values mean is none of this module's business.

mod raw;

use std::fmt;
use std::ops::Range;

use super::diagnostic::{Diagnostic, Severity};
use raw::{RawMember, RawNode, RawValue};

/// The largest file that is read at all.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Where something stands in the file; line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// The bytes.
    pub bytes: Range<usize>,
}

/// A node's place in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(usize);

/// A value of the file and where it stands.
#[derive(Debug)]
pub struct Node {
    /// The place of the value.
    pub span: Span,
    /// How the parent leads here; `None` at the root.
    pub link: Option<Link>,
    /// The value.
    pub value: Value,
}

/// The way from a node to one of its children.
#[derive(Debug)]
pub struct Link {
    /// The node that holds the child.
    pub parent: NodeId,
    /// Under which key or index.
    pub step: LinkStep,
}

/// A key or an index.
#[derive(Debug)]
pub enum LinkStep {
    /// The key of a mapping, and where it stands.
    Key(String, Span),
    /// The index within a list.
    Index(usize),
}

/// A value, as YAML 1.2 reads it.
#[derive(Debug)]
pub enum Value {
    /// Nothing at all, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<NodeId>),
    /// A mapping, in the file's order; keys are unique.
    Map(Vec<NodeId>),
}

/// The whole file; the root is node 0.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// A tree and the duplicate keys that were left out of it.
pub struct Parsed {
    /// The tree.
    pub tree: Tree,
    /// One error for each duplicate key.
    pub duplicates: Vec<Diagnostic>,
}

/// Reads a file's bytes into a tree.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Parsed, Box<Diagnostic>> {
    let text = readable(file, bytes)?;
    let root = raw::read(text).map_err(|problem| Box::new(problem.into_diagnostic(file, text)))?;
    let mut builder = Builder { tree: Tree { nodes: Vec::new() }, duplicates: Vec::new(), file };
    builder.add(root, None);
    Ok(Parsed { tree: builder.tree, duplicates: builder.duplicates })
}

/// Checks that bytes are text that is worth parsing.
fn readable<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Box<Diagnostic>> {
    if bytes.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read", bytes.len());
        let help = "a desired state is far smaller: check that this is the right file";
        return Err(Box::new(Diagnostic::of_file(Severity::Error, file, message, help)));
    }
    text(file, bytes)
}

/// Takes bytes for text.
pub fn text<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Box<Diagnostic>> {
    let whole_file = |message: String, help: &str| Box::new(Diagnostic::of_file(Severity::Error, file, message, help));
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        let message = format!("the file is not UTF-8: byte {} on line {line}", error.valid_up_to() + 1);
        whole_file(message, "save it as UTF-8")
    })?;
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        return Err(whole_file(format!("the file has a NUL byte on line {line}"), "save it as plain text"));
    }
    Ok(text)
}

struct Builder<'a> {
    tree: Tree,
    duplicates: Vec<Diagnostic>,
    file: &'a str,
}

impl Builder<'_> {
    fn add(&mut self, raw: RawNode, link: Option<Link>) -> NodeId {
        let id = NodeId(self.tree.nodes.len());
        self.tree.nodes.push(Node { span: raw.span, link, value: Value::Null });
        let value = match raw.value {
            RawValue::Null => Value::Null,
            RawValue::Bool(value) => Value::Bool(value),
            RawValue::Integer(value) => Value::Integer(value),
            RawValue::Float(value) => Value::Float(value),
            RawValue::Text(value) => Value::Text(value),
            RawValue::List(items) => Value::List(self.add_items(id, items)),
            RawValue::Map(members) => Value::Map(self.add_members(id, members)),
        };
        self.tree.nodes[id.0].value = value;
        id
    }

    fn add_items(&mut self, parent: NodeId, items: Vec<RawNode>) -> Vec<NodeId> {
        let link = |index| Some(Link { parent, step: LinkStep::Index(index) });
        items.into_iter().enumerate().map(|(index, item)| self.add(item, link(index))).collect()
    }

    fn add_members(&mut self, parent: NodeId, members: Vec<RawMember>) -> Vec<NodeId> {
        let mut first_lines = std::collections::HashMap::new();
        let mut ids = Vec::with_capacity(members.len());
        for member in members {
            if let Some(first) = first_lines.get(&member.key) {
                self.refuse_duplicate(parent, &member, *first);
                continue;
            }
            first_lines.insert(member.key.clone(), member.key_span.line);
            let step = LinkStep::Key(member.key, member.key_span);
            ids.push(self.add(member.value, Some(Link { parent, step })));
        }
        ids
    }

    fn refuse_duplicate(&mut self, parent: NodeId, member: &RawMember, first_line: usize) {
        let message = format!("`{}` is said twice; the first time on line {first_line}", member.key.escape_debug());
        self.duplicates.push(Diagnostic {
            severity: Severity::Error,
            file: self.file.to_owned(),
            line: member.key_span.line,
            column: member.key_span.column,
            path: join(&self.tree.path(parent), &member.key),
            message,
            help: "keep one of the two".to_owned(),
            span: member.key_span.bytes.clone(),
            hidden: std::sync::Arc::default(),
            excerpt: None,
        });
    }
}

impl Tree {
    /// The root's id.
    pub const ROOT: NodeId = NodeId(0);

    /// Reads a node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Lists the children of a list or a mapping.
    pub fn children(&self, id: NodeId) -> &[NodeId] {
        match &self.node(id).value {
            Value::List(children) | Value::Map(children) => children,
            _ => &[],
        }
    }

    /// The key under which a node stands.
    pub fn key(&self, id: NodeId) -> Option<&str> {
        match &self.node(id).link.as_ref()?.step {
            LinkStep::Key(key, _) => Some(key),
            LinkStep::Index(_) => None,
        }
    }

    /// The child of a mapping under a key.
    pub fn child(&self, id: NodeId, key: &str) -> Option<NodeId> {
        self.children(id).iter().copied().find(|child| self.key(*child) == Some(key))
    }

    /// The place of a node's key, or of its value where it has no key.
    pub fn key_span(&self, id: NodeId) -> &Span {
        match self.node(id).link.as_ref().map(|link| &link.step) {
            Some(LinkStep::Key(_, span)) => span,
            _ => &self.node(id).span,
        }
    }

    /// Writes the dotted path of a node, `pools[1].countries[0]`; empty for the root.
    pub fn path(&self, id: NodeId) -> String {
        match &self.node(id).link {
            None => String::new(),
            Some(Link { parent, step: LinkStep::Key(key, _) }) => join(&self.path(*parent), key),
            Some(Link { parent, step: LinkStep::Index(index) }) => format!("{}[{index}]", self.path(*parent)),
        }
    }
}

/// Adds a key to a dotted path, on one line whatever the key is.
pub fn join(path: &str, key: &str) -> String {
    let key = key.escape_debug();
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

impl fmt::Display for Value {
    /// Says what stands there, for people: `the text `ten``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST_CHARS: usize = 40;
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "`{value}`"),
            Self::Integer(value) => write!(f, "the number `{value}`"),
            Self::Float(value) => write!(f, "the number `{value:?}`"),
            Self::Text(text) if text.chars().count() <= LONGEST_CHARS => {
                write!(f, "the text `{}`", text.escape_debug())
            }
            Self::Text(_) => f.write_str("a long text"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a mapping"),
        }
    }
}
