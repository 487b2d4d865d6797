//! The JSON Schema of the file, from the types that read it.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::document::Document;
use super::reader::Required;

/// Generates the schema of the desired state, version 1.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Document>().to_value();
    refuse_null(&mut schema);
    schema["$id"] = "urn:exitpool:desired-state:v1".into();
    schema
}

/// Takes `null` out of every choice: a field that may be absent may not be empty.
fn refuse_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(refuse_null),
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|name| name != "null");
            }
            if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
            }
            members.values_mut().for_each(refuse_null);
        }
        _ => {}
    }
}

/// The required fields of every type, as the schema has them.
pub struct RequiredFields {
    schema: Value,
}

impl RequiredFields {
    /// Generates the schema once.
    #[expect(clippy::new_without_default, reason = "it generates the schema: the call should be seen")]
    pub fn new() -> Self {
        Self { schema: schema() }
    }
}

impl Required for RequiredFields {
    fn required(&self, type_name: &str) -> Vec<String> {
        let definition = match type_name {
            "Document" => &self.schema,
            other => &self.schema["$defs"][other.strip_suffix("Document").unwrap_or(other)],
        };
        let fields = definition["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        fields.iter().filter_map(|field| field.as_str().map(str::to_owned)).collect()
    }
}
