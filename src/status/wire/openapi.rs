//! `/openapi.json`: every route, described from the closed list of routes and the types that answer it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{DriftDocument, EventsDocument, NodesDocument, StatusDocument};
use crate::export::ExportFormat;
use crate::export::list::content_type;
use crate::export::wire::{ListDocument, ProblemDocument};
use crate::status::metrics::{Endpoint, Method};

/// What a route answers with where all is well.
struct Told {
    summary: &'static str,
    /// The content types, each with its schema where it is JSON.
    content: Vec<(&'static str, Option<Value>)>,
}

/// The description of all routes, OpenAPI 3.1.
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.for_serialize().into_generator();
    let routes = Endpoint::ALL.into_iter().filter(|endpoint| *endpoint != Endpoint::Other);
    let paths: Map<String, Value> =
        routes.map(|endpoint| (endpoint.label().to_owned(), path(endpoint, &mut generator))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "exitpool",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What is known of a pool, to read and never to change, and the lists of its nodes.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "PASETO v4.public"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
    })
}

fn path(endpoint: Endpoint, generator: &mut SchemaGenerator) -> Value {
    let told = told(endpoint, generator);
    let responses: Map<String, Value> = endpoint
        .statuses(Method::Get)
        .iter()
        .map(|status| ((*status).to_owned(), response(endpoint, status, &told, generator)))
        .collect();
    let is_for_lists = matches!(endpoint, Endpoint::Export(_));
    let mut get = json!({"summary": told.summary, "responses": responses});
    if is_for_lists {
        get["parameters"] = parameters();
        get["security"] = json!([{"bearer": []}, {"query": []}]);
    }
    json!({"get": get})
}

fn told(endpoint: Endpoint, generator: &mut SchemaGenerator) -> Told {
    const TEXT: &str = "text/plain; charset=utf-8";
    let told = |summary, content| Told { summary, content };
    match endpoint {
        Endpoint::Page => told("The page, for people.", vec![("text/html; charset=utf-8", None)]),
        Endpoint::Healthz => told("Whether the daemon is alive and its passes end.", vec![(TEXT, None)]),
        Endpoint::Readyz => told("Whether the first pass is done.", vec![(TEXT, None)]),
        Endpoint::Metrics => told("Prometheus' metrics.", vec![("text/plain; version=0.0.4; charset=utf-8", None)]),
        Endpoint::Status => told("Whether the host is as desired.", json_of::<StatusDocument>(generator)),
        Endpoint::Nodes => told("Every node.", json_of::<NodesDocument>(generator)),
        Endpoint::Drift => told("What drifted, and what was brought back.", json_of::<DriftDocument>(generator)),
        Endpoint::Events => {
            let stream = ("text/event-stream", None);
            let content = json_of::<EventsDocument>(generator).into_iter().chain([stream]).collect();
            told("The latest events, or a stream of them for whoever accepts `text/event-stream`.", content)
        }
        Endpoint::Export(ExportFormat::Json) => told("A list of nodes.", json_of::<ListDocument>(generator)),
        Endpoint::Export(format) => told("A list of nodes.", vec![(content_type(format), None)]),
        Endpoint::Openapi => told("This description.", vec![("application/json", None)]),
        Endpoint::Other => told("", Vec::new()),
    }
}

fn json_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Vec<(&'static str, Option<Value>)> {
    vec![("application/json", Some(generator.subschema_for::<T>().to_value()))]
}

fn response(endpoint: Endpoint, status: &str, told: &Told, generator: &mut SchemaGenerator) -> Value {
    let is_of_health = matches!(endpoint, Endpoint::Healthz | Endpoint::Readyz) && status == "503";
    let content: Vec<(&str, Value)> = match status {
        "200" => told.content.iter().map(|(kind, schema)| (*kind, schema.clone().unwrap_or(json!({})))).collect(),
        "304" => Vec::new(),
        _ if is_of_health => vec![("text/plain; charset=utf-8", json!({}))],
        _ => vec![("application/problem+json", generator.subschema_for::<ProblemDocument>().to_value())],
    };
    let content: Map<String, Value> =
        content.into_iter().map(|(kind, schema)| (kind.to_owned(), json!({"schema": schema}))).collect();
    let mut response = json!({"description": meaning(status)});
    if !content.is_empty() {
        response["content"] = Value::Object(content);
    }
    if let Some(name) = header(endpoint, status) {
        response["headers"] = json!({name: {"schema": {"type": "string"}}});
    }
    response
}

/// The header of an answer that says what to do.
fn header(endpoint: Endpoint, status: &str) -> Option<&'static str> {
    match (status, endpoint) {
        ("401", _) => Some("WWW-Authenticate"),
        ("429", _) | ("503", Endpoint::Export(_)) => Some("Retry-After"),
        _ => None,
    }
}

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "All is well.",
        "304" => "It is what the client has already.",
        "400" => "The request is not understood.",
        "401" => "No token, or one that is not valid.",
        "403" => "This may not be had from there, or with that token.",
        "409" => "The operator advertises what this format does not take.",
        "429" => "Too much was asked for.",
        _ => "Not now.",
    }
}

/// What a request for a list may ask for.
fn parameters() -> Value {
    let one = |name: &str, schema: Value, description: &str| json!({"name": name, "in": "query", "required": false, "schema": schema, "description": description});
    let many = |name: &str, description: &str| {
        let list = json!({"type": "array", "items": {"type": "string"}});
        let mut parameter = one(name, list, description);
        parameter["style"] = json!("form");
        parameter["explode"] = json!(false);
        parameter
    };
    json!([
        many("pool", "Of these pools. Default: all that may be had."),
        many("country", "With an exit in one of these countries, ISO 3166-1 alpha-2. Default: any."),
        one("limit", json!({"type": "integer", "minimum": 1}), "So many nodes at most."),
        one(
            "shuffle",
            json!({"type": "string"}),
            "`true` for another order each time, or a seed for always the same one."
        ),
        one(
            "state",
            json!({"type": "string", "enum": ["ready", "any"]}),
            "Nodes that are ready, or all. Default: `ready`."
        ),
    ])
}
