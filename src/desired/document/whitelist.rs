//! An entry of a whitelist: itself, or the file that has more of them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::desired::values::ListPath;

/// An entry, or a file with one entry a line. The reader knows this type by its name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed<T> {
    /// The entry itself.
    Entry(T),
    /// A list of entries.
    File(ListPath),
}

impl<T: JsonSchema> JsonSchema for Allowed<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}OrFile", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (entry, list) = (generator.subschema_for::<T>(), generator.subschema_for::<ListPath>());
        let file = json_schema!({
            "type": "object",
            "properties": { "file": list },
            "required": ["file"],
            "additionalProperties": false,
        });
        json_schema!({
            "description": "An entry, or `{file: PATH}`: a text file beside the desired state with an address or a network a line.",
            "oneOf": [entry, file],
        })
    }
}
