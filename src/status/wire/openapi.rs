//! `/openapi.json`: every route, described from the closed list of routes and the types that answer it.

mod request;

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
    let mut get = json!({"operationId": operation(endpoint), "summary": told.summary, "responses": responses});
    get["parameters"] = request::parameters(endpoint);
    if matches!(endpoint, Endpoint::Export(_)) {
        get["security"] = json!([{"bearer": []}, {"query": []}]);
    }
    json!({"get": get, "head": head(&get)})
}

/// What a program that is made from this description calls a request.
fn operation(endpoint: Endpoint) -> String {
    let words = endpoint.label().split(['/', '.']).filter(|word| !word.is_empty()).collect::<Vec<_>>();
    if words.is_empty() { "page".to_owned() } else { words.join("_") }
}

/// HEAD is answered as GET is, without the body.
fn head(get: &Value) -> Value {
    let mut head = get.clone();
    head["operationId"] = json!(format!("head_{}", get["operationId"].as_str().unwrap_or_default()));
    head["summary"] = json!(format!("The head of: {}", get["summary"].as_str().unwrap_or_default()));
    for response in head["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        response.as_object_mut().and_then(|response| response.remove("content"));
    }
    head
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
    let headers = headers(endpoint, status);
    if !headers.is_empty() {
        let header = |(name, description)| {
            (String::from(name), json!({"description": description, "schema": {"type": "string"}}))
        };
        response["headers"] = Value::Object(headers.into_iter().map(header).collect());
    }
    response
}

/// The headers of an answer that say what to do.
fn headers(endpoint: Endpoint, status: &str) -> Vec<(&'static str, &'static str)> {
    let is_tagged = endpoint.statuses(Method::Get).contains(&"304");
    let pages = [Endpoint::Nodes, Endpoint::Events].contains(&endpoint);
    let told = [
        (["200", "304"].contains(&status) && is_tagged, "ETag", "What to send in `If-None-Match` next time."),
        (status == "200", "Vary", "What else the answer depends on: `accept-encoding`, since it may be compressed."),
        (status == "200" && pages, "Link", "Where what comes behind is, `rel=\"next\"`; absent at the end."),
        (status == "401", "WWW-Authenticate", "What is wrong with the token, as RFC 6750 has it."),
        (status == "429", "Retry-After", "So many seconds to wait."),
        (status == "503" && matches!(endpoint, Endpoint::Export(_)), "Retry-After", "So many seconds to wait."),
    ];
    told.into_iter().filter(|(is_sent, ..)| *is_sent).map(|(_, name, description)| (name, description)).collect()
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
