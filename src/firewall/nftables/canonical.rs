//! Our table in canonical form: the same whichever nft wrote it and whichever read it.
//!
//! It is read from untyped JSON, so that nothing which stands in the table can go unseen: an unknown kind of object,
//! an unknown property or an unknown statement is kept as it is, and is a difference. Handles and counter values
//! are left out. What a difference is called stands in `differences`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::firewall::interval::{Interval, Intervals};

/// The properties of an object, without its name, its table and its handle.
pub type Properties = BTreeMap<String, Value>;

/// The content of one table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Canonical {
    /// The table's own properties; a plain table has none.
    pub table: Properties,
    /// The sets, by name.
    pub sets: BTreeMap<String, Set>,
    /// The chains, by name.
    pub chains: BTreeMap<String, Chain>,
    /// Everything else, by kind and name.
    pub others: BTreeMap<(String, String), Properties>,
}

/// A named set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Set {
    /// Type, flags and whatever else it has.
    pub properties: Properties,
    /// The addresses in it.
    pub members: Intervals,
    /// Elements that are something else, or more, than addresses.
    pub strange: Vec<Value>,
}

/// A chain with its rules in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chain {
    /// Type, hook, priority and policy; a chain that is only jumped to has none.
    pub properties: Properties,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// Its comment.
    pub comment: Option<String>,
    /// Its statements.
    pub statements: Vec<Value>,
    /// Whatever else it has.
    pub properties: Properties,
}

/// Why a document is not a listing of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// It has not the form of nft's JSON.
    #[error("it is not a list of objects under `nftables`")]
    Shape,
    /// An object in it lacks its name or is no object.
    #[error("an object in it cannot be understood: {0}")]
    Object(String),
    /// The table itself is not in it.
    #[error("the table is not in it")]
    NoTable,
}

impl Canonical {
    /// Reads the listing of one table, or the objects that would make it.
    pub fn read(document: Value) -> Result<Self, CanonicalError> {
        let Value::Object(mut document) = document else { return Err(CanonicalError::Shape) };
        let Some(Value::Array(objects)) = document.remove("nftables") else { return Err(CanonicalError::Shape) };
        let mut table = Self::default();
        let mut seen = false;
        for object in objects {
            let (kind, properties) = split(object)?;
            seen |= kind == "table";
            table.take(kind, properties)?;
        }
        if seen { Ok(table) } else { Err(CanonicalError::NoTable) }
    }

    fn take(&mut self, kind: String, mut properties: Properties) -> Result<(), CanonicalError> {
        for bookkeeping in ["family", "table", "handle", "index"] {
            properties.remove(bookkeeping);
        }
        match kind.as_str() {
            "metainfo" => {}
            "table" => {
                properties.remove("name");
                self.table = normal_properties(properties);
            }
            "chain" => {
                let name = text(&kind, &mut properties, "name")?;
                self.chains.entry(name).or_default().properties = normal_properties(properties);
            }
            "rule" => {
                let chain = text(&kind, &mut properties, "chain")?;
                self.chains.entry(chain).or_default().rules.push(Rule::read(properties)?);
            }
            // A listing has the elements within the set, a compiled guard has them apart.
            "set" | "element" => {
                let name = text(&kind, &mut properties, "name")?;
                self.sets.entry(name).or_default().take(properties);
            }
            _ => {
                let name = text(&kind, &mut properties, "name")?;
                self.others.insert((kind, name), normal_properties(properties));
            }
        }
        Ok(())
    }
}

impl Set {
    fn take(&mut self, mut properties: Properties) {
        let elements = match properties.remove("elem") {
            Some(Value::Array(elements)) => elements,
            Some(single) => vec![single],
            None => Vec::new(),
        };
        self.properties.extend(normal_properties(properties));
        let mut members: Vec<Interval> = Vec::with_capacity(elements.len());
        for element in elements {
            match interval(&element) {
                Some(interval) => members.push(interval),
                None => self.strange.push(element),
            }
        }
        self.members = self.members.iter().copied().chain(members).collect();
    }
}

impl Rule {
    fn read(mut properties: Properties) -> Result<Self, CanonicalError> {
        let comment = match properties.remove("comment") {
            Some(Value::String(comment)) => Some(comment),
            Some(other) => return Err(CanonicalError::Object(format!("a rule with the comment {other}"))),
            None => None,
        };
        let statements = match properties.remove("expr") {
            Some(Value::Array(statements)) => statements.into_iter().map(normal).collect(),
            other => return Err(CanonicalError::Object(format!("a rule with the statements {other:?}"))),
        };
        Ok(Self { comment, statements, properties: normal_properties(properties) })
    }
}

/// Splits `{"chain": {…}}` into its kind and its properties.
fn split(object: Value) -> Result<(String, Properties), CanonicalError> {
    let refuse = |object: &Value| CanonicalError::Object(object.to_string());
    let Value::Object(fields) = object else { return Err(refuse(&object)) };
    let mut fields = fields.into_iter();
    match (fields.next(), fields.next()) {
        (Some((kind, Value::Object(properties))), None) => Ok((kind, properties.into_iter().collect())),
        (first, _) => Err(CanonicalError::Object(first.map_or_else(String::new, |(kind, _)| kind))),
    }
}

fn text(kind: &str, properties: &mut Properties, key: &str) -> Result<String, CanonicalError> {
    match properties.remove(key) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(CanonicalError::Object(format!("a {kind} without its {key}"))),
    }
}

fn normal_properties(properties: Properties) -> Properties {
    properties.into_iter().map(|(key, value)| normal_field(key, value)).collect()
}

/// Writes a value in the one way that all versions of nft are brought to.
fn normal(value: Value) -> Value {
    match value {
        Value::Array(values) => Value::Array(values.into_iter().map(normal).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, value)| normal_field(key, value)).collect())
        }
        scalar => scalar,
    }
}

fn normal_field(key: String, value: Value) -> (String, Value) {
    let value = match (key.as_str(), value) {
        // What an anonymous counter has counted; a named one is a string.
        ("counter", Value::Object(_)) => Value::Null,
        // nft 1.1.4 writes a single flag as scalar, others as array.
        ("flags", Value::Array(mut flags)) => {
            flags.sort_by_key(ToString::to_string);
            Value::Array(flags)
        }
        ("flags", single) => Value::Array(vec![single]),
        (_, value) => normal(value),
    };
    (key, value)
}

/// Reads an element that is nothing but an address, a prefix or a range.
fn interval(element: &Value) -> Option<Interval> {
    match element {
        Value::String(address) => {
            let address: IpAddr = address.parse().ok()?;
            Interval::new(address, address)
        }
        Value::Object(fields) if fields.len() == 1 => {
            let (kind, content) = fields.iter().next()?;
            match (kind.as_str(), content) {
                ("prefix", prefix) => {
                    let address: IpAddr = prefix.get("addr")?.as_str()?.parse().ok()?;
                    let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
                    let network = IpNet::new(address, length).ok()?;
                    Interval::new(network.network(), network.broadcast())
                }
                ("range", Value::Array(ends)) => match ends.as_slice() {
                    [first, last] => Interval::new(first.as_str()?.parse().ok()?, last.as_str()?.parse().ok()?),
                    _ => None,
                },
                ("elem", Value::Object(inner)) if inner.len() == 1 => interval(inner.get("val")?),
                _ => None,
            }
        }
        _ => None,
    }
}
