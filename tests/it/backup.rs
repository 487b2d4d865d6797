//! Backups, restores and older states: the program run as an operator runs it.

mod damage;
mod killed;
mod sealed;
mod timer;
mod versions;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::export::consumer::Ran;
use crate::netns::Netns;
use crate::remotes::host::Host;

/// A state of the first release, as a real run of it left it.
const FIRST: &str = "tests/fixtures/state/v1";

/// A copy of the first release's state.
fn first_state(within: &Path) -> PathBuf {
    let state = within.join("state");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(FIRST), &state);
    state
}

/// Copies a tree, private to us.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// Every file below a directory, with its content, by its path; but what a restore has put aside, and SQLite's memory.
fn tree(directory: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, directory: &Path, found: &mut std::collections::BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let name = entry.path().strip_prefix(root).unwrap().display().to_string();
            match entry.file_type().unwrap().is_dir() {
                _ if name.starts_with("before-restore-") || name.ends_with("-shm") || name.ends_with("-wal") => {}
                true => collect(root, &entry.path(), found),
                false => drop(found.insert(name, fs::read(entry.path()).unwrap())),
            }
        }
    }
    let mut found = Default::default();
    collect(directory, directory, &mut found);
    found
}

fn command(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exitpool"));
    command.args(arguments).env("EXITPOOL_STATE_DIR", state);
    command
}

