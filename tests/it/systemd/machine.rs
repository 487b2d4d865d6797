//! A booted Debian into which exitpool is installed by the words of systemd/README.md.

use std::fs;
use std::path::Path;

use crate::roots::{Machine, Root};
use crate::support::eventually;

/// Where the repository is in the machine, as far as installing needs it.
const REPOSITORY: &str = "/opt/exitpool";
/// The desired state.
const SOURCE: &str = "/srv/pool.yaml";

/// A machine with the daemon installed, and not started.
pub struct Host<'root> {
    root: &'root Root,
    pub machine: Machine<'root>,
}

impl<'root> Host<'root> {
    /// Boots, and installs what stands in the README under each of these headings.
    #[track_caller]
    pub fn boot(root: &'root Root, headings: &[&str]) -> Option<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        root.copy_in(Path::new(env!("CARGO_BIN_EXE_exitpool")), &format!("{REPOSITORY}/target/release/exitpool"));
        root.copy_in(&here.join("systemd"), &format!("{REPOSITORY}/systemd"));
        let host = Self { root, machine: root.boot()? };
        host.sh("systemctl disable --quiet --now tor");
        for heading in headings {
            host.sh(&format!("cd {REPOSITORY}\n{}", words_of(heading)));
        }
        Some(host)
    }

    /// Runs a line of shell, and gives what it says.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        self.machine.sh(line).ok().trim().to_owned()
    }

    /// Whether a line of shell ends well.
    #[track_caller]
    pub fn holds(&self, line: &str) -> bool {
        self.machine.sh(line).code == Some(0)
    }

    /// Waits until a line of shell ends well.
    #[track_caller]
    pub fn waits_for(&self, line: &str) {
        let found = eventually(|| self.holds(line).then_some(()));
        assert!(found.is_some(), "`{line}` has not come true: {}", self.journal());
    }

    /// Starts the daemon anew, which is not one time too often.
    #[track_caller]
    pub fn restarts(&self) {
        self.sh("systemctl reset-failed exitpool 2>/dev/null || :; systemctl restart exitpool");
    }

    /// A property of a unit.
    #[track_caller]
    pub fn shows(&self, property: &str, unit: &str) -> String {
        self.sh(&format!("systemctl show --value --property={property} {unit}"))
    }

    /// The processes of the daemon's control group that are tors, as the machine numbers them.
    #[track_caller]
    pub fn tors(&self) -> Vec<u32> {
        let group = self.shows("ControlGroup", "exitpool");
        // Not those that only check a torrc.
        let tors = self.sh(&format!(
            "for pid in $(cat /sys/fs/cgroup{group}/cgroup.procs); do \
             case \"$(tr '\\0' ' ' < /proc/$pid/cmdline || :)\" in \
             *tor*--verify-config*) ;; *tor*/instances/*) echo $pid;; esac; done 2>/dev/null"
        ));
        tors.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// The guard of nftables; empty where there is none.
    #[track_caller]
    pub fn guard(&self) -> String {
        self.machine.sh("nft list table inet exitpool").stdout
    }

    /// Writes the desired state.
    #[track_caller]
    pub fn wishes(&self, document: &str) {
        self.root.write(SOURCE, document);
    }

    /// Writes a drop-in of the daemon's unit; an empty one takes it away.
    #[track_caller]
    pub fn drops_in(&self, name: &str, lines: &str) {
        self.root
            .write(&format!("/etc/systemd/system/exitpool.service.d/{name}.conf"), &format!("[Service]\n{lines}\n"));
        self.sh("systemctl daemon-reload");
    }

    /// Writes a file.
    #[track_caller]
    pub fn writes(&self, path: &str, text: &str) {
        self.root.write(path, text);
    }

    /// What the units have said.
    #[track_caller]
    pub fn journal(&self) -> String {
        self.machine
            .sh("journalctl --no-pager --lines=80 --unit='exitpool*' --unit='pool-as-root*' --unit=init.scope")
            .stdout
    }
}

/// The shell of the README under a heading.
#[track_caller]
fn words_of(heading: &str) -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/README.md")).unwrap();
    let mut is_meant = false;
    let mut is_shell = false;
    let mut words = String::new();
    for line in readme.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            is_meant = title == heading;
        } else if is_meant && line.starts_with("```") {
            is_shell = line == "```sh";
        } else if is_meant && is_shell {
            words += line;
            words.push('\n');
        }
    }
    assert!(!words.is_empty(), "the README has no shell under {heading:?}");
    words
}
