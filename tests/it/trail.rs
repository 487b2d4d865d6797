//! What the program writes down: the audit trail, events, and no secret.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use exitpool::status::Reason;
use serde_json::Value;

use crate::export::consumer::Ran;
use crate::netns::Netns;
use crate::remotes::host::Host;

/// Runs a verb that finds its host by its state or its runtime directory.
fn exitpool(host: &Host, arguments: &[&str]) -> Ran {
    Ran::of(command(host, arguments).output().unwrap())
}

fn command(host: &Host, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exitpool"));
    command.args(arguments).env("EXITPOOL_STATE_DIR", host.state_dir()).env("EXITPOOL_RUNTIME_DIR", host.runtime_dir());
    command.env_remove("SSH_CONNECTION").env_remove("SSH_CLIENT");
    command
}

fn entries(host: &Host) -> Vec<Value> {
    let listed: Value = serde_json::from_str(&exitpool(host, &["audit", "-o", "json"]).done()).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../schema/audit.v1.schema.json")).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&listed), "{listed}");
    listed["entries"].as_array().unwrap().clone()
}

/// A host whose node has a process, by a commit that ada has signed.
async fn running() -> Option<Host> {
    let mut host = Host::new()?;
    let (served, commit) = (host.kit.at("served/pool.git").display().to_string(), host.kit.git(&["rev-parse", "main"]));
    host.start(&served);
    host.in_force(&commit, 1).await;
    Some(host)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_says_who_did_what_and_is_verified_here_and_elsewhere() {
    let Some(mut host) = running().await else { return };
    let commit = host.push(2, Some("ada"));
    host.in_force(&commit, 2).await;
    let rows = entries(&host);
    let accepted = rows.iter().rfind(|row| row["object"] == "host").unwrap();
    assert!(accepted["action"].as_str().unwrap().ends_with(" is in force"), "{accepted}");
    assert!(accepted["signers"][0].as_str().is_some_and(|signer| signer.contains("ada")), "{accepted}");
    let made = rows.iter().find(|row| row["object"] == "node us-1").unwrap();
    assert_eq!((made["cause"].as_str(), made["result"].as_str()), (Some("change"), Some("done")), "{made}");
    assert_eq!(made["signers"], accepted["signers"]);

    let mut suspending = command(&host, &["suspend", "--reason", "maintenance", "--for", "1h"]);
    let suspended = suspending.env("SSH_CONNECTION", "203.0.113.9 50000 192.0.2.1 22").output().unwrap();
    Ran::of(suspended).done();
    let ordered = entries(&host).pop().unwrap();
    let from = (ordered["uid"].as_u64(), ordered["address"].as_str());
    assert_eq!(from, (Some(u64::from(rustix::process::getuid().as_raw())), Some("203.0.113.9")), "{ordered}");

    // While the daemon runs, and on another machine, which has the export and the key.
    let verified: Value = serde_json::from_str(&exitpool(&host, &["audit", "verify", "-o", "json"]).done()).unwrap();
    assert_eq!(verified["pinned"], true, "{verified}");
    let key = exitpool(&host, &["audit", "key"]).done();
    assert_eq!(verified["key"], key);
    let status: Value = serde_json::from_str(&exitpool(&host, &["status", "-o", "json"]).done()).unwrap();
    assert_eq!((&status["audit"]["key"], &status["audit"]["lost"]), (&verified["key"], &Value::from(0)));
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("trail.jsonl").display().to_string();
    exitpool(&host, &["audit", "export", &copy]).done();
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exitpool"));
        command.args(["audit", "verify", &copy, "--state-dir"]).arg(elsewhere.path()).args(more);
        Ran::of(command.output().unwrap())
    };
    check(&["--public", &key]).done();
    let head = verified["head"].as_str().unwrap();
    check(&["--public", &key, "--place", head]).done();
    assert!(check(&[]).stderr.contains("no key was named"));
    let another = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let other = check(&["--public", another]);
    assert!(other.code == 1 || other.code == 64, "{other:?}");
    let text = fs::read_to_string(&copy).unwrap();
    fs::write(&copy, text.replacen("change", "chance", 1)).unwrap();
    let changed = check(&["--public", &key]);
    assert!(changed.code == 1 && changed.stderr.contains("is broken at row"), "{changed:?}");

    // An address goes, and the chain stays; where it ended before is still a place of it.
    let erased = exitpool(&host, &["audit", "erase", "203.0.113.9"]).done();
    assert_eq!(erased, "the address of 1 row is erased");
    exitpool(&host, &["audit", "verify", "--place", head]).done();
    let bad = exitpool(&host, &["audit", "erase", "somewhere"]);
    assert!(bad.code == 1 && bad.stderr.contains("`somewhere` is no address"), "{bad:?}");
    host.stop();
    exitpool(&host, &["audit", "verify"]).done();
    let again = entries(&host);
    assert!(again.iter().any(|row| row["address_erased"] == true), "{again:?}");
}

