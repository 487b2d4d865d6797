//! Plans without a host: `plan --observed`, and what is not taken for a snapshot.

use std::fs;

use exitpool::desired::load::load;
use exitpool::observe::Observation;
use exitpool::observe::snapshot::{MAX_BYTES, Snapshot};
use serde_json::{Value, json};

use crate::netns::Netns;
use crate::operator::Clone;
use crate::plan::world::World;
use crate::support::generated;

const POOL: &str = "version: 1\npools:\n  - {name: eu, size: 2, countries: [de], listen: 0.0.0.0, socks_port: 30000}\n";

/// A host that is as desired, but for a bridge that somebody gave a tor.
fn world() -> World {
    let mut world = World::new(&["de", "us"]);
    world.converge(&load("pool.yaml", POOL.as_bytes()).unwrap().desired);
    let name = "eu-1".parse().unwrap();
    let control = world.control(&name);
    control.options.set("Bridge", ["192.0.2.77:443 hunter2"]);
    control.bootstrap.warning = Some("cannot reach 192.0.2.77".to_owned());
    world
}

#[test]
fn the_schema_of_a_snapshot_is_the_committed_one_and_fits() {
    let schema = Snapshot::schema();
    generated("schema/snapshot.v1.schema.json", &format!("{}\n", serde_json::to_string_pretty(&schema).unwrap()));
    let mut world = world();
    world.observed.guard = Observation::Unknown("nft crashed".to_owned());
    let snapshot = serde_json::to_value(world.snapshot(&[])).unwrap();
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&snapshot).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let text = snapshot.to_string();
    assert!(!text.contains("hunter2") && !text.contains("192.0.2.77"), "{text}");
}

#[test]
fn a_plan_on_paper_is_said_like_any_other() {
    let clone = Clone::new();
    clone.write("pool.yaml", POOL);
    clone.write("snapshot.json", &serde_json::to_string(&world().snapshot(&[])).unwrap());
    let nothing_else = "PATH=$(dirname \"$(command -v exitpool)\"); export PATH; EXITPOOL_STATE_DIR=/nowhere; ";
    let plan = |more: &str| {
        clone.try_sh(&format!("{nothing_else} exitpool plan --source pool.yaml --observed snapshot.json {more}"))
    };
    let ran = plan("--detailed-exitcode");
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("~ node eu-1 will be updated in place: Bridge: (not shown) → default\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.ends_with("Plan: 0 to add, 1 to change, 0 to destroy.\n"), "{}", ran.stdout);
    let told =
        "the host is that of snapshot.json, taken at 2026-11-01T12:00:00Z with main@sha1:aaaaaaaaaaaa in force\n";
    assert_eq!(ran.stderr, told);
    let json: Value = serde_json::from_str(&plan("-o json").stdout).unwrap();
    assert_eq!(json["counts"], json!({"add": 0, "change": 1, "destroy": 0}));

    clone.write("pool.yaml", &POOL.replace("size: 2", "size: 3"));
    let ran = plan("");
    assert!(ran.code == 0 && ran.stdout.contains("+ node eu-2 will be created"), "{ran:?}");
    clone.write("pool.yaml", &format!("{POOL}firewall: {{driver: none}}\n"));
    assert!(plan("").stderr.contains("read with the driver auto, and none may see it in another way"));
    let piped = clone.try_sh("cat snapshot.json | exitpool plan --source pool.yaml --observed /dev/stdin");
    assert_eq!(piped.code, 0, "{}", piped.stderr);
}

#[test]
fn what_is_no_snapshot_is_refused_with_what_to_do() {
    let clone = Clone::new();
    let good = serde_json::to_value(world().snapshot(&[])).unwrap();
    let text = good.to_string();
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed.to_string()
    };
    let mut newer = good.clone();
    newer["exitpool"] = "9.9.0".into();
    newer["observed"]["weather"] = "fine".into();
    let cases = [
        (newer.to_string(), "exitpool 9.9.0 wrote it, and 0.1.0 cannot read it, at `observed.weather`"),
        (with("version", 2.into()), "version 2 of the format, and this exitpool knows 1: upgrade exitpool here"),
        (with("version", 0.into()), "version 0 of the format, which there never was"),
        (with("version", "1".into()), "it is no snapshot of version 1, at `version`"),
        (with("surprise", 1.into()), "unknown field `surprise`"),
        (with("observed", json!({"tor": {"present": {"path": 1}}})), "at `observed.tor.present.path`"),
        (text[..text.len() / 2].to_owned(), "it is empty or cut off; take it again with `exitpool snapshot`"),
        (String::new(), "it is empty or cut off"),
        ("{}".to_owned(), "it has no `version`"),
        (format!("{text}{text}"), "trailing characters"),
        (POOL.to_owned(), "it is no snapshot of version 1"),
    ];
    for (content, told) in cases {
        clone.write("snapshot.json", &content);
        let ran = clone.try_sh("exitpool plan --source pool.yaml --observed snapshot.json --detailed-exitcode");
        assert!(ran.code == 1 && ran.stdout.is_empty(), "{told}: {ran:?}");
        assert!(
            ran.stderr.starts_with("error: cannot use the snapshot snapshot.json: ") && ran.stderr.contains(told),
            "{ran:?}"
        );
    }
    fs::File::create(clone.file("snapshot.json")).unwrap().set_len(MAX_BYTES + 1).unwrap();
    let large = clone.try_sh("exitpool plan --source pool.yaml --observed snapshot.json");
    assert!(large.code == 1 && large.stderr.contains("more than 128 MiB"), "{}", large.stderr);
    let missing = clone.try_sh("exitpool plan --source pool.yaml --observed nowhere.json");
    assert!(
        missing.code == 1 && missing.stderr.contains("cannot read the snapshot nowhere.json"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_host_without_anything_is_planned_for_alike_there_and_on_paper() {
    let Some(netns) = Netns::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    fs::write(at("pool.yaml"), POOL).unwrap();
    let program = env!("CARGO_BIN_EXE_exitpool");
    let here = format!(
        "--source {} --state-dir {} --runtime-dir {} --listen 192.0.2.1:8080",
        at("pool.yaml"),
        at("state"),
        at("run")
    );
    let (snapshot, paper) = (at("snapshot.json"), format!("--source {}", at("pool.yaml")));
    netns.sh(&format!("{program} snapshot {here} >{snapshot}"));
    let on_the_host = netns.sh(&format!("{program} plan {here}"));
    let on_paper = netns.sh(&format!("{program} plan {paper} --observed {snapshot}"));
    assert!(on_the_host.contains("Plan: 3 to add"), "{on_the_host}");
    assert_eq!(on_paper, on_the_host);
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let on_the_host = json(netns.sh(&format!("{program} plan {here} -o json")));
    assert_eq!(json(netns.sh(&format!("{program} plan {paper} --observed {snapshot} -o json"))), on_the_host);
}
