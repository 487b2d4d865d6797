//! What operators see of alerts, and how they try a channel.

use serde_json::Value;

use super::desk::{Desk, FIRES};
use super::endpoint::Endpoint;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../schema/alerts.v1.schema.json")).unwrap()
}

#[test]
fn alerts_are_listed_silenced_ones_too_and_stand_on_the_status() {
    let Some(mut desk) = Desk::new() else { return };
    let endpoint = Endpoint::new(&desk.host.netns);
    let hook = format!("{{name: hook, webhook: {{url: '{}'}}}}", endpoint.url());
    let silence = "{rule: state_directory_full, until: 2999-01-01T00:00:00Z, reason: a bigger disk is ordered}";
    let missing = desk.at("missing.crt").display().to_string();
    desk.write(&format!(
        "allow_empty: true\nalerts:\n  channels: [{hook}]\n  silences: [{silence}]\n\
         \x20 rules: {{{FIRES}, certificate_expiry: {{files: [{missing}]}}, source_stale: {{after: 20m}}}}\n"
    ));
    desk.start();
    let told = endpoint.wait(1).remove(0).json();
    assert_eq!(told["rule"], "certificate_expiry");
    let alerts = desk.says("both", |alerts| Desk::states(alerts).len() == 2);
    assert!(jsonschema::validator_for(&schema()).unwrap().is_valid(&alerts), "{alerts}");
    let states = Desk::states(&alerts);
    let states: Vec<(&str, &str)> = states.iter().map(|(rule, state)| (rule.as_str(), state.as_str())).collect();
    assert_eq!(states, [("certificate_expiry", "firing"), ("state_directory_full", "silenced")]);
    let text = String::from_utf8(desk.verb(&["alerts"]).stdout).unwrap();
    assert!(text.contains("certificate_expiry") && text.contains("CHANNEL"), "{text}");

    let on_status = || {
        let text = desk.host.netns.sh("curl --silent --max-time 10 http://127.0.0.1:8080/api/v1/status");
        let alerts = serde_json::from_str::<Value>(&text).unwrap()["alerts"].clone();
        alerts.as_array().filter(|alerts| alerts.len() == 2).map(|_| alerts.clone())
    };
    let on_status = crate::support::eventually(on_status).expect("the status does not say so");
    assert_eq!(on_status[0]["rule"], "certificate_expiry");
    assert_eq!(endpoint.kept().len(), 1, "what is silenced is not told: {:#?}", endpoint.kept());
}

#[test]
fn a_channel_can_be_tried_and_says_what_went_wrong() {
    let Some(mut desk) = Desk::new() else { return };
    let endpoint = Endpoint::new(&desk.host.netns);
    let hook = format!("{{name: hook, webhook: {{url: '{}'}}}}", endpoint.url());
    let nobody = "{name: nobody, webhook: {url: 'http://127.0.0.1:9/'}}";
    let secret = "{name: secret, telegram: {bot_token: {env: EXITPOOL_NO_SUCH_TOKEN}, chat_id: '-1'}}";
    desk.desire(&[hook.as_str(), nobody, secret].join(", "), "rolled_back: {}");
    desk.start();
    desk.says("the channels are known", |alerts| alerts["channels"].as_array().is_some_and(|all| all.len() == 3));

    for verb in ["alert", "alerts"] {
        let sent = desk.verb(&[verb, "test", "hook"]);
        let said = String::from_utf8(sent.stdout).unwrap();
        assert_eq!((sent.status.code(), said.trim_end()), (Some(0), "hook: sent: 200 OK"));
    }
    let came = endpoint.wait(2);
    assert_eq!(came[0].json()["happened"], "test");
    assert_ne!(came[0].header("idempotency-key"), came[1].header("idempotency-key"));
    for (channel, why) in [
        ("nobody", "cannot reach 127.0.0.1"),
        ("secret", "EXITPOOL_NO_SUCH_TOKEN, which is to hold a secret, is not set"),
        ("other", "has no channel `other`; it has hook, nobody, secret"),
    ] {
        let refused = desk.verb(&["alert", "test", channel]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

/// Five tokens that are none, from one address.
#[test]
fn somebody_who_tries_tokens_is_told() {
    let Some(mut desk) = Desk::new() else { return };
    let endpoint = Endpoint::new(&desk.host.netns);
    let hook = format!("{{name: hook, webhook: {{url: '{}'}}}}", endpoint.url());
    desk.desire(&hook, "brute_force: {failures: 5, within: 15m}");
    desk.start();
    desk.says("it runs", |alerts| alerts["channels"].as_array().is_some_and(|all| all.len() == 1));
    let ask = "curl --silent --max-time 10 --header 'Authorization: Bearer no' http://127.0.0.1:8080/export/txt";
    for _ in 0..5 {
        desk.host.netns.sh(ask);
    }
    let told = endpoint.wait(1).remove(0).json();
    assert_eq!(told["summary"], "127.0.0.1 tried tokens: 5 were refused");
}
