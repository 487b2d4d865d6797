//! The server is what its description says: schemathesis makes requests from `/openapi.json`, good ones and bad ones, and
//! checks every answer by it.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::page::Served;
use super::page::world::World;
use crate::support::python_tool;

/// The longest that all requests may take; they take some tens of seconds.
const DEADLINE: Duration = Duration::from_secs(600);
/// How many requests are made up for each route and phase, at most.
const EXAMPLES: &str = "10";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_described_whatever_is_asked() {
    let Some(program) = python_tool("schemathesis", "schemathesis") else { return };
    let (mut world, token) = World::exporting(40, &["eu", "us"]);
    world.control("eu-3").circuit_established = false;
    let served = Served::at("127.0.0.1:0", world.status()).await;
    let directory = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis/schemathesis.toml");
    std::fs::copy(shipped, directory.path().join("schemathesis.toml")).unwrap();
    let mut command = Command::new(program);
    command.current_dir(directory.path()).args(["--no-color", "run"]);
    command.arg(format!("http://{}/openapi.json", served.address));
    command.args(["--checks", "all", "--max-examples", EXAMPLES, "--seed", "1", "--generation-deterministic"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--request-timeout", "20", "--continue-on-failure"]);
    // The token is ours, and none is made up beside it. Lists are asked for with GET alone: there are many countries.
    command.args(["--generation-with-security-parameters", "false", "--exclude-operation-id-regex", "^head_export"]);
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    let output = tokio::time::timeout(DEADLINE, command.kill_on_drop(true).output()).await.expect("it ends").unwrap();
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Tested: 2"), "every route, and the heads of nearly all: {said}");
}