fn exitpool(state: &Path, arguments: &[&str]) -> Ran {
    let output = command(state, arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn verified(file: &str, more: &[&str]) -> Value {
    let said = exitpool(Path::new("/nowhere"), &[&["backup", "verify", file, "-o", "json"], more].concat()).done();
    let told: Value = serde_json::from_str(&said).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../schema/backup.v1.schema.json")).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&told), "{told}");
    told
}

fn names(told: &Value) -> Vec<&str> {
    told["members"].as_array().unwrap().iter().map(|member| member["name"].as_str().unwrap()).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Ends the tors of a host, whose daemon has stopped.
fn end_tors(host: &Host) {
    crate::support::end_tors_in(&host.runtime_dir());
    tors_have_ended(&host.state_dir());
}

/// Waits until no tor holds its DataDirectory any more.
pub fn tors_have_ended(state: &Path) {
    let freed = crate::support::eventually(|| {
        let locks = fs::read_dir(state.join("instances")).unwrap();
        let held = locks.filter(|entry| {
            let lock = fs::File::open(entry.as_ref().unwrap().path().join("lock")).unwrap();
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
        });
        (held.count() == 0).then_some(())
    });
    assert!(freed.is_some(), "a tor lives on");
}

/// The whole way: beside a busy daemon, several at once, into a directory that keeps two; back in the same place and in
/// another one, and each trail says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_a_busy_daemon_is_whole_and_is_restored_here_and_elsewhere() {
    let Some(mut host) = Host::new() else { return };
    let (served, first) = (text(&host.kit.at("served/pool.git")), host.kit.git(&["rev-parse", "main"]));
    host.start(&served);
    host.in_force(&first, 1).await;
    assert_eq!(host.metric("exitpool_backup_last_success_timestamp_seconds"), 0.0);
    let (state, directory) = (host.state_dir(), host.kit.at("backups"));
    fs::create_dir(&directory).unwrap();

    // Two nodes are being made meanwhile, and the two backups end up under two names.
    let second = host.push(3, Some("ada"));
    let begun: Vec<_> =
        (0..2).map(|_| command(&state, &["backup", &text(&directory), "--keep", "3"]).spawn().unwrap()).collect();
    begun.into_iter().for_each(|mut backup| assert!(backup.wait().unwrap().success()));
    host.in_force(&second, 3).await;
    let made = |directory: &Path| {
        let mut made: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| text(&entry.unwrap().path())).collect();
        made.sort();
        made
    };
    assert_eq!(made(&directory).len(), 2, "{:?}", made(&directory));
    for file in made(&directory) {
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        verified(&file, &[]);
    }
    let here = text(&host.kit.at("here.tar.gz"));
    exitpool(&state, &["backup", &here]).done();
    let told = verified(&here, &[]);
    assert_eq!(told["revision"], format!("main@sha1:{second}"));
    for name in ["audit.sqlite", "audit.head", "alerts.sqlite", "accepted.yaml", "ratchet.json", "state.json"] {
        assert!(names(&told).contains(&name), "{name}: {told}");
    }
    assert!(!names(&told).iter().any(|name| name.ends_with(".key") || name.contains("cached")), "{told}");
    assert_eq!(
        names(&told).iter().filter(|name| name.starts_with("instances/") && name.ends_with("/state")).count(),
        3
    );
    exitpool(&state, &["backup", &text(&directory), "--keep", "1"]).done();
    assert_eq!(made(&directory).len(), 1, "older ones are removed");
    host.verb("reconcile", &[]);
    assert!(host.metric("exitpool_backup_last_success_timestamp_seconds") > 1.7e9);

    // A failed one is told, and leaves nothing.
    let refused = exitpool(&state, &["backup", &text(&host.kit.at("keys")), "--keys"]);
    assert!(refused.code == 1 && refused.stderr.contains("a backup with keys is encrypted or not made"), "{refused:?}");
    assert!(!host.kit.at("keys").exists());
    host.verb("reconcile", &[]);
    assert!(host.metric("exitpool_backup_last_failure_timestamp_seconds") > 1.7e9);

    // What goes on until the restore is kept beside it.
    let third = host.push(1, Some("ada"));
    host.in_force(&third, 1).await;
    let restore = |more: &[&str]| exitpool(&state, &[&["restore", &here], more].concat());
    let in_use = restore(&["--replace"]);
    assert!(in_use.code == 1 && in_use.stderr.contains("somebody works with the state directory"), "{in_use:?}");
    host.stop();
    let tors = restore(&["--replace"]);
    assert!(tors.code == 1 && tors.stderr.contains("tor still runs for"), "{tors:?}");
    end_tors(&host);
    let key = exitpool(&state, &["audit", "key"]).done();
    let before = tree(&state);
    let occupied = restore(&[]);
    assert!(occupied.code == 1 && occupied.stderr.contains("has a state already: say --replace"), "{occupied:?}");
    assert_eq!(tree(&state), before, "nothing was touched");
    let restored = restore(&["--replace"]);
    assert!(restored.stderr.contains(&format!("the ratchet goes from {third} to {second}")), "{restored:?}");
    restored.done();
    let aside = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let aside = aside.into_iter().find(|path| text(path).contains("before-restore-")).unwrap();
    exitpool(&aside, &["audit", "verify"]).done();
    assert_eq!(exitpool(&state, &["audit", "key"]).done(), key, "this host goes on with its own key");
    exitpool(&state, &["audit", "verify", "--place", told["trail"].as_str().unwrap()]).done();
    let row = exitpool(&state, &["audit", "--limit", "1"]).done();
    assert!(
        row.contains("the state is restored from a backup of") && row.contains("the trail before it ended at"),
        "{row}"
    );

    // Commits go forward from where the backup was.
    host.start(&served);
    host.in_force(&third, 1).await;
    host.stop();

    is_restored_elsewhere(&host, &here, &told, &key);
    assert!(exitpool(&host.kit.at("elsewhere"), &["history"]).done().contains(&second));
}

/// Elsewhere it is another key that signs, which the trail says; what was signed before is still verified by the old one.
fn is_restored_elsewhere(host: &Host, here: &str, told: &Value, key: &str) {
    let elsewhere = host.kit.at("elsewhere");
    let moved = exitpool(&elsewhere, &["restore", here]);
    assert!(moved.stderr.contains("another one is made, which the trail says"), "{moved:?}");
    moved.done();
    assert_ne!(exitpool(&elsewhere, &["audit", "key"]).done(), key);
    exitpool(&elsewhere, &["audit", "verify", "--place", told["trail"].as_str().unwrap()]).done();
    let rows = exitpool(&elsewhere, &["audit", "--limit", "5"]).done();
    assert!(rows.contains(&format!("and was by {key}")), "{rows}");
}

/// What runs in a mount namespace with a small disk; gives its end and what it said.
fn on_a_small_disk(size: &str, place: &Path, script: &str) -> Ran {
    let script = format!("mount -t tmpfs -o size={size} tmpfs {}\n{script}", place.display());
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code().unwrap(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn a_full_disk_leaves_nothing_half_done() {
    let Some(_) = Netns::new() else { return };
    let place = tempfile::tempdir().unwrap();
    let (state, disk) = (first_state(place.path()), place.path().join("disk"));
    fs::create_dir(&disk).unwrap();
    let program = env!("CARGO_BIN_EXE_exitpool");
    // Enough for the copies of the databases and not for the rest; then for not even those.
    for size in ["56k", "16k"] {
        let script = format!(
            "{program} backup --state-dir {} {}/made; code=$?; ls -A {1}; exit $code",
            state.display(),
            disk.display()
        );
        let full = on_a_small_disk(size, &disk, &script);
        assert!(full.code == 1 && full.stdout.is_empty(), "{size}: {full:?}");
        assert!(full.stderr.contains("full") || full.stderr.contains("No space left"), "{size}: {full:?}");
    }
    let misused = exitpool(&state, &["backup", &text(&place.path().join("file")), "--keep", "3"]);
    assert!(misused.code == 64 && misused.stderr.contains("--keep needs a directory"), "{misused:?}");
    let nowhere = place.path().join("nowhere");
    let missing = exitpool(&nowhere, &["backup", &text(&place.path().join("file"))]);
    assert!(
        missing.code == 1 && missing.stderr.contains("name another --state-dir") && !nowhere.exists(),
        "{missing:?}"
    );
    let whole = text(&place.path().join("whole.tar.gz"));
    exitpool(&state, &["backup", &whole]).done();
    let script = format!("{program} restore --state-dir {} {whole}; code=$?; ls -A {0}; exit $code", disk.display());
    let full = on_a_small_disk("4m", &disk, &script);
    assert!(full.code == 1 && full.stdout.is_empty() && full.stderr.contains("there is no room in"), "{full:?}");

    // With room it is restored there, though the directory is a mount, as in a container.
    let script = format!(
        "set -e; {program} restore --state-dir {0} {whole}; {program} restore --replace --state-dir {0} {whole}; \
         {program} audit verify --state-dir {0}",
        disk.display()
    );
    let mounted = on_a_small_disk("64m", &disk, &script);
    assert!(mounted.code == 0 && mounted.stdout.contains("rows are as they were written"), "{mounted:?}");
}
