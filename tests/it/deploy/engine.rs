//! Podman without a host: in namespaces and with a storage of its own, which end with this value.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::{is_installed, skip};

/// What a namespace needs before Podman runs in it: crun takes control groups of version 2 alone.
const KEEPER: &str = "umount -R /sys/fs/cgroup || :\n\
    mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
    ip link set lo up\n\
    echo there\n\
    exec cat";
/// What is left out of the Debian that an image is made from: it would only take time.
const LEFT_OUT: [&str; 6] =
    ["./var/cache", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./var/log"];

/// A place where containers run.
pub struct Engine {
    keeper: Child,
    /// The keeper ends at its end of file.
    _alive: ChildStdin,
    /// The first process in the namespaces, as the host numbers it; with it, all others end.
    first: u32,
    pub place: TempDir,
}

impl Engine {
    /// Makes the namespaces; `None`, with the reason on standard error, where that is not possible.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("containers in namespaces of their own need root");
            return None;
        }
        let tools = ["podman", "buildah", "crun", "conmon", "tini", "unshare", "nsenter"];
        if let Some(missing) = tools.into_iter().find(|tool| !is_installed(tool)) {
            skip(&format!("{missing} is not installed"));
            return None;
        }
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-euc", KEEPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let alive = keeper.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "there\n", "the namespaces cannot be made");
        let children = format!("/proc/{0}/task/{0}/children", keeper.id());
        let first = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Some(Self { keeper, _alive: alive, first, place: tempfile::tempdir().unwrap() })
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A program in the namespaces.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--mount", "--net", "--pid", "--", program]);
        command
    }

    /// Runs Podman.
    pub fn podman(&self, arguments: &[&str]) -> Output {
        let mut command = self.command("podman");
        for (option, name) in [("--root", "storage"), ("--runroot", "running"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.at(name));
        }
        command.args(["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
        command.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs Podman, which must succeed; gives what it has printed.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        let output = self.podman(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {arguments:?}: {}: {said}", output.status);
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs a shell script in a container, which must succeed.
    #[track_caller]
    pub fn sh(&self, container: &str, script: &str) -> String {
        self.done(&["exec", container, "sh", "-euc", script])
    }

    /// Makes an image of the Debian that the tests have, with tini; `None` where there is none.
    pub fn import_debian(&self, image: &str) -> Option<()> {
        let debian = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/debian-root");
        let Ok(debian) = debian.canonicalize() else {
            skip("there is no target/debian-root: run scripts/debian-root.sh");
            return None;
        };
        let mut tar = Command::new("tar");
        tar.args(["--one-file-system", "-cf"]).arg(self.at("base.tar")).arg("-C").arg(&debian);
        tar.args(LEFT_OUT.map(|path| format!("--exclude={path}")));
        tar.args(["--exclude=./proc/*", "--exclude=./sys/*", "--exclude=./dev/*", ".", "-C", "/", "usr/bin/tini"]);
        let packed = tar.output().unwrap();
        assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
        self.done(&["import", &self.at("base.tar").display().to_string(), image]);
        std::fs::remove_file(self.at("base.tar")).unwrap();
        Some(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self._alive.flush();
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
