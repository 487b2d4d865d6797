//! The root helper: a daemon without root, before a firewall that takes it, and everybody else before the helper.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exitpool::daemon::socket::{self, Report, Verb};
use tempfile::TempDir;

use super::bus::FirewalldHost;
use super::lab::{Guarded as _, Kind, Lab};
use super::ufw;
use crate::lockout::host::{condition, is};
use crate::support::place_program;

const EXITPOOL: &str = env!("CARGO_BIN_EXE_exitpool");
const NOBODY: &str = "65534";
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A directory that nobody may read, with a copy of the program.
struct Place(TempDir);

/// A process that ends with the test.
struct Running(Child);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place_program(&place.at("exitpool"));
        for directory in ["state", "run", "tools"] {
            fs::create_dir(place.at(directory)).unwrap();
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.at("helper.sock")
    }

    /// Makes the legacy flavour this host's iptables, for whoever has `tools` in front of their path.
    fn with_legacy_iptables(self) -> Self {
        for family in ["iptables", "ip6tables"] {
            for ending in ["", "-save", "-restore"] {
                symlink("/usr/sbin/xtables-legacy-multi", self.at("tools").join(format!("{family}{ending}"))).unwrap();
            }
        }
        self
    }

    /// Starts the helper, as root, and waits until it listens; `within` is what runs a program on the host.
    fn helper(&self, within: &str, user: &str) -> Running {
        let script =
            format!("exec {within} {EXITPOOL} firewall-helper --user {user} --socket {}", self.socket().display());
        let helper = self.start(&script, "helper.log");
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < end, "{}", self.log("helper.log"));
            std::thread::sleep(POLL);
        }
        helper
    }

    /// Starts the daemon as nobody, with the right to change nftables and no other.
    fn daemon(&self, lab: &Lab) -> Running {
        self.daemon_within(lab, "")
    }

    fn daemon_within(&self, lab: &Lab, within: &str) -> Running {
        let rights = "+net_admin,+net_raw";
        let script = format!(
            "chown -R {NOBODY}:{NOBODY} {0}
             exec nsenter --net=/proc/{1}/ns/net {within} setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups \
                 --bounding-set -all,{rights} --inh-caps {rights} --ambient-caps {rights} \
                 {0}/exitpool run --log-format text --listen 0.0.0.0:8080 \
                 --source {0}/pool.yaml --state-dir {0}/state --runtime-dir {0}/run",
            self.0.path().display(),
            lab.host.pid()
        );
        self.start(&script, "daemon.log")
    }

    fn start(&self, script: &str, log: &str) -> Running {
        let log = File::options().create(true).append(true).open(self.at(log)).unwrap();
        let path = format!("{}:{}", self.at("tools").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-ec", script]).env("PATH", path).env("EXITPOOL_FIREWALL_HELPER", self.socket());
        Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn wish(&self, driver: &str) {
        let document = format!(
            "version: 1\nallow_empty: true\npools: []\naccess: {{panel: ['10.200.1.12']}}\nfirewall: {{driver: {driver}}}\n"
        );
        fs::write(self.at("new.yaml"), document).unwrap();
        fs::rename(self.at("new.yaml"), self.at("pool.yaml")).unwrap();
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    /// Waits until the daemon says something; it is asked to look each time.
    #[track_caller]
    fn sees(&self, what: &str, seen: impl Fn(&Report) -> bool) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let end = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < end {
            if let Ok(report) = runtime.block_on(socket::ask(&self.at("run"), Verb::Reconcile)) {
                if seen(&report) {
                    return report;
                }
                last = Some(report.status);
            }
            std::thread::sleep(POLL);
        }
        panic!("not seen: {what}; last: {last:#?}\n{}\n{}", self.log("daemon.log"), self.log("helper.log"));
    }
}

impl Running {
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says something to the helper, and reads what it answers.
fn ask(socket: &Path, said: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(said).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn in_sync(report: &Report) -> bool {
    report.converged && is(report, "FirewallInSync", "True", "InSync")
}

fn driver(report: &Report) -> &str {
    report.status["firewall"]["driver"].as_str().unwrap_or_default()
}

#[test]
fn a_daemon_without_root_keeps_iptables_legacy_by_the_helper() {
    let Some(lab) = Lab::new(Kind::IptablesLegacy) else { return };
    let place = Place::new().with_legacy_iptables();
    place.wish("iptables");
    let netns = format!("nsenter --net=/proc/{}/ns/net", lab.host.pid());

    // Without it, it is said what to do.
    let daemon = place.daemon(&lab);
    let report = place.sees("what is missing", |report| is(report, "FirewallInSync", "Unknown", "ObservationFailed"));
    let message = condition(&report, "FirewallInSync").2;
    assert!(message.contains("may not touch the firewall") && message.contains("firewall helper"), "{message}");

    let helper = place.helper(&netns, NOBODY);
    place.sees("the guard", in_sync);
    let stands = lab.everything();
    assert!(stands.contains("-A EXITPOOL-PANEL") && stands.contains("add exitpool-panel4 10.200.1.12"), "{stands}");
    lab.tamper("ipt -F EXITPOOL");
    let report = place.sees("the guard, again", in_sync);
    assert_eq!(driver(&report), "iptables");
    assert_eq!(lab.everything(), stands);

    // Without the helper nobody knows what stands, and nothing is taken for gone.
    helper.kill();
    lab.tamper("ipt -F EXITPOOL");
    let unknown = |report: &Report| is(report, "FirewallInSync", "Unknown", "ObservationFailed");
    let report = place.sees("that nobody knows", unknown);
    assert!(is(&report, "Drifted", "Unknown", "ObservationFailed") && report.applied.is_empty(), "{report:#?}");
    let helper = place.helper(&netns, NOBODY);
    place.sees("the guard, once more", in_sync);
    assert_eq!(lab.everything(), stands);

    // Another choice: what the helper kept goes, once the other guard stands.
    place.wish("nftables");
    place.sees("the other guard", |report| in_sync(report) && driver(report) == "nftables");
    let stands = lab.everything();
    assert!(!stands.contains("EXITPOOL") && stands.contains("table inet exitpool"), "{stands}");
    drop((daemon, helper));
}

#[test]
fn a_daemon_without_root_keeps_its_entries_in_ufw_by_the_helper() {
    let Some(host) = ufw::Host::new() else { return };
    let place = Place::new();
    place.wish("ufw");
    let within = host.directory.path().join("within").display().to_string();
    let helper = place.helper(&format!("nsenter --net=/proc/{}/ns/net {within}", host.lab.host.pid()), NOBODY);
    let daemon = place.daemon(&host.lab);
    let report = place.sees("the guard and the entry", in_sync);
    assert_eq!(driver(&report), "ufw");
    assert!(host.ufw("status").contains("exitpool:panel"));
    host.ufw("delete allow proto tcp to any port 8080");
    place.sees("the entry, again", |report| in_sync(report) && host.ufw("status").contains("exitpool:panel"));

    // The guard is the daemon's own: it closes also while the helper is away.
    helper.kill();
    host.tamper("nft flush chain inet exitpool panel");
    let report = place
        .sees("that nobody knows the entries", |report| is(report, "FirewallInSync", "Unknown", "ObservationFailed"));
    assert!(condition(&report, "FirewallInSync").2.contains("cannot talk to the firewall helper"), "{report:#?}");
    let helper = place.helper(&format!("nsenter --net=/proc/{}/ns/net {within}", host.lab.host.pid()), NOBODY);
    place.sees("all of it", in_sync);

    place.wish("nftables");
    place.sees("the guard alone", |report| in_sync(report) && driver(report) == "nftables");
    assert!(!host.ufw("status").contains("exitpool"));
    drop((daemon, helper));
}

#[test]
fn the_helper_obeys_one_user_and_understands_little() {
    let Some(lab) = Lab::new(Kind::IptablesLegacy) else { return };
    let place = Place::new();
    let netns = format!("nsenter --net=/proc/{}/ns/net", lab.host.pid());
    let before = lab.everything();
    let other = place.helper(&netns, NOBODY);
    let remove = b"{\"firewall\":\"iptables-legacy\",\"verb\":\"remove\"}\n";
    let answer = ask(&place.socket(), remove);
    assert_eq!(answer, "{\"refused\":\"root is not obeyed here, but nobody alone\"}\n");
    other.kill();

    let _helper = place.helper(&netns, "root");
    // One that says nothing holds nobody up.
    let mut silent = UnixStream::connect(place.socket()).unwrap();
    silent.write_all(b"{\"firewall\":").unwrap();
    let guard = r#"{"firewall":"iptables-legacy","verb":{"apply":{"socks_ports":[{"first":5,"last":3}]}}}"#;
    let long = vec![b' '; 8 * 1024 * 1024 + 1];
    for (said, why) in [
        (&b"hello\n"[..], "that is no question"),
        (b"\xff\xfe\x00\n", "that is no question"),
        (b"{\"firewall\":\"ufw\",\"verb\":\"reset\"}\n", "unknown variant `reset`"),
        (b"{\"firewall\":\"ufw\",\"verb\":\"remove\",\"command\":\"sh\"}\n", "unknown field `command`"),
        (b"{\"firewall\":\"ufw\",\"ver", "ends in the middle"),
        (b"", "ends in the middle"),
        (long.as_slice(), "has more than 8388608 bytes"),
        (format!("{guard}\n").as_bytes(), "no daemon makes such a guard: 5 to 3 are no ports"),
        (b"{\"firewall\":\"iptables-legacy\",\"verb\":{\"narrow\":{}}}\n", "nothing stands in front of this guard"),
    ] {
        let answer = ask(&place.socket(), said);
        assert!(answer.starts_with("{\"refused\":\"") && answer.contains(why), "{why}: {answer}");
    }
    let stands = b"{\"firewall\":\"iptables-legacy\",\"verb\":\"stands\"}\n";
    assert_eq!(ask(&place.socket(), stands), "{\"stands\":false}\n");
    assert_eq!(lab.everything(), before);
    drop(silent);
}

#[test]
fn a_daemon_without_root_keeps_its_policy_in_firewalld_by_the_helper() {
    let Some(lab) = Lab::new(Kind::Nftables) else { return };
    let Some(firewalld) = FirewalldHost::start(&lab) else { return };
    let place = Place::new();
    place.wish("firewalld");
    let within = firewalld.within();
    let _helper = place.helper(&format!("nsenter --net=/proc/{}/ns/net {within}", lab.host.pid()), NOBODY);
    let _daemon = place.daemon_within(&lab, &within);
    let report = place.sees("the guard and the policy", in_sync);
    assert_eq!(driver(&report), "firewalld");
    let policy = |option: &str| firewalld.cmd(&lab, &format!("{option} --info-policy exitpool"));
    for option in ["", "--permanent"] {
        assert!(policy(option).contains("port=\"8080\""), "{}", policy(option));
    }

    firewalld.cmd(&lab, "--permanent --delete-policy exitpool");
    firewalld.cmd(&lab, "--reload");
    place.sees("the policy, again", |report| in_sync(report) && firewalld.files().contains("8080"));

    place.wish("nftables");
    place.sees("the guard alone", |report| in_sync(report) && driver(report) == "nftables");
    assert!(!firewalld.cmd(&lab, "--get-policies").contains("exitpool") && !firewalld.files().contains("8080"));
}

/// As a service manager hands it over.
#[test]
fn the_helper_listens_at_the_socket_that_is_its_standard_input() {
    let Some(lab) = Lab::new(Kind::IptablesLegacy) else { return };
    let place = Place::new();
    let start = |stdin: Stdio| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", lab.host.pid()));
        command.args([EXITPOOL, "firewall-helper", "--user", "root"]).stdin(stdin).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let ended = start(Stdio::null()).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("no socket to listen at"), "{said}");

    let listener = UnixListener::bind(place.socket()).unwrap();
    let _helper = Running(start(OwnedFd::from(listener).into()));
    let stands = b"{\"firewall\":\"iptables-legacy\",\"verb\":\"stands\"}\n";
    assert_eq!(ask(&place.socket(), stands), "{\"stands\":false}\n");
}
