//! The door to the YAML library: its events, limits and errors, in our words.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Options, Spanned};

use super::Span;
use crate::desired::diagnostic::{Diagnostic, Severity};

/// A value and its place.
pub struct RawNode {
    pub span: Span,
    pub value: RawValue,
}

/// A key, a value and their places.
pub struct RawMember {
    pub key: String,
    pub key_span: Span,
    pub value: RawNode,
}

/// A value, with everything below it.
pub enum RawValue {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<RawNode>),
    Map(Vec<RawMember>),
}

/// Why text is not YAML that we read.
pub struct Problem(Error);

/// Reads one YAML 1.2 document; strict booleans, no merge keys, bounded in every direction.
pub fn read(text: &str) -> Result<RawNode, Problem> {
    serde_saphyr::from_str_with_options(text, options()).map_err(Problem)
}

/// The limits stand far above what a desired state needs and far below what would be felt.
fn options() -> Options {
    let budget = serde_saphyr::budget! {
        max_depth: 32,
        max_nodes: 100_000,
        max_events: 300_000,
        max_anchors: 1_000,
        max_aliases: 1_000,
        max_documents: 2,
    };
    let mut options = serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        legacy_octal_numbers: false,
        underscored_numbers_as_strings: true,
        leading_zero_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    options.alias_limits.max_total_replayed_events = 20_000;
    options.alias_limits.max_replay_stack_depth = 8;
    options
}

impl Problem {
    /// Says it in our words, with what to do.
    pub fn into_diagnostic(self, file: &str, text: &str) -> Diagnostic {
        let (message, help) = words(&self.0);
        let mut diagnostic = Diagnostic::of_file(Severity::Error, file, message, help);
        if let Some(location) = self.0.location().filter(|location| location.line() > 0) {
            let span = span_of(&location);
            let start = byte_at(text, span.line, span.column);
            diagnostic.span = start..(start + 1).min(text.len());
            diagnostic.line = span.line;
            diagnostic.column = span.column;
        }
        diagnostic
    }
}

/// The byte at a line and column; the library does not know it for every error.
fn byte_at(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let line = text.get(before..).unwrap_or_default();
    before + line.char_indices().nth(column.saturating_sub(1)).map_or(line.trim_end().len(), |(at, _)| at)
}

fn words(error: &Error) -> (String, &'static str) {
    match error {
        Error::AliasError { error, .. } => words(error),
        Error::MultipleDocuments { .. } => {
            ("the file has more than one YAML document".to_owned(), "keep one; remove the `---` between them")
        }
        Error::MergeKeyNotAllowed { .. } => {
            ("merge keys (`<<`) are not read: YAML 1.2 has none".to_owned(), "write the fields out")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. } => (
            "the file is too large once its aliases are written out, or nested too deeply".to_owned(),
            "write the values out, and check that this is the right file",
        ),
        other => (
            format!("this is not YAML that is read here: {}", without_place(&other.to_string())),
            "check indentation and quotes",
        ),
    }
}

/// Cuts the place off a message of the library: the diagnostic has its own.
fn without_place(text: &str) -> &str {
    let first = text.lines().next().unwrap_or(text);
    let tail = first.rfind(" at line ").map_or(first, |at| &first[..at]);
    match tail.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, message)) => message,
        None => tail,
    }
}

fn span_of(location: &Location) -> Span {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let span = location.span();
    let start = number(span.byte_offset().unwrap_or_default());
    let length = number(span.byte_len().unwrap_or_default());
    Span { line: number(location.line()), column: number(location.column()), bytes: start..start + length }
}

impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<RawValue>::deserialize(deserializer)?;
        Ok(Self { span: span_of(&spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<RawValue, E> {
        Ok(RawValue::Integer(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<RawValue, E> {
        i128::try_from(value).map(RawValue::Integer).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = access.next_key::<RawNode>()? {
            let name = key_text(key.value).ok_or_else(|| A::Error::custom("a key is not a plain word"))?;
            members.push(RawMember { key: name, key_span: key.span, value: access.next_value()? });
        }
        Ok(RawValue::Map(members))
    }
}

fn key_text(value: RawValue) -> Option<String> {
    match value {
        RawValue::Text(text) => Some(text),
        RawValue::Integer(number) => Some(number.to_string()),
        RawValue::Bool(value) => Some(value.to_string()),
        RawValue::Float(number) => Some(number.to_string()),
        RawValue::Null | RawValue::List(_) | RawValue::Map(_) => None,
    }
}
