//! `exitpool scale` in a real work tree.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::git_kit;
use crate::operator::Clone;

/// The longest that a hook may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// The desired state with another size of `eu`.
fn with_size(text: &str, size: &str) -> String {
    let edited = text.replace("size: 10 ", &format!("size: {size} "));
    assert_ne!(edited, text);
    edited
}

#[test]
fn the_number_changes_and_the_difference_is_shown() {
    let clone = Clone::new();
    let before = clone.read("pool.yaml");
    let mode = fs::metadata(clone.file("pool.yaml")).unwrap().permissions();
    let diff = "\
--- pool.yaml
+++ pool.yaml
@@ -5,7 +5,7 @@
 
 pools:
   - name: eu
-    size: 10                      # nodes eu-0 … eu-9
+    size: 12                      # nodes eu-0 … eu-9
     countries: [de, nl, fr]
     listen: 0.0.0.0
     socks_port: 30000             # 30000 … 30009";
    let socks = "sed -i 's/socks_port: 30010/socks_port: 30100/' pool.yaml; git commit --quiet --all --message room; ";
    let room = clone.sh(&format!("{socks} exitpool scale eu 12 --dry-run"));
    assert_eq!(room, diff);
    assert_eq!(clone.git("status --porcelain"), "", "a dry run changes nothing");
    assert_eq!(clone.sh("exitpool scale eu 12"), diff);
    assert_eq!(clone.read("pool.yaml"), with_size(&before, "12").replace("socks_port: 30010", "socks_port: 30100"));
    assert_eq!(fs::metadata(clone.file("pool.yaml")).unwrap().permissions(), mode);
    let same = clone.try_sh("exitpool scale eu 12");
    assert_eq!((same.code, same.stdout.as_str()), (0, ""));
    assert_eq!(same.stderr, "eu has 12 nodes already; nothing was changed\n");
    let json = clone.sh("exitpool scale us 6 -o json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["pool"], &json["from"], &json["to"], &json["commit"]),
        (&"us".into(), &5.into(), &6.into(), &serde_json::Value::Null)
    );
    assert!(json["diff"].as_str().unwrap().contains("\n+    size: 6\n"), "{json}");
}

#[test]
fn a_file_behind_a_link_and_elsewhere_is_edited_where_it_is() {
    let clone = Clone::new();
    clone.sh("mkdir hosts; mv pool.yaml hosts/a.yaml; ln -s hosts/a.yaml current.yaml");
    clone.sh("cd /; exitpool scale us 4 --file \"$OLDPWD/current.yaml\"");
    assert!(clone.file("current.yaml").is_symlink());
    assert!(clone.read("hosts/a.yaml").contains("size: 4\n"));
    assert_eq!(fs::read_dir(clone.file("hosts")).unwrap().count(), 1);
    let missing = clone.try_sh("exitpool scale us 4");
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("cannot read pool.yaml: give it with --file"), "{}", missing.stderr);
}

#[test]
fn nothing_is_written_where_anything_is_wrong() {
    let clone = Clone::new();
    let before = clone.read("pool.yaml");
    for (command, code, told) in [
        ("exitpool scale eu 11 --commit", 78, "pool.yaml would be invalid with 11 nodes in eu; nothing was changed"),
        ("exitpool scale eu 0", 78, "pools[0].size"),
        ("exitpool scale asia 3", 64, "there is no pool `asia`; there is `eu`, `us`"),
        ("exitpool scale EU 3", 64, "is not a pool name"),
        ("exitpool scale eu 70000", 64, "70000"),
        ("exitpool scale eu 3 --push", 64, "--commit"),
        ("printf '\\377' >>other.yaml; exitpool scale eu 3 --file other.yaml", 78, "not UTF-8"),
    ] {
        let ran = clone.try_sh(command);
        assert!(ran.code == code && ran.stdout.is_empty(), "{command}: {ran:?}");
        assert!(ran.stderr.contains(told), "{command}: {}", ran.stderr);
        assert_eq!(clone.read("pool.yaml"), before, "{command}");
    }
    clone.sh("sed -i 's/size: 5/size: \"5\"/' pool.yaml");
    let quoted = clone.try_sh("exitpool scale us 4");
    assert_eq!(quoted.code, 78);
    assert!(quoted.stderr.contains("is not a valid desired state; nothing was changed"), "{}", quoted.stderr);
    assert_eq!(clone.git("rev-list --count HEAD"), "1");
}

