//! A clone that was damaged in any way is made anew or mended, and what was accepted is not forgotten.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use exitpool::source::settings::Transport;
use exitpool::source::{Source, SourceError};

use super::host::{Host, pids, published};
use super::hostile::{fetch, source};
use super::servers::{Manner, Server, listen, rude};
use crate::git_kit::{Kit, accepts, refusal, run};

/// A source that has accepted two commits, the clone of which is about to be damaged.
async fn accepted() -> (Kit, Server, Source, Arc<Mutex<Manner>>) {
    let kit = published();
    let (server, manner) = Server::fickle(listen(), &kit.at("served"));
    let source = source(&kit, &server.git_url(), Transport::default());
    for content in ["one", "two"] {
        kit.commit(content, Some("ada"));
        push(&kit);
        fetch(&source).await;
        assert_eq!(accepts(&source), content);
    }
    (kit, server, source, manner)
}

fn push(kit: &Kit) {
    kit.git(&["push", "--quiet", "--force", &kit.at("served/pool.git").display().to_string(), "main"]);
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn overwrite(path: &Path, content: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, content).unwrap();
}

type Damage = fn(&Path);

#[tokio::test]
async fn f23_a_damaged_clone_is_made_anew_and_the_ratchet_holds() {
    let damages: [(&str, Damage); 8] = [
        ("every pack is cut in half", |clone| {
            for path in files(&clone.join("objects")) {
                let bytes = fs::read(&path).unwrap();
                overwrite(&path, &bytes[..bytes.len() / 2]);
            }
        }),
        ("every object is something else", |clone| {
            files(&clone.join("objects")).iter().for_each(|path| overwrite(path, b"not an object"));
        }),
        ("all objects are gone", |clone| fs::remove_dir_all(clone.join("objects")).unwrap()),
        ("the reference is torn", |clone| overwrite(&clone.join("refs/exitpool/offered"), b"0123")),
        ("the reference is empty", |clone| overwrite(&clone.join("refs/exitpool/offered"), b"")),
        ("the reference names nothing", |clone| {
            overwrite(&clone.join("refs/exitpool/offered"), format!("{}\n", "1".repeat(40)).as_bytes());
        }),
        ("the configuration is nonsense", |clone| overwrite(&clone.join("config"), b"[[[")),
        ("it is no directory", |clone| {
            fs::remove_dir_all(clone).unwrap();
            fs::write(clone, "").unwrap();
        }),
    ];
    for (what, damage) in damages {
        let (kit, _server, source, _) = accepted().await;
        let ratchet = fs::read(kit.at("state/ratchet.json")).unwrap();
        damage(&kit.at("state/source.git"));
        fetch(&source).await;
        assert_eq!(accepts(&source), "two", "{what}");
        assert_eq!(fs::read(kit.at("state/ratchet.json")).unwrap(), ratchet, "{what}");

        // It still knows what it must not go back to.
        kit.git(&["reset", "--quiet", "--hard", "main~1"]);
        push(&kit);
        fetch(&source).await;
        assert!(refusal(&source).contains("is older than"), "{what}");
    }
}

#[tokio::test]
async fn f23_locks_of_a_git_that_was_killed_hold_nothing_up() {
    let (kit, _server, source, _) = accepted().await;
    let clone = kit.at("state/source.git");
    let locks = [
        "index.lock",
        "shallow.lock",
        "packed-refs.lock",
        "config.lock",
        "HEAD.lock",
        "refs/exitpool/offered.lock",
        "objects/pack/tmp_pack_x",
    ];
    for lock in locks {
        fs::write(clone.join(lock), "").unwrap();
    }
    kit.commit("three", Some("ada"));
    push(&kit);
    fetch(&source).await;
    assert_eq!(accepts(&source), "three");
    for lock in locks {
        assert!(!clone.join(lock).exists(), "{lock} is left");
    }
}

#[tokio::test]
async fn f23_a_damaged_clone_waits_for_its_server_to_come_back() {
    let (kit, server, source, manner) = accepted().await;
    let ratchet = fs::read(kit.at("state/ratchet.json")).unwrap();
    overwrite(&kit.at("state/source.git/refs/exitpool/offered"), b"0123");
    *manner.lock().unwrap() = Manner::Bad(rude);
    for _ in 0..2 {
        source.remote().unwrap().fetch().await.unwrap_err();
        assert!(matches!(source.candidate(), Err(SourceError::NotFetched { .. })));
    }
    *manner.lock().unwrap() = Manner::Good;
    fetch(&source).await;
    assert_eq!(accepts(&source), "two");
    assert_eq!(fs::read(kit.at("state/ratchet.json")).unwrap(), ratchet);
    drop(server);
}

/// On a disk of its own, which is full: said, waited out, and gone on from where it was.
#[tokio::test(flavor = "multi_thread")]
async fn f23_a_full_disk_is_said_and_the_source_goes_on_when_there_is_space() {
    let Some(mut host) = Host::new() else { return };
    let server = Server::git(host.listen(), &host.kit.at("served"));
    fs::create_dir(host.state_dir()).unwrap();
    host.mounts = Some(format!("mount -t tmpfs -o size=8m,mode=700 tmpfs {}", host.state_dir().display()));
    host.arguments = ["--poll-every", "1s"].map(str::to_owned).to_vec();
    host.start(&server.git_url());
    let first = host.kit.head();
    let before = pids(&host.in_force(&first, 1).await);
    let inside = |host: &Host, script: &str| {
        let mount = format!("--mount=/proc/{}/ns/mnt", host.pid());
        let state = host.state_dir().display().to_string();
        let mut command = Command::new("nsenter");
        run(command.args([&mount, "sh", "-ec", script, "sh", &state]), b"")
    };

    let ratchet = inside(&host, "cat $1/ratchet.json");
    // What is left is less than a block for each file of a fetch.
    inside(&host, "dd if=/dev/zero of=$1/ballast bs=4k 2>/dev/null || true");
    let second = host.push(2, Some("ada"));
    let report = host.condition("FetchFailed", "True", "space").await;
    assert_eq!(pids(&report), before);
    assert_eq!(inside(&host, "cat $1/ratchet.json"), ratchet, "the ratchet is torn");

    inside(&host, "rm $1/ballast");
    host.verb("reconcile", &[]);
    let report = host.in_force(&second, 2).await;
    assert!(pids(&report).starts_with(&before));
    host.condition("FetchFailed", "False", "").await;
}
