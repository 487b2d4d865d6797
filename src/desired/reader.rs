//! Reads typed values out of a [`Tree`], and goes on after an error.
//!
//! serde stops at the first error. So that one error hides no other, what is wrong is reported, hidden from sight, and
//! the whole is read again, until nothing is wrong or the root itself had to be hidden. Each round hides one node, so
//! it ends; [`MAX_ERRORS`] bounds how long a hopeless file is looked at.

mod cursor;

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::tree::{NodeId, Tree, Value};
use cursor::Cursor;

/// After this many errors the rest of a file is not worth reporting.
pub const MAX_ERRORS: usize = 100;

/// Nodes that are treated as if they did not stand in the file.
pub type Hidden = HashSet<NodeId>;

/// What was wrong with one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The node; the root for what has no place of its own.
    pub node: NodeId,
    /// Whether its key or its value is wrong.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub help: String,
}

/// Which part of a node is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The key under which it stands.
    Key,
    /// The value.
    Value,
}

/// The outcome of reading.
pub struct Reading<T> {
    /// The value, without what was wrong; `None` when nothing was left.
    pub value: Option<T>,
    /// What was wrong.
    pub faults: Vec<Fault>,
    /// What had to be left out.
    pub hidden: Hidden,
}

/// Knows the fields that a type of the file must have.
pub trait Required {
    /// Lists the required fields of the type with this name.
    fn required(&self, type_name: &str) -> Vec<String>;
}

/// Reads the whole tree as a `T`.
pub fn read<T: DeserializeOwned>(tree: &Tree, required: &impl Required) -> Reading<T> {
    let mut reading = Reading { value: None, faults: Vec::new(), hidden: Hidden::new() };
    while reading.faults.len() < MAX_ERRORS && !reading.hidden.contains(&Tree::ROOT) {
        match T::deserialize(Cursor::root(tree, &reading.hidden)) {
            Ok(value) => return Reading { value: Some(value), ..reading },
            Err(stop) => reading.note(tree, stop, required),
        }
    }
    reading
}

impl<T> Reading<T> {
    fn note(&mut self, tree: &Tree, stop: Stop, required: &impl Required) {
        let node = stop.node.unwrap_or(Tree::ROOT);
        match stop.problem {
            Problem::Reported => {}
            Problem::Wrong { place, message, help } => self.faults.push(Fault { node, place, message, help }),
            Problem::Missing { field, type_name } => {
                let mut fields = required.required(type_name);
                if !fields.iter().any(|known| known == field) {
                    fields.push(field.to_owned());
                }
                // A field that stands there, and is wrong, has been reported already.
                fields.retain(|field| tree.child(node, field).is_none());
                self.faults.extend(fields.iter().map(|field| missing(node, field)));
            }
        }
        self.hidden.insert(node);
    }
}

fn missing(node: NodeId, field: &str) -> Fault {
    Fault { node, place: Place::Value, message: format!("`{field}` is missing"), help: format!("add `{field}`") }
}

/// Why one round of reading stopped.
#[derive(Debug)]
pub struct Stop {
    node: Option<NodeId>,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    /// It has been reported, and could not be read without what had to be hidden.
    Reported,
    Wrong {
        place: Place,
        message: String,
        help: String,
    },
    Missing {
        field: &'static str,
        type_name: &'static str,
    },
}

impl Stop {
    fn wrong(place: Place, message: String, help: String) -> Self {
        Self { node: None, problem: Problem::Wrong { place, message, help } }
    }

    fn reported() -> Self {
        Self { node: None, problem: Problem::Reported }
    }

    fn expected(what: &str, found: &Value) -> Self {
        if matches!(found, Value::Null) {
            let help = "give it one, or remove the line".to_owned();
            return Self::wrong(Place::Value, format!("there is no value here; expected {what}"), help);
        }
        Self::wrong(Place::Value, format!("expected {what}, found {found}"), String::new())
    }

    fn with_help(mut self, text: &str) -> Self {
        if let Problem::Wrong { help, .. } = &mut self.problem {
            text.clone_into(help);
        }
        self
    }

    /// Gives it a place unless a deeper one is known.
    fn at(mut self, node: NodeId) -> Self {
        self.node.get_or_insert(node);
        self
    }

    fn of_type(mut self, name: &'static str) -> Self {
        if let (None, Problem::Missing { type_name, .. }) = (self.node, &mut self.problem) {
            *type_name = name;
        }
        self
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.problem {
            Problem::Reported => f.write_str("it has been reported"),
            Problem::Wrong { message, .. } => f.write_str(message),
            Problem::Missing { field, .. } => write!(f, "`{field}` is missing"),
        }
    }
}

impl std::error::Error for Stop {}

impl serde::de::Error for Stop {
    /// Takes `what is wrong; what to do`.
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        let (message, help) = text.split_once("; ").unwrap_or((&text, ""));
        Self::wrong(Place::Value, message.to_owned(), help.to_owned())
    }

    fn missing_field(field: &'static str) -> Self {
        Self { node: None, problem: Problem::Missing { field, type_name: "" } }
    }
}