#[test]
fn a_commit_has_this_file_alone_and_is_signed_where_git_signs() {
    let clone = Clone::new();
    let key = clone.at("key").display().to_string();
    git_kit::run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", &key]), b"");
    let public = fs::read_to_string(clone.at("key.pub")).unwrap();
    fs::write(clone.at("signers"), format!("ada@example.org {public}")).unwrap();
    clone.git(&format!("config gpg.format ssh; git config commit.gpgsign true; git config user.signingkey {key}"));
    clone.git(&format!("config gpg.ssh.allowedSignersFile {}", clone.at("signers").display()));
    clone.git("config core.hooksPath hooks");
    clone.write("README.md", "staged\n");
    clone.git("add README.md");
    clone.write("README.md", "changed\n");

    let ran = clone.try_sh("exitpool scale eu 8 --commit --reason 'The crawler is gone.'");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let head = clone.git("rev-parse HEAD");
    assert!(ran.stderr.ends_with(&format!("committed as {head}\n")), "{}", ran.stderr);
    assert!(ran.stdout.contains("\n+    size: 8 "), "{}", ran.stdout);
    assert_eq!(clone.git("log -1 --format=%B"), "eu: scale 10 → 8\n\nThe crawler is gone.");
    assert_eq!(clone.git("show --format= --name-only HEAD"), "pool.yaml");
    assert_eq!(clone.git("status --porcelain"), "MM README.md");
    clone.git("verify-commit HEAD");

    let same = clone.try_sh("exitpool scale eu 8 --commit");
    assert_eq!((same.code, clone.git("rev-parse HEAD")), (0, head), "{}", same.stderr);
}

#[test]
fn what_cannot_be_committed_is_not_changed() {
    let clone = Clone::new();
    let before = clone.read("pool.yaml");
    let refused = |prepare: &str, told: &str| {
        let ran = clone.try_sh(&format!("{prepare}\nexitpool scale eu 8 --commit"));
        assert_eq!(ran.code, 1, "{prepare}: {ran:?}");
        assert!(ran.stderr.contains(told), "{prepare}: {}", ran.stderr);
    };
    refused(
        "git config core.hooksPath no; mkdir no; printf '#!/bin/sh\\nexit 1\\n' >no/pre-commit; chmod +x no/pre-commit",
        "is as it was",
    );
    assert_eq!(clone.read("pool.yaml"), before);
    refused("git config --unset core.hooksPath; echo '# mine' >>pool.yaml", "has other changes that are not committed");
    refused("git add pool.yaml", "has other changes that are not committed");
    assert_eq!(clone.read("pool.yaml"), format!("{before}# mine\n"));
    refused("git reset --quiet --hard; git rm --quiet --cached pool.yaml", "git does not know");
    refused("git reset --quiet --hard; mv .git .got", "is in no Git work tree");
    assert_eq!(clone.read("pool.yaml"), before);
    let status = fs::metadata(clone.file("pool.yaml")).unwrap().permissions().mode() & 0o777;
    assert_eq!(status, 0o644);
    clone.sh("mv .got .git");
    assert_eq!(clone.git("rev-list --count HEAD"), "1");
}

/// As if somebody pressed Ctrl-C while git asks for a passphrase, or a hook takes its time.
#[test]
fn an_interrupted_commit_leaves_the_file_as_it_was() {
    let clone = Clone::new();
    let before = clone.read("pool.yaml");
    clone.write("hooks/pre-commit", "#!/bin/sh\necho $$ >../waiting\nexec sleep 100\n");
    clone.git("config core.hooksPath hooks; git commit --quiet --all --message hook --no-verify");
    // Whoever started the tests may ignore the signal, and so would their children.
    let mut command = clone.command("exec env --default-signal=INT exitpool scale eu 8 --commit");
    // Not a pipe: a shell can miss the signal while it starts a program, and would hold the other end.
    let told = fs::File::create(clone.at("told")).unwrap();
    let mut child = command.process_group(0).stdout(Stdio::null()).stderr(told).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let hook = || fs::read_to_string(clone.at("waiting")).is_ok_and(|pid| pid.ends_with('\n'));
    while !hook() {
        assert!(Instant::now() < deadline, "the hook does not run");
        thread::sleep(Duration::from_millis(10));
    }
    assert_ne!(clone.read("pool.yaml"), before);
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = child.wait().unwrap();
    clone.try_sh("kill -KILL $(cat ../waiting)");
    let told = fs::read_to_string(clone.at("told")).unwrap();
    assert_eq!(ended.code(), Some(1), "{told}");
    assert!(told.contains("was not committed, and is as it was"), "{told}");
    assert_eq!(clone.git("status --porcelain"), "");
    assert!(!clone.file(".git/index.lock").exists());
}

#[test]
fn a_push_goes_where_git_pushes_and_a_refused_one_is_said() {
    let clone = Clone::new();
    let bare = clone.at("bare.git").display().to_string();
    clone.git(&format!("init --quiet --bare {bare}; git remote add origin {bare}"));
    clone.git("push --quiet --set-upstream origin main");
    let ran = clone.try_sh("exitpool scale eu 8 --commit --push -o json");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let head = clone.git("rev-parse HEAD");
    assert_eq!((json["commit"].as_str().unwrap(), &json["pushed"]), (head.as_str(), &true.into()));
    assert_eq!(clone.git(&format!("--git-dir {bare} rev-parse main")), head);

    clone.sh(&format!("rm -rf {bare}"));
    let ran = clone.try_sh("exitpool scale eu 7 --commit --push");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("committed, and not pushed: git push failed"), "{}", ran.stderr);
    assert_ne!(clone.git("rev-parse HEAD"), head);
}
