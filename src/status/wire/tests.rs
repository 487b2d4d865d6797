//! What the JSON documents say, and that their schemas are the committed ones.

use serde_json::{Value, json};

use super::*;
use crate::observe::Observation;
use crate::plan::step::{Action, Cause, Step};
use crate::plan::{Held, HoldReason};
use crate::rollout::Why;
use crate::status::Suspension;
use crate::status::metrics::{Endpoint, Method};
use crate::status::tests::{generated, world::World, world::revision};

fn value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).unwrap()
}

/// Checks a document by its own schema, read by a second implementation.
fn assert_fits(name: &str, document: &Value) {
    let (_, schema) = schemas().into_iter().find(|(other, _)| *other == format!("{name}.v1.schema.json")).unwrap();
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    let errors: Vec<String> = validator.iter_errors(document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn the_status_document_has_the_promised_fields() {
    let status = World::healthy(3).status();
    let document = value(&StatusDocument::of(&status, Some("::ffff:127.0.0.1".parse().unwrap())));
    assert_fits("status", &document);
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "ReconciliationSucceeded",
        "message": "the host matches main@sha1:aaaaaaaaaaaa: 3 nodes ready",
        "last_transition_time": "2026-03-01T12:00:00.000Z",
    });
    assert_eq!(document["conditions"][0], ready);
    let mut rest = document;
    rest.as_object_mut().unwrap().remove("conditions");
    let expected = json!({
        "revision": format!("main@sha1:{}", "a".repeat(40)),
        "signers": [],
        "observed_generation": 1,
        "offered": null,
        "suspensions": [],
            "warnings": [],
        "held": [],
        "lockouts": [],
        "alerts": [],
        "pools": [{"name": "eu", "desired": 2, "ready": 2}, {"name": "us", "desired": 1, "ready": 1}],
        "firewall": {"driver": "nftables", "in_sync": true, "changed_by": null},
        "server": {"addresses": ["192.0.2.10", "2001:db8:1::10"]},
        "audit": {"key": null, "lost": 0, "trouble": null},
        "client": {"address": "127.0.0.1", "whitelisted": true},
    });
    assert_eq!(rest, expected);
}

#[test]
fn what_waits_for_an_operator_is_told() {
    let mut world = World::healthy(3);
    let order = |until: Option<&str>| Suspension {
        reason: "moving racks".to_owned(),
        until: until.map(|until| until.parse().unwrap()),
        by: "ada".to_owned(),
    };
    world.suspended = Some(order(None));
    world.suspended_pools.insert("eu".parse().unwrap(), order(Some("2026-03-01T13:00:00Z")));
    world.source.offered = Some(revision('b'));
    world.source.withheld = Some(Why::Suspended);
    let object = Object::Instance("eu-9".parse().unwrap());
    let step = Step { object, cause: Cause::Change, action: Action::DestroyInstance };
    world.plan.held.push(Held { step, reason: HoldReason::Unconfirmed });
    let document = value(&StatusDocument::of(&world.status(), None));
    assert_fits("status", &document);
    assert_eq!(document["offered"]["revision"], revision('b').to_string());
    let expected = json!([
        {"pool": null, "reason": "moving racks", "by": "ada", "until": null},
        {"pool": "eu", "reason": "moving racks", "by": "ada", "until": "2026-03-01T13:00:00.000Z"},
    ]);
    assert_eq!(document["suspensions"], expected);
    let expected = json!([{
        "object": {"kind": "instance", "name": "eu-9"},
        "reason": "unconfirmed",
        "message": "- node eu-9 will be destroyed when that is confirmed (reconcile.prune)",
    }]);
    assert_eq!(document["held"], expected);
}

#[test]
fn what_nobody_knows_is_null() {
    let mut world = World::healthy(3);
    world.observed.guard = Observation::Unknown("nft crashed".to_owned());
    let status = world.status();
    let document = value(&StatusDocument::of(&status, None));
    assert_fits("status", &document);
    assert_eq!(document["firewall"]["in_sync"], Value::Null);
    assert_eq!(document["client"], Value::Null);
    assert_eq!(value(&DriftDocument::from(&status))["drifted"], Value::Null);
}

