//! The committed JSON Schema: fresh, and of one mind with the loader.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use exitpool::desired::{load, schema::schema};
use exitpool::source::{Source, SourceSpec};
use serde_json::Value;

use crate::support::generated;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has no YAML file");
    files
}

/// Everything that an operator may copy.
fn published_files() -> Vec<PathBuf> {
    [yaml_files("examples"), yaml_files("desired-state")].concat()
}

fn as_json(path: &Path) -> Option<Value> {
    serde_yaml::from_slice(&fs::read(path).unwrap()).ok()
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn the_committed_schema_is_fresh() {
    let fresh = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    generated("schema/desired-state.v1.schema.json", &fresh);
}

#[test]
fn every_published_file_is_valid_for_the_loader_and_for_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for path in published_files() {
        let candidate = Source::new(SourceSpec::File(path.clone())).candidate().unwrap();
        let loaded = load(&name(&path), candidate.given());
        assert!(loaded.is_ok(), "{}: {}", path.display(), loaded.unwrap_err());
        let errors: Vec<_> = validator.iter_errors(&as_json(&path).unwrap()).map(|it| it.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
}

#[test]
fn every_valid_fixture_is_valid_for_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for path in yaml_files("tests/fixtures/desired/valid") {
        let errors: Vec<_> = validator.iter_errors(&as_json(&path).unwrap()).map(|it| it.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
}

/// What the loader refuses and no schema could: what fields say together, and what only YAML knows.
const BEYOND_A_SCHEMA: [&str; 11] = [
    "a_mail_login_without_its_other_half",
    "a_pool_beyond_the_last_port",
    "a_pool_in_the_control_ports",
    "a_pool_of_no_nodes",
    "a_state_without_any_node",
    "a_version_and_nothing_else",
    "distinct_exits_for_nodes_of_one_tor",
    "duplicate_keys_are_all_found",
    "pools_of_the_same_name",
    "pools_whose_ports_overlap",
    "rotation_faster_than_tor_allows",
];

#[test]
fn the_schema_refuses_what_the_loader_refuses_where_a_schema_can() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let is_accepted = |path: &&PathBuf| as_json(path).is_some_and(|value| validator.is_valid(&value));
    let files = yaml_files("tests/fixtures/desired/invalid");
    let accepted: BTreeSet<_> = files.iter().filter(is_accepted).map(|path| name(path)).collect();
    assert_eq!(accepted, BEYOND_A_SCHEMA.map(str::to_owned).into());
}

/// One field of a type, as the schema describes it.
struct Field {
    name: String,
    description: String,
    kind: String,
    is_required: bool,
}

impl Field {
    fn row(&self) -> String {
        let required = if self.is_required { ", required" } else { "" };
        format!("| `{}` | {} | {}{required} |", self.name, self.description, self.kind)
    }
}

/// The type's name behind a `$ref`.
fn target(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str().or_else(|| schema["anyOf"][0]["$ref"].as_str())?.strip_prefix("#/$defs/")
}

fn kind(schema: &Value) -> String {
    if let Some(name) = target(schema) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") => format!("mapping to {}", kind(&schema["additionalProperties"])),
        Some("string") => "text".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => integers(schema),
        _ => schema["type"].as_array().unwrap()[0].as_str().unwrap().replace("string", "text"),
    }
}

fn integers(schema: &Value) -> String {
    match (schema["const"].as_u64(), schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        (Some(only), ..) => format!("`{only}`"),
        (None, Some(least), Some(most)) => format!("{least} to {most}"),
        (None, least, _) => format!("number from {}", least.unwrap()),
    }
}

/// The fields of a type, those that are required first.
fn fields(definition: &Value) -> Vec<Field> {
    let Some(properties) = definition["properties"].as_object() else { return Vec::new() };
    let required: Vec<&str> =
        definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let field = |(name, schema): (&String, &Value)| Field {
        name: name.clone(),
        description: schema["description"].as_str().unwrap_or_default().to_owned(),
        kind: kind(schema),
        is_required: required.contains(&name.as_str()),
    };
    let mut fields: Vec<_> = properties.iter().map(field).collect();
    fields.sort_by_key(|field| !field.is_required);
    fields
}

/// One section of the reference.
fn section(name: &str, definition: &Value) -> String {
    let description = definition["description"].as_str().unwrap_or_default();
    let mut text = format!("### {name}\n\n{description}\n");
    let fields = fields(definition);
    if !fields.is_empty() {
        let rows: Vec<String> = fields.iter().map(Field::row).collect();
        text += &format!("\n| field | what it says | type |\n|---|---|---|\n{}\n", rows.join("\n"));
    }
    for choice in definition["oneOf"].as_array().into_iter().flatten().filter(|it| it["description"].is_string()) {
        let word = choice["const"].as_str().or_else(|| choice["required"][0].as_str()).unwrap();
        text += &format!("\n- `{word}`: {}", choice["description"].as_str().unwrap());
    }
    text.trim_end().to_owned() + "\n"
}

/// The reference of all types, from the schema: the document, then what it is made of, then single values.
fn reference() -> String {
    let schema = schema();
    let (objects, values): (Vec<_>, Vec<_>) =
        schema["$defs"].as_object().unwrap().iter().partition(|(_, definition)| definition["properties"].is_object());
    let sections =
        |types: &[(&String, &Value)]| types.iter().map(|(name, it)| section(name, it)).collect::<Vec<_>>().join("\n");
    format!(
        "## The file\n\n{}\n## Its parts\n\n{}\n## Its values\n\n{}",
        section("Document", &schema),
        sections(&objects),
        sections(&values)
    )
}

#[test]
fn every_field_has_a_description() {
    let schema = schema();
    let all = schema["$defs"].as_object().unwrap().iter().map(|(name, it)| (name.as_str(), it));
    for (name, definition) in all.chain([("Document", &schema)]) {
        assert!(definition["description"].is_string(), "{name} has no description");
        for field in fields(definition) {
            assert!(field.description.ends_with('.'), "{name}.{} has no description", field.name);
        }
    }
}

#[test]
fn the_reference_is_fresh() {
    const MARK: &str = "<!-- From here on this page is generated from the types. -->\n\n";
    let page = fs::read_to_string(root().join("docs/desired-state.md")).unwrap();
    let (prose, _) = page.split_once(MARK).unwrap();
    generated("docs/desired-state.md", &format!("{prose}{MARK}{}", reference()));
}