/// A trail that cannot be written costs records and no pass, and says how many.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_written_are_counted_and_hold_nothing_up() {
    let Some(mut host) = running().await else { return };
    assert_eq!(host.metric("exitpool_audit_records_lost_total"), 0.0);
    let trail = rusqlite::Connection::open(host.state_dir().join("audit.sqlite")).unwrap();
    trail.execute_batch("DROP TABLE record").unwrap();
    let commit = host.push(2, Some("ada"));
    host.in_force(&commit, 2).await;
    assert!(host.metric("exitpool_audit_records_lost_total") >= 1.0);
    let status: Value = serde_json::from_str(&exitpool(&host, &["status", "-o", "json"]).done()).unwrap();
    assert!(status["audit"]["trouble"].as_str().is_some_and(|why| why.contains("record")), "{status}");
    assert_eq!(host.metric("exitpool_warnings{reason=\"AuditNotWritten\"}"), 1.0);
    host.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_change_while_the_daemon_runs() {
    let Some(host) = running().await else { return };
    assert_eq!(exitpool(&host, &["log-level"]).done(), "info");
    exitpool(&host, &["reconcile"]).done();
    assert!(!host.log().contains("DEBUG"));
    exitpool(&host, &["log-level", "debug"]).done();
    exitpool(&host, &["reconcile"]).done();
    assert!(host.log().contains("DEBUG looking again"), "{}", host.log());
    let bad = exitpool(&host, &["log-level", "verbose"]);
    assert!(bad.code == 1 && bad.stderr.contains("`verbose` is no level of the log"), "{bad:?}");
    assert_eq!(exitpool(&host, &["log-level"]).done(), "debug");
    let rows = entries(&host);
    let results: Vec<&Value> = rows.iter().rev().take(2).map(|row| &row["result"]).collect();
    assert_eq!(results, ["refused", "done"], "orders are in the trail");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_with_their_reasons_and_watched() {
    let Some(host) = running().await else { return };
    let told: Value = serde_json::from_str(&exitpool(&host, &["events", "-o", "json"]).done()).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../schema/events.v1.schema.json")).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&told), "{told}");
    let events = told["events"].as_array().unwrap();
    let known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert!(events.iter().all(|event| known.contains(&event["reason"].as_str().unwrap())), "{events:?}");
    assert!(events.iter().any(|event| event["reason"] == "NewArtifact"), "{events:?}");
    let of_node: Value =
        serde_json::from_str(&exitpool(&host, &["events", "--for", "us-0", "-o", "json"]).done()).unwrap();
    let of_node = of_node["events"].as_array().unwrap();
    assert!(!of_node.is_empty() && of_node.len() < events.len(), "{of_node:?}");
    let later = exitpool(&host, &["events", "--since", "2999-01-01T00:00:00Z"]);
    assert!(later.code == 0 && later.stdout.is_empty(), "{later:?}");
    assert!(exitpool(&host, &["events"]).done().starts_with("TIME "));

    let mut watching = command(&host, &["events", "--watch", "-o", "json"]);
    let mut watching = watching.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(first["id"], events[0]["id"]);
    exitpool(&host, &["suspend", "--reason", "maintenance", "--for", "1h"]).done();
    let suspended = lines.find(|line| line.contains("Suspended is True"));
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(suspended.unwrap().contains("maintenance"));
}

/// Everything below a directory, with where it stands.
fn contents(directory: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            contents(&path, found);
        } else if path.is_file() {
            found.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
}

/// What only a file of its own may have: where it stands, and in which spellings.
struct Canary {
    text: String,
    at_home_in: Option<&'static str>,
}

fn canary(text: &str) -> Canary {
    Canary { text: text.to_owned(), at_home_in: None }
}

/// Alerts of every channel with secrets from every place, to ports of this namespace where nobody listens.
fn alerts(secret_file: &Path) -> String {
    format!(
        "alerts:\n  channels:\n\
         \x20   - {{name: mail, email: {{server: smtps://127.0.0.1:9, username: pool, password: {{credential: smtp-password}}, from: pool@example.org, to: [ops@example.org]}}}}\n\
         \x20   - {{name: chat, telegram: {{bot_token: {{file: {}}}, chat_id: '-100123', api_url: 'http://127.0.0.1:9'}}}}\n\
         \x20   - {{name: hook, webhook: {{url: 'http://127.0.0.1:9/hook', secret: {{env: CANARY_OF_THE_HOOK}}}}}}\n\
         \x20 rules: {{node_failure_rate: {{above: 1%}}, drift: {{for: 1s}}, source_stale: {{after: 1s}}}}\n",
        secret_file.display()
    )
}

/// What HTTP and every verb that reads say.
fn all_that_is_said(host: &Host) -> Vec<(String, Vec<u8>)> {
    let get = |path: &str| curl(&host.netns, path);
    let http = ["/", "/metrics", "/openapi.json", "/api/v1/status", "/api/v1/nodes", "/api/v1/events", "/api/v1/drift"];
    let http = http.iter().map(|path| ((*path).to_owned(), get(path).into_bytes()));
    let verbs: [&[&str]; 6] =
        [&["status", "-o", "json"], &["events"], &["audit"], &["audit", "export"], &["history"], &["nodes"]];
    let verbs = verbs.iter().map(|verb| {
        let ran = exitpool(host, verb);
        (verb.join(" "), format!("{}{}", ran.stdout, ran.stderr).into_bytes())
    });
    http.chain(verbs).collect()
}

fn curl(netns: &Netns, path: &str) -> String {
    netns.sh(&format!("curl --silent --show-error --max-time 10 'http://127.0.0.1:8080{path}'"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_down() {
    let Some(mut host) = Host::new() else { return };
    let credentials = tempfile::tempdir().unwrap();
    let secret_file = credentials.path().join("telegram.token");
    fs::write(credentials.path().join("smtp-password"), "canary-7f31-smtp").unwrap();
    fs::write(&secret_file, "123456:canary-7f31-telegram").unwrap();
    host.environment = vec![
        ("EXITPOOL_LOG", "trace,notify=off,mio=off".to_owned()),
        ("EXITPOOL_LOG_FILE", host.kit.at("log.json").display().to_string()),
        ("CREDENTIALS_DIRECTORY", credentials.path().display().to_string()),
        ("CANARY_OF_THE_HOOK", "canary-7f31-hook".to_owned()),
    ];
    let served = host.kit.at("served/pool.git").display().to_string();
    host.start_believing(&served, &["--poll-every", "1s"]);
    let document = format!("{}{}", crate::remotes::host::document(1), alerts(&secret_file));
    let commit = host.kit.commit(&document, None);
    host.push_head();
    host.in_force(&commit, 1).await;
    let mut said = all_that_is_said(&host);

    // A secret that stands in the file itself is refused, and not repeated.
    let literal = document.replace("{credential: smtp-password}", "canary-7f31-literal");
    host.kit.commit(&literal, None);
    host.push_head();
    host.sees("the refusal", |report| report.status.to_string().contains("\"BuildFailed\"")).await;
    said.extend(all_that_is_said(&host));
    // Tokens of a consumer, good for nothing here.
    said.push(("export".to_owned(), curl(&host.netns, "/export/txt?token=canary-7f31-token").into_bytes()));
    // Somebody starts a second daemon, with a password in its source: its last words are told, too.
    let second = host.verb("run", &["--source", "https://ada:canary-7f31-url@127.0.0.1:9/pool.git"]);
    assert!(!second.status.success());
    said.push(("a second daemon".to_owned(), [second.stdout, second.stderr].concat()));
    host.stop();
    // And one that fetches with it, and cannot.
    host.start_believing("https://ada:canary-7f31-url@127.0.0.1:9/pool.git", &["--poll-every", "1s"]);
    host.condition("FetchFailed", "True", "").await;
    said.extend(all_that_is_said(&host));
    host.stop();

    let logs_everything = host.log().contains("DEBUG looking again");
    said.push(("the log".to_owned(), host.log().into_bytes()));
    said.push(("the log file".to_owned(), fs::read(host.kit.at("log.json")).unwrap()));
    contents(&host.state_dir(), &mut said);
    contents(&host.runtime_dir(), &mut said);
    let key = fs::read_to_string(host.state_dir().join("audit.key")).unwrap();
    let cookies = said.iter().filter(|(place, _)| place.ends_with("cookie")).map(|(_, bytes)| bytes.clone());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let cookies: Vec<String> = cookies.map(|bytes| hex(&bytes)).collect();
    assert!(!cookies.is_empty() && logs_everything, "{} {}", cookies.len(), host.log());
    let cookies = cookies.iter().flat_map(|cookie| [canary(cookie), canary(&cookie.to_uppercase())]);
    let of_files = [Canary { text: key.trim()[10..50].to_owned(), at_home_in: Some("audit.key") }];
    let of_secrets =
        ["smtp", "telegram", "hook", "literal", "token", "url"].map(|of| canary(&format!("canary-7f31-{of}")));
    for Canary { text, at_home_in } in cookies.chain(of_files).chain(of_secrets) {
        for (place, bytes) in &said {
            let is_there = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            let may_be = at_home_in.is_some_and(|home| place.ends_with(home));
            assert!(!is_there || may_be, "{text} stands in {place}");
        }
    }
}
