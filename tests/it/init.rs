//! `exitpool init` with a real git: what it makes, what it refuses, and that nothing is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use exitpool::source::settings::{SourceSettings, Trust};
use exitpool::source::verify::Keys;
use exitpool::source::{Source, SourceSpec};

use crate::git_kit;
use crate::operator::Clone;
use crate::plan::world::World;

/// The directory as a source whose commits are believed if those signers have signed them, from one commit on.
fn source(directory: &Path, signers: &Path, first: &str, state_dir: &Path) -> Source {
    let spec = SourceSpec::from_options(directory.to_str().unwrap(), "main", "pool.yaml").unwrap();
    let trust = Trust {
        allowed_signers: signers.to_owned(),
        first_commit: Some(git2::Oid::from_str(first).unwrap()),
        keys: Keys::Any,
        min_signers: 1,
    };
    Source::with(SourceSettings { trust: Some(trust), ..SourceSettings::of(spec, state_dir.to_owned()) })
}

#[test]
fn a_first_desired_state_is_committed_and_valid_and_can_be_planned() {
    let clone = Clone::new();
    let ran = clone.try_sh("cd ..; exitpool init new/pool --pool-size 3 --countries de,us");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (pool, git) = (clone.at("new/pool"), "cd ../new/pool; git");
    assert_eq!(clone.sh(&format!("{git} status --porcelain")), "");
    assert_eq!(clone.sh(&format!("{git} log --format='%an %s' main")), "Ada pool: a first desired state, 3 nodes");
    let committed = clone.sh(&format!("{git} ls-files"));
    assert_eq!(committed, "desired-state.v1.schema.json\npool.yaml");
    let schema = fs::read_to_string(pool.join("desired-state.v1.schema.json")).unwrap();
    assert_eq!(schema.trim_end(), clone.sh("exitpool schema"));
    let valid = clone.try_sh("exitpool validate --source ../new/pool");
    assert_eq!((valid.code, valid.stderr.as_str()), (0, "pool.yaml is valid: 1 pools, 3 nodes\n"));

    // The first line to run next runs; the world is one on paper.
    let world = World::new(&["de", "us"]);
    fs::write(clone.at("snapshot.json"), serde_json::to_string(&world.snapshot(&[])).unwrap()).unwrap();
    let line = ran.stdout.lines().find(|line| line.starts_with("exitpool plan ")).unwrap();
    assert_eq!(line, format!("exitpool plan --source {}", pool.display()));
    let planned = clone.sh(&format!("{line} --observed ../snapshot.json"));
    assert!(planned.contains("Plan: 4 to add, 0 to change, 0 to destroy."), "{planned}");

    let again = clone.try_sh("cd ../new/pool; sed -i s/3/4/ pool.yaml; exitpool init");
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("pool.yaml is there already, and stays as it is"), "{}", again.stderr);
    assert_eq!(clone.sh(&format!("{git} status --porcelain")), " M pool.yaml");
}

