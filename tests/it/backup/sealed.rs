//! Backups with keys, which are encrypted as `age` does.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{exitpool, first_state, names, text, verified};
use crate::support::{is_installed, skip};

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_backup_with_keys_is_opened_by_age_and_by_nobody_without_the_key() {
    if !is_installed("age") {
        skip("there is no age (Debian: apt install age)");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&place.path().join(name));
    let state = first_state(place.path());
    let secret = fs::read(state.join("audit.key")).unwrap();
    fs::write(state.join("deploy"), "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n").unwrap();
    fs::write(state.join("notes.txt"), "no key").unwrap();
    run("age-keygen", &["-o", &at("age.key")]);
    let recipient = String::from_utf8(run("age-keygen", &["-y", &at("age.key")])).unwrap();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &at("ssh.key")]);
    let ssh = fs::read_to_string(at("ssh.key.pub")).unwrap();
    fs::write(at("recipients"), format!("# who may read it\n{recipient}\n{ssh}")).unwrap();
    fs::write(at("passphrase"), "correct horse battery staple\n").unwrap();
    fs::write(at("wrong"), "something else\n").unwrap();
    run("age-keygen", &["-o", &at("other.key")]);

    let (made, sealed) = (at("made.age"), ["backup", "--keys"]);
    exitpool(&state, &[&sealed[..], &[&made, "--recipients-file", &at("recipients")]].concat()).done();
    let bytes = fs::read(&made).unwrap();
    let has = |bytes: &[u8], words: &[u8]| bytes.windows(words.len()).any(|window| window == words);
    assert!(bytes.starts_with(b"age-encryption.org/v1\n") && !has(&bytes, b"manifest"));
    for key in ["age.key", "ssh.key"] {
        // The program that operators have opens it, and so do we.
        run("age", &["-d", "-i", &at(key), "-o", &at("opened"), &made]);
        let listed = String::from_utf8(run("tar", &["tzf", &at("opened")])).unwrap();
        assert!(
            listed.lines().any(|name| name == "audit.key") && listed.lines().any(|name| name == "deploy"),
            "{listed}"
        );
        assert!(!listed.contains("notes.txt"), "{listed}");
        let told = verified(&made, &["--identity", &at(key)]);
        assert_eq!(told["encrypted"], true);
        assert!(names(&told).contains(&"audit.key"));
        let digest = told["members"].as_array().unwrap().iter().find(|it| it["name"] == "audit.key").unwrap();
        assert!(digest["sha256"].is_null(), "not even the digest of a key is shown: {told}");
    }
    for (arguments, words) in [
        (vec![], "this backup is encrypted: name the key that opens it"),
        (vec!["--identity".to_owned(), at("other.key")], "it is for other keys than those"),
        (vec!["--identity".to_owned(), at("recipients")], "is no key"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = exitpool(Path::new("/nowhere"), &[&["backup", "verify", &made], &arguments[..]].concat());
        assert!(refused.code == 1 && refused.stderr.contains(words), "{words}: {refused:?}");
    }

    let spoken = at("spoken.age");
    exitpool(&state, &[&sealed[..], &[&spoken, "--passphrase-file", &at("passphrase")]].concat()).done();
    let wrong = exitpool(Path::new("/nowhere"), &["backup", "verify", &spoken, "--passphrase-file", &at("wrong")]);
    assert!(wrong.code == 1 && wrong.stderr.contains("that is not its passphrase"), "{wrong:?}");
    let bad = exitpool(&state, &[&sealed[..], &[&at("bad"), "--recipient", "age1nonsense"]].concat());
    assert!(bad.code == 1 && bad.stderr.contains("is no recipient: write `age1…`"), "{bad:?}");

    // The host that it is restored to is the same to whoever reads its trail.
    let elsewhere = place.path().join("elsewhere");
    exitpool(&elsewhere, &["restore", &spoken, "--passphrase-file", &at("passphrase")]).done();
    assert_eq!(fs::read(elsewhere.join("audit.key")).unwrap(), secret);
    assert!(elsewhere.join("deploy").exists());
    assert_eq!(exitpool(&elsewhere, &["audit", "key"]).done(), exitpool(&state, &["audit", "key"]).done());
    assert!(!exitpool(&elsewhere, &["audit"]).done().contains("and was by"));

    // What waited for a channel is of another time; what fires goes on.
    let count = |state: &Path, table: &str| -> i64 {
        let outbox = rusqlite::Connection::open(state.join("alerts.sqlite")).unwrap();
        outbox.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count(&state, "message"), count(&state, "incident")), (1, 1));
    assert_eq!((count(&elsewhere, "message"), count(&elsewhere, "incident")), (0, 1));

    // By a pipe: what age opens is restored as well.
    let piped = place.path().join("piped");
    let script = format!(
        "age -d -i {} {made} | {} restore - --state-dir {}",
        at("age.key"),
        env!("CARGO_BIN_EXE_exitpool"),
        piped.display()
    );
    run("sh", &["-c", &script]);
    assert_eq!(fs::read(piped.join("audit.key")).unwrap(), secret);
    let script =
        format!("{} backup - --state-dir {} | {0} backup verify -", env!("CARGO_BIN_EXE_exitpool"), state.display());
    let said = String::from_utf8(run("sh", &["-c", &script])).unwrap();
    assert!(said.starts_with("whole: of ") && said.contains("ratchet.json"), "{said}");
}
