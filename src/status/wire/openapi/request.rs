//! What a request may ask for, as OpenAPI describes it.

use serde_json::{Value, json};

use crate::export::query::{MAX_SEED_BYTES, Query};
use crate::status::metrics::{Endpoint, Method};
use crate::status::wire::query::Parameter;

/// The parameters of a route.
pub(super) fn parameters(endpoint: Endpoint) -> Value {
    let mut parameters: Vec<Value> = match endpoint {
        Endpoint::Export(_) => of_a_list(),
        Endpoint::Page => of_the_page(),
        _ => Parameter::of(endpoint).iter().map(|parameter| parameter.described()).collect(),
    };
    if endpoint.statuses(Method::Get).contains(&"304") {
        parameters
            .push(header("If-None-Match", "The `ETag` of what the client has already: 304 says that it is good."));
    }
    if endpoint == Endpoint::Events {
        parameters.push(header("Last-Event-ID", "Of a stream: the id of the last event that the client has."));
    }
    Value::Array(parameters)
}

fn header(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "header", "required": false, "description": description, "schema": {"type": "string"},
    })
}

fn query(name: &str, schema: &Value, description: &str) -> Value {
    json!({"name": name, "in": "query", "required": false, "schema": schema, "description": description})
}

/// What of the page a reader may ask for; what it does not understand, it passes over.
fn of_the_page() -> Vec<Value> {
    let text = json!({"type": "string"});
    vec![
        query("refresh", &text, "How often the page asks again by itself; `off` for never."),
        query("pool", &text, "The pool that is shown alone; 404 says that there is none of that name."),
        query("from", &text, "How many rows of the table of nodes are passed over."),
    ]
}

/// What a request for a list may ask for.
fn of_a_list() -> Vec<Value> {
    let saying = |parameter: Parameter, description: &str| {
        let mut described = parameter.described();
        described["description"] = json!(description);
        described
    };
    let seed = json!({"type": "string", "pattern": format!("^[A-Za-z0-9._-]{{1,{MAX_SEED_BYTES}}}$")});
    vec![
        saying(Parameter::Pool, "Of these pools. Default: all that may be had."),
        saying(Parameter::Country, "That leave from one of these countries, ISO 3166-1 alpha-2. Default: any."),
        query(
            "limit",
            &json!({"type": "integer", "minimum": 1, "maximum": Query::MAX_LIMIT}),
            "So many nodes at most.",
        ),
        query("shuffle", &seed, "`true` for another order each time, or a seed for always the same one."),
        query(
            "state",
            &json!({"type": "string", "enum": ["ready", "any"]}),
            "Nodes that are ready, or all. Default: `ready`.",
        ),
    ]
}
