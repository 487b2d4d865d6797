//! What is installed: the release as it is packed, install.sh, uninstall.sh and the Debian package, in a Debian of their own.

mod distributions;
mod host;
mod release;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::git_kit;
use crate::roots::{Files, Ran, Root, differences};

/// Where a release is unpacked in a root.
const RELEASE: &str = "/srv/release";
/// What a host keeps that has added and removed a user, or that runs: backups of the tools, locks, logs, times.
const KEPT: [&str; 11] = [
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/.pwd.lock",
    "/etc/subuid-",
    "/etc/subgid-",
    "/var/log",
    "/var/lib/systemd",
    "/var/cache",
    "/var/lib/dpkg",
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program under test, without what only a debugger reads.
fn program() -> PathBuf {
    static STRIPPED: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let stripped = STRIPPED.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exitpool");
        git_kit::run(Command::new("strip").arg("-o").arg(&path).arg(env!("CARGO_BIN_EXE_exitpool")), b"");
        (directory, path)
    });
    stripped.1.clone()
}

/// Packs a release, compressed little.
fn pack(to: &Path) {
    let mut command = Command::new("sh");
    command.arg(repository().join("scripts/package.sh")).arg("--fast").arg("--binary").arg(program());
    // Any time does, so that the tests need no history.
    git_kit::run(command.arg("--out").arg(to).env("SOURCE_DATE_EPOCH", "1700000000"), b"");
}

/// A release that is packed once for all tests of a run.
fn release() -> &'static Path {
    static RELEASE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = RELEASE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        pack(directory.path());
        directory
    });
    made.path()
}

/// The one file of the release with an ending.
fn packed(ending: &str) -> PathBuf {
    let mut files = release().read_dir().unwrap().map(|entry| entry.unwrap().path());
    files.find(|file| file.to_string_lossy().ends_with(ending)).unwrap()
}

/// A Debian with the release unpacked in it.
fn debian() -> Option<Root> {
    let root = Root::overlay("inst")?;
    root.copy_in(&packed(".tar.gz"), "/srv/release.tar.gz");
    root.sh(&format!("mkdir {RELEASE}; tar -xzf /srv/release.tar.gz -C {RELEASE} --strip-components=1")).ok();
    Some(root)
}

/// What is not as it was, but for what every host keeps.
#[track_caller]
fn changed(before: &Files, root: &Root) -> Vec<String> {
    let is_kept = |line: &String| {
        let path = line[2..].split(':').next().unwrap_or_default();
        KEPT.iter().any(|kept| path == *kept || path.starts_with(&format!("{kept}/")))
    };
    differences(before, &root.files()).into_iter().filter(|line| !is_kept(line)).collect()
}

/// What a script has said, where it ended as it should.
#[track_caller]
fn said(ran: &Ran, code: i32) -> String {
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, Some(code), "{all}");
    all
}
