//! What a webhook and Telegram are sent, byte for byte, and how they are tried again.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::desk::{Desk, FIRES, RESTS};
use super::endpoint::{Endpoint, Request, ok};
use crate::support::eventually;

/// HMAC-SHA256 as openssl computes it.
fn hmac(secret: &str, text: &str) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-hmac", secret]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = openssl.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    said.trim().rsplit(' ').next().unwrap().to_owned()
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

/// The body that a webhook is sent, field by field in its order; what changes from run to run is taken from it.
fn expected_body(request: &Request) -> String {
    let said = request.json();
    let text = |field: &str| said[field].to_string();
    format!(
        "{{\"version\":1,\"incident\":{},\"sequence\":{},\"happened\":{},\"rule\":\"state_directory_full\",\
         \"about\":\"state directory\",\"severity\":\"critical\",\"summary\":{},\"details\":[],\"host\":\"{}\",\
         \"revision\":{},\"began\":{},\"at\":{}}}",
        text("incident"),
        text("sequence"),
        text("happened"),
        text("summary"),
        host_name(),
        text("revision"),
        text("began"),
        text("at"),
    )
}

#[test]
fn a_webhook_is_signed_and_tried_again_until_it_takes_it() {
    let Some(mut desk) = Desk::new() else { return };
    let hook = Endpoint::new(&desk.host.netns);
    hook.answer(|number| if number == 0 { ("503 Busy", "", "later".to_owned()) } else { ok() });
    let secret = desk.file("hook.secret", "s3cret\n");
    let channel = format!("{{name: hook, webhook: {{url: '{}/in?x=1', secret: {{file: {secret}}}}}}}", hook.url());
    desk.desire(&channel, FIRES);
    desk.start();

    let came = hook.wait(2);
    for request in &came {
        assert_eq!(request.line, "POST /in?x=1 HTTP/1.1");
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.body, expected_body(request), "byte for byte");
        let signed = format!("{}.{}", request.header("exitpool-timestamp"), request.body);
        assert_eq!(request.header("exitpool-signature"), format!("v1={}", hmac("s3cret", &signed)));
    }
    let key = came[0].header("idempotency-key").to_owned();
    assert_eq!(came[1].header("idempotency-key"), key, "what comes twice says so");
    assert_eq!(key, format!("{}-0", came[0].json()["incident"].as_str().unwrap()));
    assert_eq!(came[1].json()["happened"], "raised");
    desk.says("it is delivered", |alerts| alerts["channels"][0]["waiting"] == 0);
    assert_eq!(desk.host.metric("exitpool_alerts_sent_total{channel=\"webhook\",result=\"error\"}"), 1.0);
    assert_eq!(desk.host.metric("exitpool_alerts_sent_total{channel=\"webhook\",result=\"success\"}"), 1.0);

    desk.desire(&channel, RESTS);
    let over = hook.wait(3).remove(2);
    assert_eq!(over.body, expected_body(&over));
    let said = over.json();
    assert_eq!((&said["happened"], &said["sequence"]), (&json!("resolved"), &json!(1)));
    assert_eq!(said["incident"], came[0].json()["incident"]);
    // A row is written once the answer has come.
    let rows = || exitpool::audit::list(&desk.host.state_dir().join("audit.sqlite"), 100).unwrap();
    let told = || rows().iter().filter(|row| row.record.object == "channel hook").count();
    assert!(eventually(|| (told() == 3).then_some(())).is_some(), "refused, taken, over: {:#?}", rows());
    let rows = rows();
    assert!(!desk.host.log().contains("s3cret") && !format!("{rows:?}").contains("s3cret"));
}

#[test]
fn telegram_is_left_alone_for_as_long_as_it_asks_and_its_token_is_nowhere() {
    let Some(mut desk) = Desk::new() else { return };
    let api = Endpoint::new(&desk.host.netns);
    let busy = json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 7",
                      "parameters": {"retry_after": 7}});
    api.answer(move |number| match number {
        0 => ("429 Too Many Requests", "", busy.to_string()),
        _ => ("200 OK", "", json!({"ok": true, "result": {}}).to_string()),
    });
    let token = "123456:AAE-secret_token";
    let file = desk.file("bot.token", token);
    let telegram = format!("bot_token: {{file: {file}}}, chat_id: '-100123', api_url: '{}'", api.url());
    desk.desire(&format!("{{name: chat, telegram: {{{telegram}}}}}"), FIRES);
    desk.start();

    let came = api.wait(2);
    assert_eq!(came[0].line, format!("POST /bot{token}/sendMessage HTTP/1.1"));
    assert!(came[1].at - came[0].at >= Duration::from_secs(7), "{:?}", came[1].at - came[0].at);
    assert_eq!(came[0].body, came[1].body);
    let said = came[0].json();
    let text = said["text"].as_str().unwrap();
    let expected = json!({"chat_id": "-100123", "text": text, "parse_mode": "MarkdownV2",
                          "link_preview_options": {"is_disabled": true}});
    assert_eq!(said, expected);
    assert!(text.starts_with("🔴 *CRITICAL*: the disk of the state directory is "), "{text}");
    assert!(text.contains(" % full, ") && text.contains("\nrule: `state_directory_full`\n"), "{text}");
    assert!(text.contains(&format!("\nhost: `{}`\n", host_name())), "{text}");
    assert!(!desk.host.log().contains("secret_token"), "{}", desk.host.log());
    assert!(!desk.alerts().to_string().contains("secret_token"));
}

#[test]
fn a_channel_that_fails_is_told_on_the_others_and_not_on_itself() {
    let Some(mut desk) = Desk::new() else { return };
    let (dead, alive) = (Endpoint::new(&desk.host.netns), Endpoint::new(&desk.host.netns));
    dead.answer(|_| ("500 Broken", "", String::new()));
    let channel = |name: &str, url: String| format!("{{name: {name}, webhook: {{url: '{url}'}}}}");
    let channels = [channel("dead", dead.url()), channel("alive", alive.url())].join(", ");
    let rules = format!("{FIRES}, channel_failing: {{for: 1s}}");
    desk.desire(&channels, &rules);
    desk.start();

    let told = alive.wait(2);
    assert_eq!(told[1].json()["rule"], "channel_failing");
    assert_eq!(told[1].json()["about"], "dead");
    dead.answer(|_| ok());
    let over = alive.wait(3).remove(2).json();
    assert_eq!((&over["rule"], &over["happened"]), (&json!("channel_failing"), &json!("resolved")));
    let late = dead.kept();
    assert!(late.iter().all(|request| request.json()["rule"] == "state_directory_full"), "{late:#?}");
}

/// `via` names a pool none of whose nodes serves: the channel is not reached another way.
#[test]
fn what_is_to_go_through_a_pool_goes_no_other_way() {
    let Some(mut desk) = Desk::new() else { return };
    let hook = Endpoint::new(&desk.host.netns);
    let channel = format!("{{name: hook, via: eu, webhook: {{url: '{}'}}}}", hook.url());
    let pools = "pools: [{name: eu, size: 1, socks_port: 30000}]";
    desk.write(&format!("{pools}\nalerts:\n  channels: [{channel}]\n  rules: {{{FIRES}}}\n"));
    desk.start();
    let said = desk.says("no node serves", |alerts| alerts["channels"][0]["failing"].is_string());
    let why = said["channels"][0]["failing"].as_str().unwrap();
    assert_eq!(why, "no node of pool eu serves, through which it is reached");
    assert_eq!(hook.kept().len(), 0);
}