#[test]
fn the_nodes_document_has_the_promised_fields() {
    let mut world = World::healthy(3);
    *world.instance("us-0") = crate::observe::Instance::default();
    let document = value(&NodesDocument::from(&world.status()));
    assert_fits("nodes", &document);
    let time = "2026-03-01T12:00:00.000Z";
    let first = json!({
        "name": "eu-0", "pool": "eu", "socks": "0.0.0.0:30000", "state": "ready", "countries": ["de", "fr", "nl"],
        "exit": {"ip": "198.51.100.0", "country": "de", "fingerprint": "ABABABABABABABABABABABABABABABABABAB0000"},
        "latency_ms": 180, "probe": null, "rotations": 0, "last_rotation": null, "restarts": 0,
        "instance": {"pid": 4000, "version": "0.4.9.11", "bootstrap": 100, "guard_relays": [], "guard_relay_names": [],
            "unsafe_socks": 0},
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Succeeded", "message": "it serves as desired",
            "last_transition_time": time,
        }],
    });
    assert_eq!(document["nodes"][0], first);
    let last = json!({
        "name": "us-0", "pool": "us", "socks": "0.0.0.0:31000", "state": "pending", "countries": ["us"], "exit": null,
        "latency_ms": null, "probe": null, "rotations": 0, "last_rotation": null, "restarts": 0,
        "instance": {"pid": null, "version": null, "bootstrap": null, "guard_relays": [], "guard_relay_names": [],
            "unsafe_socks": 0},
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "Progressing", "message": "its tor is not running",
            "last_transition_time": time,
        }],
    });
    assert_eq!(document["nodes"][2], last);
}

#[test]
fn the_drift_document_tells_what_is_left_and_what_was_repaired() {
    let mut world = World::healthy(3);
    let step = |name: &str| Step {
        object: Object::Instance(name.parse().unwrap()),
        cause: Cause::Drift,
        action: Action::StartInstance { torrc: String::new(), fresh: false },
    };
    world.plan.steps.push(step("eu-0"));
    world.pass.as_mut().unwrap().applied.push(step("eu-1"));
    let document = value(&DriftDocument::from(&world.status()));
    assert_fits("drift", &document);
    let item = |name: &str| {
        json!({
            "kind": "instance", "name": name, "since": "2026-03-01T12:00:00.000Z",
            "message": step(name).to_string(), "changed_by": null, "fight": null,
        })
    };
    let mut repaired = item("eu-1");
    repaired["repaired_at"] = repaired["since"].clone();
    assert_eq!(document, json!({"drifted": true, "items": [item("eu-0")], "repaired": [repaired]}));
}

#[test]
fn the_events_document_tells_what_happened() {
    let document = value(&EventsDocument::of(&World::healthy(3).status(), &Default::default()));
    assert_fits("events", &document);
    let expected = json!({
        "id": 1_772_366_400_000_000_u64, "timestamp": "2026-03-01T12:00:00.000Z", "severity": "info",
        "reason": "NewArtifact", "object": {"kind": "source", "name": "source"},
        "message": format!("main@sha1:{} is in force", "a".repeat(40)),
    });
    assert_eq!(document["events"][0], expected);
}

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    for (name, schema) in schemas() {
        generated(format!("schema/{name}"), &format!("{}\n", serde_json::to_string_pretty(&schema).unwrap()));
    }
}

/// Every reference in a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_route_is_described_and_every_reference_leads_somewhere() {
    let document = openapi();
    generated("schema/openapi.v1.json", &format!("{}\n", serde_json::to_string_pretty(&document).unwrap()));
    for endpoint in Endpoint::ALL.into_iter().filter(|endpoint| *endpoint != Endpoint::Other) {
        let get = &document["paths"][endpoint.label()]["get"];
        assert!(get["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{}", endpoint.label());
        let told: Vec<&String> = get["responses"].as_object().unwrap().keys().collect();
        assert_eq!(told, endpoint.statuses(Method::Get), "{}", endpoint.label());
        let good = get["responses"]["200"]["content"].as_object().unwrap();
        assert!(!good.is_empty() && good.values().all(|content| content["schema"].is_object()));
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{}", found.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}
