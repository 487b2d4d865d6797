//! A root that its own systemd has booted.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Ran, Root, children, in_a_plain_environment};
use crate::support::eventually;

/// Joins the root's control group, so that machines that are booted at once do not meet there, and takes away what systemd
/// would have to find empty.
const NSPAWN: &str = r#"
echo 0 > /sys/fs/cgroup/cgroup.procs
root=$1; shift
umount "$root/proc" "$root/sys" "$root/dev/pts"
exec systemd-nspawn "$@" --boot --directory "$root"
"#;

/// How long a machine may take to power off: less than systemd waits for a process that does not end.
const PATIENCE: Duration = Duration::from_secs(45);

/// A booted machine; it is powered off when this value is dropped.
pub struct Machine<'root> {
    root: &'root Root,
    nspawn: Child,
    console: PathBuf,
}

impl<'root> Machine<'root> {
    #[track_caller]
    pub(super) fn boot(root: &'root Root) -> Self {
        let machine = Self { root, nspawn: start(root), console: root.console() };
        machine.wait_until_started();
        machine
    }

    /// A program that is to be run in the machine, in all of its namespaces. It gets nothing of the test's environment, and
    /// ends after five minutes.
    #[track_caller]
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let leader = self.leader().unwrap_or_else(|| panic!("the machine has ended: {}", self.said()));
        let mut command = Command::new("nsenter");
        command.args(["--target", &leader.to_string()]);
        command.args(["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--"]);
        command.args(in_a_plain_environment()).args(words);
        command
    }

    /// Runs a program in the machine, to its end.
    #[track_caller]
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.command(words).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs a line of shell in the machine.
    #[track_caller]
    pub fn sh(&self, line: &str) -> Ran {
        self.run(["sh", "-euc", line])
    }

    /// Boots it anew, and waits until everything has been started.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.run(["systemctl", "reboot"]).ok();
        assert!(self.ends(), "the machine does not end: {}", self.said());
        self.nspawn = start(self.root);
        self.wait_until_started();
    }

    /// Waits for a systemd that has started everything, however well.
    #[track_caller]
    fn wait_until_started(&self) {
        let started = || {
            self.leader()?;
            let state = self.run(["systemctl", "is-system-running"]).stdout;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        };
        assert!(eventually(started).is_some(), "the machine has not started: {}", self.said());
    }

    /// Its first process, as the host numbers it.
    fn leader(&self) -> Option<u32> {
        let is_systemd =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "systemd\n");
        let nspawn = *children(self.nspawn.id()).first()?;
        children(nspawn).into_iter().find(is_systemd)
    }

    /// What has been on its console.
    fn said(&self) -> String {
        fs::read_to_string(&self.console).unwrap_or_default()
    }

    /// Whether it ends by itself, in time.
    fn ends(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if !matches!(self.nspawn.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

/// Starts what boots the root, and ends with it; a machine that reboots is started anew.
fn start(root: &Root) -> Child {
    let said = File::options().create(true).append(true).open(root.console()).unwrap();
    let mut nspawn = root.enter();
    nspawn.args(["unshare", "--mount", "sh", "-euc", NSPAWN, "nspawn"]).arg(root.place.path().join("merged"));
    // The network namespace is the root's, and the machine may do there what a host may in its own.
    nspawn.args(["--quiet", "--register=no", "--keep-unit", "--network-namespace-path=/proc/self/ns/net"]);
    nspawn.arg("--capability=CAP_NET_ADMIN");
    // Nothing of the host's is written into the root, or the other way round.
    nspawn.args(["--link-journal=no", "--resolv-conf=off", "--timezone=off"]);
    nspawn.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap()
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if let Some(leader) = self.leader() {
            let _ = self.run(["systemctl", "poweroff"]);
            if !self.ends()
                && let Some(leader) = i32::try_from(leader).ok().and_then(Pid::from_raw)
            {
                let _ = kill_process(leader, Signal::KILL);
            }
        }
        let _ = self.ends();
    }
}
