//! A host that is reached by SSH over a cable: a real sshd, the real daemon, and the real firewall in a namespace.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use exitpool::daemon::socket::{self, Report, Verb};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::firewall::lab::{HOST, Kind, Lab};
use crate::support::{end_tors_in, skip, understood};

const EXITPOOL: &str = env!("CARGO_BIN_EXE_exitpool");
/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A host with a daemon that follows a file.
pub struct Host {
    pub lab: Lab,
    directory: TempDir,
    sshd: Child,
    daemon: Option<Child>,
    /// What the daemon follows, where that is not the file.
    pub source: Option<String>,
    /// A program that runs the daemon, where that does not run as it is.
    pub within: Option<PathBuf>,
}

/// A session of SSH in which `cat` answers.
pub struct Session {
    ssh: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Host {
    /// Makes a host that follows a desired state, and waits until it matches; `None` where that cannot be.
    pub fn start(kind: Kind, document: &str) -> Option<Self> {
        let mut host = Self::prepare(Lab::new(kind)?)?;
        host.comes_up(document);
        Some(host)
    }

    /// Makes the host without a daemon.
    pub fn prepare(lab: Lab) -> Option<Self> {
        if !Path::new("/usr/sbin/sshd").exists() {
            skip("there is no sshd (Debian: apt install openssh-server)");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let sshd = sshd(&lab, directory.path());
        fs::write(directory.path().join("torrc"), "DisableNetwork 1\n").unwrap();
        Some(Self { lab, directory, sshd, daemon: None, source: None, within: None })
    }

    /// Starts the daemon, and waits until the host is as desired.
    #[track_caller]
    pub fn comes_up(&mut self, document: &str) {
        self.wish(document);
        self.start_daemon();
        self.sees("the host as desired", |report| is(report, "FirewallInSync", "True", "InSync"));
    }

    /// Writes a program that runs what it is given, after something else.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.at(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o755)).unwrap();
        self.at(name)
    }

    /// A path in the host's directory.
    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces the desired state.
    pub fn wish(&self, document: &str) {
        fs::write(self.at("new.yaml"), document).unwrap();
        fs::rename(self.at("new.yaml"), self.at("pool.yaml")).unwrap();
    }

    /// Starts the daemon.
    pub fn start_daemon(&mut self) {
        let log = File::options().create(true).append(true).open(self.at("log")).unwrap();
        let mut command = self.verb_command("run");
        command.args(["--log-format", "text"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
    }

    /// Ends the daemon by a signal.
    pub fn end_daemon(&mut self, signal: Signal) {
        let mut daemon = self.daemon.take().unwrap();
        kill_process(Pid::from_raw(daemon.id().try_into().unwrap()).unwrap(), signal).unwrap();
        daemon.wait().unwrap();
    }

    /// The daemon's process id.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    /// The process that watches over the change on trial.
    pub fn fuse(&self) -> Pid {
        let run = self.at("run").display().to_string();
        let is_fuse = |line: &[u8]| {
            let line = String::from_utf8_lossy(line);
            line.contains("guard-trial") && line.contains(&run)
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let found = processes.filter(|it| fs::read(it.path().join("cmdline")).is_ok_and(|line| is_fuse(&line)));
        let pids: Vec<i32> = found.map(|it| it.file_name().to_str().unwrap().parse().unwrap()).collect();
        assert_eq!(pids.len(), 1, "{pids:?}");
        Pid::from_raw(pids[0]).unwrap()
    }

    fn verb_command(&self, verb: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.lab.host.pid()));
        command.args(self.within.as_ref().filter(|_| verb == "run")).arg(EXITPOOL).arg(verb);
        command.env_remove("SSH_CONNECTION").env_remove("SSH_CLIENT");
        command.arg("--runtime-dir").arg(self.at("run"));
        let reads_the_host = ["run", "plan", "snapshot", "drift"].contains(&verb);
        if reads_the_host {
            command.arg("--state-dir").arg(self.at("state")).args(["--listen", "0.0.0.0:8080"]);
            command.arg("--torrc-defaults").arg(self.at("torrc")).arg("--source");
            command.arg(self.source.as_ref().map_or_else(|| self.at("pool.yaml"), PathBuf::from));
        }
        command
    }

    /// Runs a verb on the host, with more in its environment.
    pub fn verb_with(&self, verb: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = self.verb_command(verb);
        understood(verb, command.args(arguments).envs(environment.iter().copied()).output().unwrap())
    }

    /// Runs a verb on the host; gives what it said, on both streams.
    pub fn verb(&self, verb: &str, arguments: &[&str]) -> String {
        said(&self.verb_with(verb, arguments, &[]))
    }

    /// Waits until the daemon publishes something.
    #[track_caller]
    pub fn sees(&mut self, what: &str, mut seen: impl FnMut(&Report) -> bool) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let end = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < end {
            if let Ok(report) = runtime.block_on(socket::ask(&self.at("run"), Verb::Status)) {
                if seen(&report) {
                    return report;
                }
                last = Some(report.status);
            }
            std::thread::sleep(POLL);
        }
        panic!("not seen: {what}; last: {last:#?}\n{}", self.log());
    }

    /// Waits until something is so on this host.
    #[track_caller]
    pub fn waits_for(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "not seen: {what}\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    /// The value of one series of the metrics.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.lab.host.sh("curl --silent --show-error --max-time 10 http://127.0.0.1:8080/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    /// The daemon's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap_or_default()
    }

    /// Logs in from an address.
    pub fn logs_in(&self, from: &str) -> Session {
        let mut ssh = Command::new("nsenter");
        ssh.arg(format!("--net=/proc/{}/ns/net", self.lab.client.pid())).args(["ssh", "-F", "none", "-b", from]);
        for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR"] {
            ssh.args(["-o", option]);
        }
        ssh.arg("-i").arg(self.at("key")).arg(format!("root@{}", HOST[0])).arg("cat");
        let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (ssh.stdin.take(), BufReader::new(ssh.stdout.take().unwrap()));
        let mut session = Session { ssh, input, output };
        session.answers();
        session
    }
}

