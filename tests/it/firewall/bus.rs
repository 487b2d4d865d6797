//! A firewalld, with a D-Bus of its own, in the network namespace of a lab and in mounts of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::lab::{Lab, PATIENCE};
use crate::support::{is_installed, skip};

/// A bus with firewalld on it; both end with this value.
pub struct FirewalldHost {
    directory: tempfile::TempDir,
    children: Vec<Child>,
}

impl FirewalldHost {
    /// Starts both; `None`, with the reason on standard error, where they are not installed.
    pub fn start(lab: &Lab) -> Option<Self> {
        let tools = ["firewalld", "firewall-cmd", "dbus-daemon", "unshare"];
        if let Some(missing) = tools.into_iter().find(|tool| !is_installed(tool)) {
            skip(&format!("{missing} is not installed"));
            return None;
        }
        let mut host = Self { directory: tempfile::tempdir().unwrap(), children: Vec::new() };
        let copied = Command::new("cp").args(["-a", "/etc/firewalld"]).arg(host.directory.path()).status();
        assert!(copied.unwrap().success());
        host.write_scripts();
        host.start_bus(lab);
        host.start_firewalld(lab);
        Some(host)
    }

    /// The directory of the policies.
    pub fn policies(&self) -> PathBuf {
        self.configuration().join("policies")
    }

    /// What firewalld takes for `/etc/firewalld`.
    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("firewalld")
    }

    /// Where the bus is.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.directory.path().join("bus").display())
    }

    /// A program that runs another one where firewalld's configuration and bus are.
    pub fn within(&self) -> String {
        self.directory.path().join("within").display().to_string()
    }

    /// Runs `firewall-cmd`.
    pub fn cmd(&self, lab: &Lab, arguments: &str) -> String {
        lab.host.sh(&format!("{} firewall-cmd {arguments}", self.within()))
    }

    /// Every file of the configuration with its content.
    pub fn files(&self) -> String {
        let script = "cd \"$0\"; find . -type f | sort | while read -r file; do echo \"== $file\"; cat \"$file\"; done";
        let output = Command::new("sh").args(["-ec", script]).arg(self.configuration()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ends firewalld, as an operator does who stops it.
    pub fn stop_firewalld(&mut self, lab: &Lab) {
        let mut firewalld = self.children.pop().unwrap();
        lab.host.sh(&format!("kill {}", firewalld.id()));
        firewalld.wait().unwrap();
    }

    /// Starts it, and waits until it is up.
    pub fn start_firewalld(&mut self, lab: &Lab) {
        self.spawn(lab, "exec firewalld --nofork --nopid");
        let up = || lab.host.try_sh(&format!("{} firewall-cmd --state", self.within())).status.success();
        wait_for("firewalld", up);
    }

    fn start_bus(&mut self, lab: &Lab) {
        let configuration = self.directory.path().join("bus.conf");
        self.spawn(lab, &format!("exec dbus-daemon --config-file={} --nofork --nopidfile", configuration.display()));
        let socket = self.directory.path().join("bus");
        wait_for("the bus", || socket.exists());
    }

    fn spawn(&mut self, lab: &Lab, script: &str) {
        let netns = format!("--net=/proc/{}/ns/net", lab.host.pid());
        let mut command = Command::new("nsenter");
        command.args([&netns, &self.within(), "sh", "-ec", script]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(command.spawn().unwrap());
    }

    fn write_scripts(&self) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.directory.path();
        let within = format!(
            "#!/bin/sh\nexport PATH=$PATH:/usr/sbin:/sbin DBUS_SYSTEM_BUS_ADDRESS={}\n\
             exec unshare --mount --propagation private sh -ec '\
             mount --bind {} /etc/firewalld; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/log; exec \"$@\"' sh \"$@\"\n",
            self.address(),
            self.configuration().display(),
        );
        // Everybody may call, as on a real system bus, where firewalld itself refuses whom it does not obey.
        let bus = format!(
            "<busconfig><type>system</type><listen>{}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
             <allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
             </policy></busconfig>",
            self.address()
        );
        fs::write(path.join("within"), within).unwrap();
        fs::write(path.join("bus.conf"), bus).unwrap();
        fs::set_permissions(path.join("within"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Drop for FirewalldHost {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_there() {
        assert!(Instant::now() < deadline, "{what} is not up");
        std::thread::sleep(Duration::from_millis(20));
    }
}