#[test]
fn a_key_is_made_and_a_daemon_believes_what_it_signs_now_and_later() {
    let clone = Clone::new();
    let ran = clone.try_sh("cd ..; exitpool init pool --new-key key --panel-allow 198.51.100.7 -o json");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let (pool, signers) = (clone.at("pool"), clone.at("pool.allowed_signers"));
    assert_eq!(json["allowed_signers"], signers.to_str().unwrap());
    let first = json["commit"].as_str().unwrap();
    let run = json["next"][1].as_str().unwrap();
    let told = format!("--allowed-signers {} --first-commit {first} --listen 0.0.0.0:8080", signers.display());
    assert!(run.ends_with(&told), "{run}");
    let mode = |name: &str| fs::metadata(clone.at(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key"), mode("pool.allowed_signers")), (0o600, 0o644));
    let line = fs::read_to_string(&signers).unwrap();
    assert!(line.starts_with("ada@example.org namespaces=\"git\" ssh-ed25519 "), "{line}");

    let source = source(&pool, &signers, first, &clone.at("state"));
    git_kit::accepts(&source);
    clone.sh("cd ../pool; git verify-commit HEAD; exitpool scale pool 6 --commit");
    assert!(git_kit::accepts(&source).contains("size: 6 "), "what is committed later is signed as well");
    clone.sh("cd ../pool; sed -i 's/size: 6/size: 7/' pool.yaml; git -c commit.gpgsign=false commit -qam unsigned");
    assert!(git_kit::refusal(&source).contains("is not signed"));

    let other = clone.try_sh("cd ..; exitpool init other --new-key key");
    assert!(other.stderr.contains("key is there already: sign with it by --sign-with"), "{}", other.stderr);
    clone.sh("cd ..; exitpool init other --sign-with key.pub; git -C other verify-commit HEAD");
}

#[test]
fn who_has_told_git_nothing_commits_as_whoever_it_is() {
    let clone = Clone::new();
    fs::write(clone.at("gitconfig"), "").unwrap();
    clone.sh("cd ..; exitpool init pool --new-key key; cd pool; git verify-commit HEAD");
    let line = fs::read_to_string(clone.at("pool.allowed_signers")).unwrap();
    let author = clone.sh("git -C ../pool log -1 --format=%ae");
    assert!(line.starts_with(&format!("{author} ")) && author.contains('@'), "{author}: {line}");
}

#[test]
fn a_clone_without_a_desired_state_gets_its_commit_on_its_branch_and_nothing_else() {
    let clone = Clone::new();
    clone.sh("git init -q --bare ../bare.git; git clone -q ../bare.git ../mine; cd ../mine; git switch -qc trunk; echo x >notes");
    let ran = clone.try_sh("cd ../mine; exitpool init; git push -q origin trunk; git ls-tree --name-only trunk");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("--branch trunk\n"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("desired-state.v1.schema.json\npool.yaml\n"), "{}", ran.stdout);
    assert_eq!(clone.sh("git -C ../mine status --porcelain"), "?? notes");
    let bare = clone.try_sh("exitpool init ../bare.git");
    assert!(bare.stderr.contains("is a bare repository: clone it"), "{}", bare.stderr);
}

#[test]
fn where_there_can_be_no_commit_nothing_is_left_and_the_next_try_is_free() {
    let clone = Clone::new();
    clone.sh("git init -q ../mine; cd ../mine; printf '#!/bin/sh\\nexit 1\\n' >.git/hooks/pre-commit; chmod +x .git/hooks/pre-commit");
    let hooked = clone.try_sh("cd ../mine; exitpool init --new-key ../key");
    assert_eq!(hooked.code, 1, "{hooked:?}");
    assert!(hooked.stderr.contains("there is no commit, so the files are gone again"), "{}", hooked.stderr);
    assert_eq!(clone.sh("cd ../mine; git status --porcelain; ls; ls .. | grep signers || true"), "");
    clone.sh("cd ../mine; rm .git/hooks/pre-commit; exitpool init --sign-with ../key; git verify-commit HEAD");

    clone.sh("ssh-keygen -q -t rsa -N '' -f ../rsa");
    for (words, code, told) in [
        ("--sign-with ../rsa", 1, "rsa cannot sign for a daemon"),
        ("--sign-with ../none", 1, "none.pub: make it with `ssh-keygen -y -f "),
        ("--sign-with ../key --allowed-signers ../new/signers", 1, "is in the repository that it protects"),
        ("--allowed-signers ../signers", 1, "--allowed-signers needs --sign-with or --new-key"),
        ("--listen 0.0.0.0", 64, "nobody is named who may"),
        ("--pool-size 0", 64, "0"),
        ("--countries uk", 64, "did you mean `gb`?"),
        ("--socks-port 40010", 64, "this cannot be wished"),
        ("--ssh-allow 203.0.113.0/24 --no-firewall", 64, "--no-firewall"),
    ] {
        let ran = clone.try_sh(&format!("exitpool init ../new {words}"));
        assert!(ran.code == code && ran.stderr.contains(told), "{words}: {ran:?}");
        let left = clone.sh("ls .. | grep -E 'new|signers' | grep -v mine || true");
        assert_eq!(left, "", "{words}");
    }
}

#[test]
fn a_session_of_ssh_is_not_locked_out() {
    let clone = Clone::new();
    let session = "export SSH_CONNECTION='198.51.100.7 50000 192.0.2.1 2222'; cd ..;";
    let out = clone.try_sh(&format!("{session} exitpool init pool --ssh-allow 203.0.113.0/24"));
    assert_eq!(out.code, 64, "{out:?}");
    assert!(out.stderr.contains("198.51.100.7 uses SSH (port 2222) now and would be locked out"), "{}", out.stderr);
    assert!(!clone.at("pool").exists());
    clone.sh(&format!("{session} exitpool init pool --ssh-allow 203.0.113.0/24,198.51.100.7"));
    let text = fs::read_to_string(clone.at("pool/pool.yaml")).unwrap();
    assert!(text.contains("ssh: {ports: [22, 2222], allow: [203.0.113.0/24, 198.51.100.7]}"), "{text}");
}

#[test]
fn it_asks_on_a_terminal() {
    let clone = Clone::new();
    fs::write(clone.at("answers"), "2\nde\n203.0.113.0/24\n\nnftables\n\n").unwrap();
    // What a terminal is for a program: `script` makes one, and hands the answers on.
    let mut command = clone.command("cd ..; exec script -qec 'exitpool init pool' /dev/null");
    let ran = command.stdin(Stdio::from(fs::File::open(clone.at("answers")).unwrap())).output().unwrap();
    let shown = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{shown}");
    assert!(shown.contains("How many nodes? [5]") && shown.contains("Which SSH key is to sign"), "{shown}");
    let text = fs::read_to_string(clone.at("pool/pool.yaml")).unwrap();
    for line in ["size: 2 ", "countries: [de] ", "listen: 0.0.0.0 ", "socks: [203.0.113.0/24] ", "driver: nftables "] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
