//! The operator's repository: a real clone of it, with the program in PATH and nobody's Git configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A work tree that has `desired-state/`, or another folder, as its first commit.
pub struct Clone {
    directory: TempDir,
}

impl Clone {
    pub fn new() -> Self {
        Self::of("desired-state")
    }

    /// The same of another folder.
    pub fn of(folder: &str) -> Self {
        let clone = Self { directory: tempfile::tempdir().unwrap() };
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &clone.at("clone"));
        fs::write(clone.at("gitconfig"), "[user]\n\tname = Ada\n\temail = ada@example.org\n").unwrap();
        clone.git("init --quiet --initial-branch=main");
        clone.git("add --all");
        clone.git("commit --quiet --message first");
        clone
    }

    /// A path beside the work tree.
    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of the work tree.
    pub fn file(&self, name: &str) -> PathBuf {
        self.at("clone").join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }

    /// A shell script in the work tree.
    pub fn command(&self, script: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_exitpool")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(self.at("clone")).env_clear().env("PATH", path);
        command.env("HOME", self.directory.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_CONFIG_GLOBAL", self.at("gitconfig"));
        command
    }

    /// Runs a shell script in the work tree.
    pub fn try_sh(&self, script: &str) -> Ran {
        let output = self.command(script).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The same, of what must succeed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let ran = self.try_sh(script);
        assert_eq!(ran.code, 0, "{script}: {}", ran.stderr);
        ran.stdout.trim_end().to_owned()
    }

    #[track_caller]
    pub fn git(&self, arguments: &str) -> String {
        self.sh(&format!("git {arguments}"))
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { fs::copy(entry.path(), to).map(drop).unwrap() }
    }
}

/// The staged file is invalid and the one in the work tree is not, or the other way round.
#[test]
fn the_hook_judges_what_is_staged() {
    let clone = Clone::new();
    clone.git("config core.hooksPath hooks");
    let good = clone.read("pool.yaml");
    let bad = good.replace("size: 10 ", "size: ten");

    clone.write("pool.yaml", &bad);
    clone.git("add pool.yaml");
    clone.write("pool.yaml", &good);
    let refused = clone.try_sh("git commit --message bad");
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--> pool.yaml:8:") && refused.stderr.contains("pools[0].size"),
        "{}",
        refused.stderr
    );
    assert_eq!(clone.git("rev-list --count HEAD"), "1");

    clone.write("pool.yaml", &good.replace("size: 10 ", "size: 9 "));
    clone.git("add pool.yaml");
    clone.write("pool.yaml", &bad);
    clone.git("commit --quiet --message good");
    assert_eq!(clone.git("rev-list --count HEAD"), "2");
    assert_eq!(clone.read("pool.yaml"), bad, "the work tree is the operator's");
}

#[test]
fn the_hook_lets_pass_what_is_no_desired_state_and_no_removal_of_one() {
    let clone = Clone::new();
    clone.git("config core.hooksPath hooks");
    clone.write("README.md", "new\n");
    // Also where the program is not there.
    clone.sh("PATH=/usr/bin:/bin git commit --quiet --all --message readme");
    let gone = clone.try_sh("git rm --quiet pool.yaml; git commit --message gone");
    assert!(gone.code == 1 && gone.stderr.contains("pool.yaml would be gone"), "{}", gone.stderr);
    let script =
        "git reset --quiet --hard; sed -i s/10/9/ pool.yaml; PATH=/usr/bin:/bin git commit --all --message nine";
    let missing = clone.try_sh(script);
    assert!(missing.code == 1 && missing.stderr.contains("exitpool is not in PATH"), "{}", missing.stderr);
    let moved = "git reset --quiet --hard; mkdir host; git mv pool.yaml 'host/a b.yaml'; echo '}' >>'host/a b.yaml'; git add --all";
    let moved = clone.try_sh(&format!("{moved}; EXITPOOL_PATH='host/a b.yaml' git commit --message moved"));
    assert!(moved.code != 0 && moved.stderr.contains("host/a b.yaml:"), "{}", moved.stderr);
}

#[test]
fn the_hook_judges_a_list_that_is_staged() {
    let clone = Clone::new();
    clone.git("config core.hooksPath hooks");
    clone.sh("sed -i 's/socks: .203/socks: [{file: clients.txt}, 203/' pool.yaml");
    let good = "198.51.100.32/28\n";
    clone.write("clients.txt", good);
    clone.git("add pool.yaml clients.txt");
    clone.git("commit --quiet --message list");
    clone.write("clients.txt", "198.51.100.16/28\nnobody\n");
    clone.git("add clients.txt");
    clone.write("clients.txt", good);
    let refused = clone.try_sh("git commit --message bad");
    assert!(refused.code == 1 && refused.stderr.contains("--> clients.txt:2:1"), "{}", refused.stderr);
    let gone = clone.try_sh("git rm --quiet --force clients.txt; git commit --message gone");
    assert!(gone.code == 1 && gone.stderr.contains("the list `clients.txt` does not exist"), "{}", gone.stderr);
    clone.write("clients.txt", "198.51.100.16/28\n");
    clone.git("add clients.txt");
    clone.git("commit --quiet --message good");
}

#[test]
fn what_ci_runs_needs_no_host() {
    let clone = Clone::new();
    for (file, commands) in [("ci/github.yml", "run: ci/check"), ("ci/gitlab.yml", "- ci/check")] {
        let text = clone.read(file);
        serde_yaml::from_str::<serde_json::Value>(&text).unwrap();
        assert!(text.contains(commands), "{file}");
    }
    let without = clone.try_sh("ci/check");
    assert_eq!((without.code, without.stdout.as_str()), (0, ""), "{}", without.stderr);
    assert!(without.stderr.contains("snapshot.json is not there"), "{}", without.stderr);

    let world = crate::plan::world::World::new(&["de", "us"]);
    clone.write("snapshot.json", &serde_json::to_string(&world.snapshot(&[])).unwrap());
    let planned = clone.try_sh("ci/check");
    assert_eq!(planned.code, 0, "{}", planned.stderr);
    assert!(planned.stdout.contains("Plan: 16 to add, 0 to change, 0 to destroy."), "{}", planned.stdout);

    clone.sh("sed -i 's/size: 10 /size: ten/' pool.yaml");
    assert_eq!(clone.try_sh("ci/check").code, 78);
}
