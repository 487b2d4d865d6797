//! The adapter for ufw, with the real one: it runs on a copy of its directory, in mounts of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exitpool::firewall::Firewall;
use exitpool::firewall::front::Fronted;
use exitpool::firewall::model::Guard;
use exitpool::firewall::nftables::Nftables;
use exitpool::firewall::ufw::Front;
use exitpool::observe::{Observation, ObservedGuard};

use super::lab::{FRIEND, Guarded, HOST, Kind, Lab, STRANGER, connect, connects, exact, guard, is_dropped};
use super::matrix;
use super::nftables;
use super::tamper::named_and_mended;
use crate::support::{is_installed, skip};

const SSH: u16 = 22;
const NODE: u16 = 30_000;
const CONTROL: u16 = 40_000;

/// A host on which ufw is in force, with an entry of the operator's for SSH.
pub struct Host {
    pub lab: Lab,
    /// What ufw takes for `/etc/ufw`, and what runs a program there.
    pub directory: tempfile::TempDir,
}

impl Host {
    pub fn new() -> Option<Self> {
        if let Some(missing) = ["ufw", "iptables", "unshare"].into_iter().find(|tool| !is_installed(tool)) {
            skip(&format!("{missing} is not installed"));
            return None;
        }
        let host = Self { lab: Lab::new(Kind::Nftables)?, directory: tempfile::tempdir().unwrap() };
        let copied = Command::new("cp").args(["-a", "/etc/ufw"]).arg(host.directory.path()).status();
        assert!(copied.unwrap().success());
        let within = format!(
            "#!/bin/sh\nexec unshare --mount --propagation private sh -ec '\
             mount --bind {} /etc/ufw; mount -t tmpfs tmpfs /run; exec \"$@\"' sh ",
            host.rules().display()
        );
        for (name, program) in [("within", ""), ("ufw.sh", "ufw ")] {
            let path = host.directory.path().join(name);
            fs::write(&path, format!("{within}{program}\"$@\"\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        host.ufw("--force enable");
        host.ufw("allow 22/tcp");
        Some(host)
    }

    fn rules(&self) -> PathBuf {
        self.directory.path().join("ufw")
    }

    pub fn ufw(&self, arguments: &str) -> String {
        self.lab.host.sh(&format!("{}/ufw.sh {arguments}", self.directory.path().display()))
    }
}

impl Guarded for Host {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    async fn driver(&self) -> Box<dyn Firewall> {
        let program = self.directory.path().join("ufw.sh");
        let front = Front::at(program.to_str().unwrap(), self.rules()).await.unwrap();
        Box::new(Fronted::new(Arc::new(Nftables::new()), front))
    }

    fn tamper(&self, script: &str) {
        self.lab.host.sh(&format!("PATH={}:$PATH; {script}", self.directory.path().display()));
    }

    fn reloads(&self) -> Vec<String> {
        vec!["ufw.sh reload".to_owned()]
    }
}

#[test]
fn ufw_lets_pass_whom_the_guard_lets_pass() {
    let Some(host) = Host::new() else { return };
    let before = host.ufw("status numbered");
    let _listeners = host.lab.listen(&[SSH, NODE]);
    host.lab.apply(&guard());
    host.lab.client.block_on(async || {
        connects(FRIEND[0], HOST[0], SSH).await;
        is_dropped(FRIEND[0], HOST[0], NODE).await;
    });
    host.apply(&guard());
    host.lab.client.block_on(async || connects(FRIEND[0], HOST[0], NODE).await);
    host.remove();
    assert_eq!(host.ufw("status numbered"), before);
    assert_eq!(host.observe(&guard()), Observation::Absent);
}

/// ufw forwards to a container where it is told to, as what publishes its ports does.
#[test]
fn a_reload_opens_and_closes_nothing() {
    let Some(host) = Host::new() else { return };
    host.ufw("route allow proto tcp to any port 9000");
    matrix::holds_through_reloads(&host);
}

#[test]
fn nmap_agrees() {
    let Some(host) = Host::new() else { return };
    matrix::is_what_nmap_sees(&host);
}

#[test]
fn what_is_done_to_the_guard_behind_it_is_named_and_mended() {
    let Some(host) = Host::new() else { return };
    named_and_mended(&host, nftables::TAMPERINGS);
}

/// What others do to their own is no difference, and neither is a counter that is set back.
#[test]
fn what_is_not_ours_is_neither_seen_nor_touched() {
    let Some(host) = Host::new() else { return };
    host.apply(&guard());
    host.ufw("allow 5555/tcp");
    host.ufw("deny proto tcp from 10.9.0.0/16 to any port 30000");
    host.tamper(
        "within iptables -Z; within iptables -A ufw-user-forward -p tcp --dport 7 -j DROP; nft reset counters
         within iptables -N others; nft add table inet others; nft add chain inet others c",
    );
    assert_eq!(host.observe(&guard()), exact(&guard()));
    let before = host.lab.everything();
    host.apply(&guard());
    assert_eq!(host.lab.everything(), before, "what is right is not touched");
    host.remove();
    let status = host.ufw("status");
    assert!(status.contains("5555/tcp") && status.contains("10.9.0.0/16") && !status.contains("exitpool"), "{status}");
}

/// While ufw reloads, it lets everything pass for most of a second.
#[test]
fn nothing_gets_in_while_ufw_reloads() {
    let Some(host) = Host::new() else { return };
    host.apply(&guard());
    let listeners = host.lab.listen(&[NODE, CONTROL]);
    let done = AtomicBool::new(false);
    let attempts = std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            host.lab.client.block_on(async || {
                let mut attempts = 0_u32;
                while !done.load(Ordering::Relaxed) {
                    for port in [NODE, CONTROL] {
                        let attempt = connect(STRANGER[0], 0, HOST[0], port);
                        let _ = tokio::time::timeout(Duration::from_millis(1), attempt).await;
                        attempts += 1;
                    }
                }
                attempts
            })
        });
        host.ufw("reload");
        host.ufw("reload");
        done.store(true, Ordering::Relaxed);
        stranger.join().unwrap()
    });
    assert!(attempts > 0);
    for listener in listeners {
        listener.set_nonblocking(true).unwrap();
        // A connection that came about and was given up by the stranger would wait here all the same.
        let waiting = listener.accept();
        assert!(waiting.is_err(), "{waiting:?} came in, of {attempts} attempts");
    }
}

