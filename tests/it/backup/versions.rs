//! States and files of other versions: older ones are carried over, later ones refused and left as they are.

use std::fs;
use std::path::{Path, PathBuf};

use exitpool::desired::load::load;
use exitpool::source::{Source, SourceSpec};
use serde_json::Value;

use super::{command, copy, exitpool, first_state, text, tree};
use crate::remotes::host::Host;

/// Every example of the first release means today what it meant then.
#[test]
fn the_examples_of_the_first_release_are_valid_for_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/desired/v1");
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let yaml: Vec<_> = files.iter().filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    assert!(yaml.len() >= 15, "{yaml:?}");
    for path in yaml {
        let candidate = Source::new(SourceSpec::File(path.clone())).candidate().unwrap();
        let loaded = load(&path.display().to_string(), candidate.given());
        assert!(loaded.is_ok(), "{}: {}", path.display(), loaded.unwrap_err());
    }
}

/// The daemon takes up what the first release left, and its source is not even there.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_the_first_release_is_taken_up() {
    let Some(mut host) = Host::new() else { return };
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(super::FIRST), &host.state_dir());
    let revision = "main@sha1:ab63b577c732e74347faeb49db8275279c562392";
    host.start_believing(&text(&host.kit.at("missing.yaml")), &[]);
    let report = host.sees("the revision of the first release", |report| report.status["revision"] == revision).await;
    let told = report.status.to_string();
    assert!(told.contains("maintenance") && told.contains("203.0.113.7"), "suspensions and lockouts: {told}");
    let stamp: Value = serde_json::from_slice(&fs::read(host.state_dir().join("state.json")).unwrap()).unwrap();
    assert_eq!((&stamp["version"], &stamp["exitpool"]), (&1.into(), &env!("CARGO_PKG_VERSION").into()));
    let state = host.state_dir();
    exitpool(&state, &["audit", "verify"]).done();
    let rows = exitpool(&state, &["audit"]).done();
    assert!(rows.contains("pool us is suspended until 2027-11-27T19:52:21Z"), "{rows}");
    let history = exitpool(&state, &["history"]).done();
    assert_eq!(history.lines().filter(|line| line.contains("main@sha1:")).count(), 3, "{history}");
    assert!(!host.log().contains("damaged") && !host.log().contains("forgotten"), "{}", host.log());
    let ratchet = exitpool::source::ratchet::Ratchet::of(&state).tooth().unwrap().unwrap();
    assert!(revision.ends_with(&ratchet.commit));
    host.stop();
}

/// Makes a part of a state one of a later version.
type Change = Box<dyn Fn(&Path)>;

/// Whatever is of a later version, the daemon and the verbs that write say so, and not a byte is changed.
#[test]
fn a_state_of_a_later_version_is_refused_and_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let pool = place.path().join("pool.yaml");
    fs::write(&pool, "version: 1\npools:\n  - {name: us, size: 1, countries: [us], socks_port: 30000}\n").unwrap();
    let database = |name: &'static str| {
        move |state: &Path| {
            let database = rusqlite::Connection::open(state.join(name)).unwrap();
            database.pragma_update(None, "user_version", 99).unwrap();
        }
    };
    let json = |name: &'static str| {
        move |state: &Path| {
            let text = fs::read_to_string(state.join(name))
                .unwrap_or_else(|_| "{\"version\":1,\"exitpool\":\"9.9.9\"}".to_owned());
            fs::write(state.join(name), text.replacen(": 1", ": 99", 1).replacen(":1", ":99", 1)).unwrap();
        }
    };
    let later: [(&str, Change); 5] = [
        ("audit.sqlite", Box::new(database("audit.sqlite"))),
        ("alerts.sqlite", Box::new(database("alerts.sqlite"))),
        ("ratchet.json", Box::new(json("ratchet.json"))),
        ("lockouts.json", Box::new(json("lockouts.json"))),
        ("state.json", Box::new(json("state.json"))),
    ];
    for (name, make) in later {
        let home = place.path().join(name);
        fs::create_dir(&home).unwrap();
        let state = first_state(&home);
        make(&state);
        let before = tree(&state);
        let run = text(&home.join("run"));
        let source = text(&pool);
        for arguments in [
            &["run", "--runtime-dir", &run, "--source", &source, "--listen", "unix:/nowhere/at/all"][..],
            &["apply", "--runtime-dir", &run, "--source", &source],
            &["backup", &text(&home.join("made"))],
        ] {
            let output = command(&state, arguments).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let words = format!("{name} has version 99, and this exitpool ({}) knows", env!("CARGO_PKG_VERSION"));
            assert!(output.status.code() == Some(1) && said.contains(&words), "{arguments:?}: {said}");
            assert!(said.contains("run the exitpool that has written it"), "{said}");
            let mut now = tree(&state);
            // That no backup could be made is told by the metrics.
            now.remove("backup.json");
            assert_eq!(now, before, "{name}: {arguments:?}");
        }
    }
}
