//! The value of an extra torrc option.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The values of one option: a scalar, or a list of them for an option that may be given several times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorrcValue(pub Vec<String>);

impl<'de> Deserialize<'de> for TorrcValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = TorrcValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, `true` or `false`, or a list of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TorrcValue, E> {
        Ok(TorrcValue(vec![text.trim().to_owned()]))
    }

    /// tor writes 1 and 0.
    fn visit_bool<E: Error>(self, value: bool) -> Result<TorrcValue, E> {
        Ok(TorrcValue(vec![u8::from(value).to_string()]))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<TorrcValue, E> {
        Ok(TorrcValue(vec![number.to_string()]))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<TorrcValue, E> {
        Ok(TorrcValue(vec![number.to_string()]))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<TorrcValue, A::Error> {
        Err(A::Error::custom("expected a value of torrc, found a mapping; write a text, a number or a list of them"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<TorrcValue, A::Error> {
        let mut values = Vec::new();
        while let Some(OneValue(value)) = access.next_element()? {
            values.push(value);
        }
        Ok(TorrcValue(values))
    }
}

struct OneValue(String);

impl<'de> Deserialize<'de> for OneValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let TorrcValue(mut values) = deserializer.deserialize_any(ValueVisitor)?;
        match (values.pop(), values.is_empty()) {
            (Some(value), true) => Ok(Self(value)),
            _ => Err(D::Error::custom("expected one value, found a list; write one value an entry")),
        }
    }
}

impl JsonSchema for TorrcValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TorrcValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The value of a torrc option; a list for an option that may be given several times.",
            "anyOf": [
                { "type": ["string", "number", "boolean"] },
                { "type": "array", "minItems": 1, "items": { "type": ["string", "number", "boolean"] } },
            ],
        })
    }
}
