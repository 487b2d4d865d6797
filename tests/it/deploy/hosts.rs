//! One repository for several hosts: what `deploy/multi-host` says of itself is run.

use std::fs;
use std::process::Command;

use super::root;
use crate::netns::Netns;
use crate::operator::Clone;
use crate::support::{is_installed, skip};

const EXITPOOL: &str = env!("CARGO_BIN_EXE_exitpool");

fn repository() -> Clone {
    Clone::of("deploy/multi-host")
}

#[test]
fn every_host_is_validated_and_a_bad_one_fails_with_its_name() {
    let clone = repository();
    let good = clone.try_sh("ci/check");
    assert_eq!(good.code, 0, "{}", good.stderr);
    assert!(good.stdout.contains("## fra1\nsnapshots/fra1.json is not there"), "{}", good.stdout);

    let site = clone.read("sites/fra1.yaml");
    clone.write("sites/fra1.yaml", &site.replace("size: 10", "size: ten"));
    let stale = clone.try_sh("ci/check");
    assert_eq!(stale.code, 1, "what was not rendered is not checked");
    assert!(stale.stderr.contains("hosts/fra1.yaml is not what ./render makes of"), "{}", stale.stderr);
    assert!(stale.stderr.ends_with("check: not good: (render)\n"), "{}", stale.stderr);
    clone.sh("./render");
    let bad = clone.try_sh("ci/check");
    assert!(bad.code == 1 && bad.stderr.ends_with("check: not good: fra1\n"), "{}", bad.stderr);
    assert!(bad.stderr.contains("--> hosts/fra1.yaml:") && bad.stderr.contains("pools[0].size"), "{}", bad.stderr);
    assert!(bad.stderr.contains("hosts/iad1.yaml is valid"), "the others are looked at, too: {}", bad.stderr);

    // What a site has twice is an error with its place, and not whichever came last.
    clone.write("sites/fra1.yaml", &format!("{site}access: {{socks: any}}\n"));
    let twice = clone.try_sh("./render; ci/check");
    assert!(twice.code == 1 && twice.stderr.contains("access"), "{}", twice.stderr);
    // A list that all hosts share is bad for all of them.
    clone.write("sites/fra1.yaml", &site);
    clone.write("hosts/lists/clients.txt", "203.0.113.0/33\n");
    let lists = clone.try_sh("./render; ci/check");
    assert!(lists.code == 1 && lists.stderr.ends_with("check: not good: fra1 iad1\n"), "{}", lists.stderr);
    // A host that is gone leaves a file behind that some daemon might still follow.
    clone.git("checkout --quiet .");
    fs::remove_file(clone.file("sites/iad1.yaml")).unwrap();
    let gone = clone.try_sh("ci/check");
    assert!(gone.code == 1 && gone.stderr.contains("hosts/iad1.yaml has no sites/iad1.yaml"), "{}", gone.stderr);
}

#[test]
fn the_scripts_are_sound() {
    if !is_installed("shellcheck") {
        return skip("there is no shellcheck in PATH (Debian: apt install shellcheck)");
    }
    let scripts = ["multi-host/render", "multi-host/ci/check", "container/exitpool-with-guard"].map(root);
    let output = Command::new("shellcheck").args(scripts).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_host_is_planned_from_its_own_snapshot_and_file() {
    let Some(netns) = Netns::new() else { return };
    let clone = repository();
    fs::create_dir(clone.file("snapshots")).unwrap();
    let take = |host: &str| {
        let (file, home) = (clone.file(&format!("hosts/{host}.yaml")), clone.at(host));
        let directories = format!("--state-dir {0}/state --runtime-dir {0}/run", home.display());
        netns.sh(&format!("{EXITPOOL} snapshot --source {} {directories}", file.display()))
    };
    clone.write("snapshots/fra1.json", &take("fra1"));
    clone.write("snapshots/iad1.json", &take("iad1"));
    let planned = clone.try_sh("ci/check");
    assert_eq!(planned.code, 0, "{}", planned.stderr);
    let (fra1, iad1) = planned.stdout.split_once("## iad1\n").unwrap();
    assert!(fra1.contains("+ node eu-9 will be created") && !fra1.contains("node us-0"), "{fra1}");
    assert!(iad1.contains("+ node ca-1 will be created") && !iad1.contains("node eu-0"), "{iad1}");

    // As the daemon of a host reads it: a commit, its own path in it, and the lists of the same commit beside it.
    clone.git("add --all");
    clone.git("commit --quiet --message snapshots");
    fs::remove_file(clone.file("hosts/lists/clients.txt")).unwrap();
    let script = "exitpool plan --source \"$PWD\" --path hosts/iad1.yaml --observed snapshots/iad1.json";
    let plan = clone.try_sh(script);
    assert!(plan.code == 0 && plan.stdout.contains("+ node ca-1 will be created"), "{plan:?}");
    assert!(clone.try_sh(&script.replace("iad1.yaml", "lax1.yaml")).stderr.contains("has no file `hosts/lax1.yaml`"));
    fs::write(clone.file("snapshots/iad1.json"), "{}").unwrap();
    let broken = clone.try_sh("git checkout --quiet hosts; ci/check");
    assert!(broken.code == 1 && broken.stderr.ends_with("check: not good: iad1\n"), "{}", broken.stderr);
}
