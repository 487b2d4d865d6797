//! Network namespaces for tests: they vanish with the test, however it ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::support::{is_installed, skip};

/// A network namespace, kept by a process that ends when this value, or the test's process, is gone.
pub struct Netns {
    keeper: Child,
    /// The keeper ends at its end of file.
    _alive: ChildStdin,
}

impl Netns {
    /// Makes a namespace whose loopback is up; `None`, with the reason on standard error, where that is not possible.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("network namespaces need root");
            return None;
        }
        if let Some(missing) = ["unshare", "nsenter", "ip", "nft"].into_iter().find(|tool| !is_installed(tool)) {
            skip(&format!("{missing} is not installed"));
            return None;
        }
        let netns = Self::start();
        if netns.is_none() {
            skip("this host lets nobody make a network namespace");
        }
        netns
    }

    fn start() -> Option<Self> {
        let mut keeper =
            Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let mut alive = keeper.stdin.take()?;
        // Its echo says that it has entered the namespace.
        alive.write_all(b"there\n").ok()?;
        let mut line = String::new();
        let echoed = BufReader::new(keeper.stdout.take()?).read_line(&mut line);
        if !matches!(echoed, Ok(6)) {
            let _ = keeper.wait();
            return None;
        }
        let netns = Self { keeper, _alive: alive };
        netns.sh("ip link set lo up");
        Some(netns)
    }

    /// The id of a process in the namespace.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// Runs a shell script in the namespace; it must succeed.
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {}: {stderr}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a shell script in the namespace.
    pub fn try_sh(&self, script: &str) -> Output {
        let netns = format!("--net={}", self.path());
        Command::new("nsenter").args([&netns, "sh", "-ec", script]).env("LC_ALL", "C").output().unwrap()
    }

    /// Runs something on a thread of its own in the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let link = File::open(self.path()).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a future on a thread, and a runtime, of its own in the namespace.
    pub fn block_on<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work())
        })
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