impl Session {
    /// Sees that the session is alive.
    #[track_caller]
    pub fn answers(&mut self) {
        self.input.as_mut().unwrap().write_all(b"there\n").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
    }

    /// Logs out.
    pub fn logs_out(mut self) {
        self.input.take();
        self.ssh.wait().unwrap();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for child in self.daemon.iter_mut().chain([&mut self.sshd]) {
            let _ = child.kill();
            let _ = child.wait();
        }
        end_tors_in(self.directory.path());
    }
}

/// Starts an OpenSSH server at port 22 of the host, and waits until it listens.
fn sshd(lab: &Lab, directory: &Path) -> Child {
    for name in ["host", "key"] {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(name));
        assert!(command.status().unwrap().success());
    }
    fs::copy(directory.join("key.pub"), directory.join("authorized_keys")).unwrap();
    let at = |name: &str| directory.join(name).display().to_string();
    let lines = [
        format!("HostKey {}", at("host")),
        format!("AuthorizedKeysFile {}", at("authorized_keys")),
        "PermitRootLogin yes\nPidFile none\nStrictModes no\nUsePAM no\nUseDNS no".to_owned(),
    ];
    fs::write(directory.join("sshd_config"), lines.join("\n") + "\n").unwrap();
    // sshd wants a directory that an init system makes; it gets one that nobody else sees.
    let script = "mount -t tmpfs tmpfs /run; mkdir -m 755 /run/sshd; exec /usr/sbin/sshd -D -e -f \"$1\"";
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", lab.host.pid())).args(["unshare", "--mount", "sh", "-ec", script]);
    command.arg("sh").arg(directory.join("sshd_config")).stdin(Stdio::null()).stdout(Stdio::null());
    let log = File::create(directory.join("sshd.log")).unwrap();
    let child = command.stderr(log).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while !lab.host.sh("cat /proc/net/tcp").contains(":0016 00000000:0000 0A") {
        assert!(Instant::now() < end, "{}", fs::read_to_string(directory.join("sshd.log")).unwrap());
        std::thread::sleep(POLL);
    }
    child
}

/// What a program said, on both streams.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// A condition's status, reason and message.
pub fn condition(report: &Report, kind: &str) -> (String, String, String) {
    let conditions = report.status["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// Whether a condition is so, for that reason.
pub fn is(report: &Report, kind: &str, status: &str, reason: &str) -> bool {
    let found = condition(report, kind);
    (found.0.as_str(), found.1.as_str()) == (status, reason)
}