#[test]
fn what_is_done_to_our_entries_is_named_and_mended() {
    let Some(host) = Host::new() else { return };
    host.apply(&guard());
    let tamperings = [
        (
            "ufw.sh delete allow proto tcp to any port 30000:30004",
            "ufw: allow 30000:30004/tcp (exitpool:socks) is missing",
        ),
        (
            "within iptables -F ufw-user-input",
            "ufw: allow 8080/tcp (exitpool:panel) is listed, but not in force in the kernel",
        ),
        (
            "within ip6tables -D ufw6-user-input -p tcp -m tcp --dport 30099 -j ACCEPT",
            "ufw: allow 30099/tcp (exitpool:socks) is listed, but not in force in the kernel",
        ),
        (
            "ufw.sh allow proto tcp to any port 31000 comment exitpool:socks",
            "ufw: allow 31000/tcp (exitpool:socks) should not be there",
        ),
        ("within nft flush chain inet exitpool panel", "chain panel: rule 1 \"ip saddr @panel4 return\" is missing"),
    ];
    for (script, said) in tamperings {
        host.tamper(script);
        let Observation::Present(ObservedGuard::Altered(differences)) = host.observe(&guard()) else {
            panic!("{script}: {:?}", host.observe(&guard()));
        };
        assert!(differences.iter().any(|it| it == said), "{script}: {differences:#?}");
        host.apply(&guard());
    }
    assert!(host.ufw("status").contains("22/tcp"));
}

#[test]
fn an_entry_of_the_operators_is_neither_marked_nor_removed() {
    let Some(host) = Host::new() else { return };
    host.ufw("allow 8080/tcp comment mine");
    host.apply(&guard());
    assert!(host.ufw("status").contains("# mine"));
    let narrower = Guard { panel_port: None, socks_ports: guard().socks_ports[1..].to_vec(), ..guard() };
    host.apply(&narrower);
    let status = host.ufw("status");
    assert!(!status.contains("30000:30004") && status.contains("30099/tcp"), "{status}");
    host.remove();
    let status = host.ufw("status");
    assert!(status.contains("# mine") && !status.contains("exitpool"), "{status}");
}

/// Whether ufw is in force or not: `down` finds the guard and the entries, and leaves the operator's.
#[test]
fn down_takes_the_entries_out() {
    let Some(host) = Host::new() else { return };
    for state in ["--force enable", "disable"] {
        host.apply(&guard());
        host.ufw(state);
        let nowhere = tempfile::tempdir().unwrap();
        host.lab.host.sh(&format!(
            "{0}/within {1} down --state-dir {2} --runtime-dir {2}",
            host.directory.path().display(),
            env!("CARGO_BIN_EXE_exitpool"),
            nowhere.path().display()
        ));
        let rules = fs::read_to_string(host.rules().join("user.rules")).unwrap();
        assert!(rules.contains("allow tcp 22 ") && !rules.contains("allow tcp 30099 "), "{state}: {rules}");
        assert_eq!(host.lab.observe(&guard()), Observation::Absent, "{state}");
    }
}
