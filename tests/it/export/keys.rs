//! `exitpool token`, on a machine that is no host of a pool.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use pasetors::Public;
use pasetors::claims::ClaimsValidationRules;
use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::token::UntrustedToken;
use pasetors::version4::V4;
use serde_json::Value;

use super::consumer::{Desk, Ran, changed, id, token};
use crate::support::python_tool;

#[test]
fn a_key_is_made_once_and_nobody_else_can_read_it() {
    let desk = Desk::new();
    let public = desk.keygen("key");
    let mode = |name: &str| fs::metadata(desk.at(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key"), mode("key.pub")), (0o600, 0o644));
    assert_eq!(fs::read_to_string(desk.at("key.pub")).unwrap(), format!("{public}\n"));
    assert_eq!(token(&["public", "--key", &desk.at("key")]).done(), public);
    assert!(public.starts_with("ed25519:") && public.len() == 52, "{public}");

    let secret = fs::read_to_string(desk.at("key")).unwrap();
    for there in ["key", "other.pub"] {
        fs::write(desk.at("other.pub"), "mine").unwrap();
        let again = token(&["keygen", "--out", &desk.at(there.trim_end_matches(".pub"))]);
        assert_eq!((again.code, again.stdout.as_str()), (1, ""), "{}", again.stderr);
        assert!(again.stderr.contains(&desk.at(there)) && again.stderr.contains("there already"), "{}", again.stderr);
    }
    assert!(!fs::exists(desk.at("other")).unwrap(), "half a pair is left");
    assert_eq!(fs::read_to_string(desk.at("key")).unwrap(), secret);
    let nowhere = token(&["keygen", "--out", &desk.at("no/such/key")]);
    assert!(nowhere.code == 1 && nowhere.stderr.contains("no/such/key"), "{}", nowhere.stderr);
}

#[test]
fn a_key_that_others_can_read_or_that_is_none_signs_nothing() {
    let desk = Desk::new();
    desk.keygen("key");
    let issue = || token(&["issue", "--key", &desk.at("key"), "--grant", "crawler", "--ttl", "1h"]);
    assert_eq!(issue().code, 0);
    fs::set_permissions(desk.at("key"), fs::Permissions::from_mode(0o640)).unwrap();
    let open = issue();
    assert!(open.code == 1 && open.stdout.is_empty() && open.stderr.contains("chmod 600"), "{}", open.stderr);
    fs::set_permissions(desk.at("key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(desk.at("key"), "canary-of-a-password\n").unwrap();
    let broken = issue();
    assert!(broken.code == 1 && broken.stderr.contains("is not a secret key"), "{}", broken.stderr);
    assert!(!broken.stderr.contains("canary"), "what may be a secret is shown: {}", broken.stderr);
    // The public half signs nothing.
    fs::remove_file(desk.at("key")).unwrap();
    fs::rename(desk.at("key.pub"), desk.at("key")).unwrap();
    assert_eq!(issue().code, 1);
}

#[test]
fn a_token_says_what_was_asked_for_and_is_verified() {
    let desk = Desk::new();
    let (public, other) = (desk.keygen("key"), desk.keygen("other"));
    let more = ["--bind", "203.0.113.9", "--bind", "2001:db8::1/32", "--format", "txt,json", "--pool", "eu"];
    let text = desk.issue("key", "crawler", &more);
    assert!(text.starts_with("v4.public.") && text.lines().count() == 1, "{text}");

    let said = token(&["verify", &text, "--public", &other, "--public", &desk.at("key.pub"), "-o", "json"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&said["grant"], &said["pools"]), (&"crawler".into(), &serde_json::json!(["eu"])));
    assert_eq!(said["formats"], serde_json::json!(["txt", "json"]));
    assert_eq!(said["bind"], serde_json::json!(["203.0.113.9/32", "2001:db8::/32"]), "host bits are cleared");
    assert!(said["key"].as_str().unwrap().starts_with("k4.pid."), "{said}");
    let schema: Value = serde_json::from_str(include_str!("../../../schema/token.v1.schema.json")).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&said), "{said}");

    let by_another = token(&["verify", &text, "--public", &other]);
    assert_eq!((by_another.code, by_another.stdout.as_str()), (1, ""), "{}", by_another.stderr);
    assert!(by_another.stderr.contains("none of these keys has signed it"), "{}", by_another.stderr);
    assert_eq!(token(&["verify", &changed(&text, 40), "--public", &public]).code, 1);
    let (one, two) = (desk.issue("key", "crawler", &[]), desk.issue("key", "crawler", &[]));
    assert_ne!(id(&one), id(&two));
}

/// By its own rules for claims, too: times are what every implementation takes them for.
#[test]
fn a_second_implementation_verifies_what_is_issued_and_issues_what_is_verified() {
    let desk = Desk::new();
    desk.keygen("key");
    let secret = fs::read_to_string(desk.at("key")).unwrap();
    let secret = AsymmetricSecretKey::<V4>::try_from(secret.trim()).unwrap();
    let public = AsymmetricPublicKey::<V4>::try_from(&secret).unwrap();
    let text = desk.issue("key", "crawler", &["--not-before", "0s"]);
    let untrusted = UntrustedToken::<Public, V4>::try_from(&text).unwrap();
    let rules = ClaimsValidationRules::new();
    let trusted = pasetors::public::verify(&public, &untrusted, &rules, None, None).unwrap();
    let claims = trusted.payload_claims().unwrap();
    assert_eq!(claims.get_claim("grant"), Some(&"crawler".into()));
    assert_eq!(claims.get_claim("aud"), Some(&"exitpool-export".into()));
    let footer = untrusted.untrusted_footer().to_vec();
    let signed = pasetors::version4::PublicToken::sign(&secret, trusted.payload().as_bytes(), Some(&footer), None);
    assert_eq!(token(&["verify", &signed.unwrap(), "--public", &desk.at("key.pub")]).code, 0);
}

/// pyseto, which shares no line with what is used here, and reads the key as it stands in the desired state.
#[test]
fn an_implementation_in_another_language_verifies_what_is_issued_and_issues_what_is_verified() {
    let Some(python) = python_tool("paseto", "python") else { return };
    let tokens = |verb: &str, key: &str, said: &str| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/paseto/tokens.py");
        let mut child = Command::new(&python)
            .arg(script)
            .args([verb, key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    };
    let desk = Desk::new();
    let (public, other) = (desk.keygen("key"), desk.keygen("other"));
    let text = desk.issue("key", "crawler", &["--not-before", "0s"]);
    let said = tokens("verify", &public, &text).unwrap();
    let read: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&read["payload"]["grant"], &read["payload"]["aud"]), (&"crawler".into(), &"exitpool-export".into()));
    assert_eq!(read["payload"]["jti"], id(&text));
    for (key, text) in [(&other, text.clone()), (&public, changed(&text, 40))] {
        let refused = tokens("verify", key, &text).unwrap_err();
        assert!(refused.starts_with("not valid"), "{refused}");
    }
    let signed = tokens("sign", &desk.at("key"), &said).unwrap();
    assert_eq!(token(&["verify", &signed, "--public", &desk.at("key.pub")]).code, 0);
    assert_eq!(token(&["verify", &signed, "--public", &desk.at("other.pub")]).code, 1);
}

#[test]
fn a_token_out_of_its_time_is_signed_and_not_valid() {
    let desk = Desk::new();
    desk.keygen("key");
    let key = desk.at("key.pub");
    let late = desk.issue("key", "crawler", &["--ttl", "2s"]);
    let early = desk.issue("key", "crawler", &["--not-before", "2h"]);
    let ran = token(&["verify", &early, "--public", &key]);
    assert!(ran.code == 1 && ran.stderr.contains("not valid before"), "{}", ran.stderr);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let ran = token(&["verify", &late, "--public", &key]);
        if ran.code == 1 {
            assert!(ran.stderr.contains("has expired at"), "{}", ran.stderr);
            break;
        }
        assert!(std::time::Instant::now() < deadline, "it never expires");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(token(&["inspect", &late]).code, 0, "what has expired can be looked at");
    let past =
        ["issue", "--key", &desk.at("key"), "--grant", "a", "--ttl", "1h", "--not-before", "2020-01-01T00:00:00Z"];
    let ran = token(&past);
    assert!(ran.code == 1 && ran.stdout.is_empty() && ran.stderr.contains("expired"), "{}", ran.stderr);
}

#[test]
fn a_token_comes_by_standard_input_as_well() {
    let desk = Desk::new();
    desk.keygen("key");
    let text = desk.issue("key", "crawler", &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_exitpool"));
    command.args(["token", "verify", "-", "--public", &desk.at("key.pub")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{text}\n").as_bytes()).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert!(ran.code == 0 && ran.stdout.contains("crawler"), "{}", ran.stderr);
}

#[test]
fn what_is_asked_for_wrongly_is_a_matter_of_usage() {
    let desk = Desk::new();
    desk.keygen("key");
    let (key, text) = (desk.at("key"), desk.issue("key", "crawler", &[]));
    let issue = ["issue", "--key", &key, "--grant", "crawler"];
    let usage: [&[&str]; 9] = [
        &[],
        &["keygen"],
        &issue,
        &[&issue[..], &["--ttl", "soon"]].concat(),
        &[&issue[..], &["--ttl", "1h", "--bind", "everywhere"]].concat(),
        &[&issue[..], &["--ttl", "1h", "--format", "xml"]].concat(),
        &[&issue[..], &["--ttl", "1h", "--pool", "EU"]].concat(),
        &["issue", "--key", &key, "--grant", "not a name", "--ttl", "1h"],
        &["verify", &text, "--public", "ed25519:AAAA"],
    ];
    for arguments in usage {
        let ran = token(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (64, ""), "{arguments:?}: {}", ran.stderr);
    }
    for none in ["", "v4.public.AAAA", "eyJhbGciOiJub25lIn0.e30."] {
        let ran = token(&["inspect", none]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{none}: {}", ran.stderr);
    }
}

/// The first block of commands of docs/export.md, as somebody copies it.
#[test]
fn the_commands_of_the_page_work() {
    let page = include_str!("../../../docs/export.md");
    let (_, rest) = page.split_once("```sh\n").unwrap();
    let (commands, _) = rest.split_once("```").unwrap();
    assert!(commands.contains("token issue") && commands.contains("token inspect"), "{commands}");
    let directory = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_exitpool")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-euc", commands]).current_dir(&directory).env("PATH", path);
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let from = ran.stdout.matches("203.0.113.9/32").count();
    assert_eq!(from, 2, "both commands that show a token show it: {}", ran.stdout);
}
