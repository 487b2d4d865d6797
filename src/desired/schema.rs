//! The JSON Schema of the file, from the types that read it.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::document::Document;
use super::reader::Required;

/// Generates the schema of the desired state, version 1.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Document>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("$id".into(), "https://exitpool.invalid/schema/desired-state.v1.schema.json".into());
        root.remove("default");
    }
    schema
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
