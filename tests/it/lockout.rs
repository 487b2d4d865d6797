//! Nobody who is inside is locked out unseen: SSH and the page under a guard that changes, with a real sshd.

pub mod host;
mod rivals;
mod started;
mod trials;
mod undone;

use std::fs;

use exitpool::daemon::socket::Report;
use rustix::process::Signal;

use crate::firewall::lab::{FRIEND, HOST, Kind, STRANGER, connects, is_dropped};
use host::{Host, condition, is, said};

/// A desired state without nodes, with more in `access`; its fifth line is `access.ssh` where that is the first word.
fn document(access: &str) -> String {
    format!(
        "version: 1\nallow_empty: true\npools: []\naccess:\n  {access}\n  panel: ['{}', '{}']\n  socks: ['203.0.113.0/24']\n",
        FRIEND[0], STRANGER[0]
    )
}

fn ssh_only_for(address: &str) -> String {
    format!("ssh: {{allow: ['{address}']}}")
}

fn is_held(report: &Report) -> bool {
    is(report, "Stalled", "True", "LockoutRefused")
}

fn in_sync(report: &Report) -> bool {
    report.converged && is(report, "FirewallInSync", "True", "InSync")
}

fn revision(report: &Report) -> String {
    report.status["revision"].as_str().unwrap_or_default().to_owned()
}

/// Sees that the host follows another desired state to its end.
#[track_caller]
fn follows(host: &mut Host, document: &str) {
    let before = revision(&host.sees("a revision", |report| !revision(report).is_empty()));
    host.wish(document);
    let is_followed = |report: &Report| revision(report) != before && in_sync(report) && report.left.is_empty();
    host.sees("the host as the new desired state says", is_followed);
}

/// Sees that SSH answers one address, and drops the other's new connections.
fn ssh_is_open_to_the_friend_alone(host: &Host) {
    host.lab.client.block_on(async || {
        connects(FRIEND[0], HOST[0], 22).await;
        is_dropped(STRANGER[0], HOST[0], 22).await;
    });
}

#[test]
fn a_session_is_not_locked_out_by_nftables() {
    let Some(mut host) = Host::start(Kind::Nftables, &document("allow_lockout: false")) else { return };
    let mut session = host.logs_in(STRANGER[0]);
    let locking_out = document(&ssh_only_for(FRIEND[0])).replace("203.0.113.0/24", "203.0.114.0/24");

    // Before the commit: `plan` says it.
    fs::write(host.at("candidate.yaml"), &locking_out).unwrap();
    let candidate = host.at("candidate.yaml").display().to_string();
    let told = host.verb("plan", &["--source", &candidate]);
    let sentence = "held     ~ firewall guard will be updated in place: SSH ports: none → 22; SSH whitelist: \
                    +10.200.1.10/32 when it locks nobody out: ";
    assert!(told.contains(sentence), "{told}");
    let advice = format!(
        "{} uses SSH (port 22) and would be locked out: `access.ssh.allow` (line 5 of the file) does not have it; add it \
         there, or say `access.allow_lockout: true` if that is meant",
        STRANGER[0]
    );
    assert!(told.contains(&advice), "{told}");

    // After it: that part is held, and the rest of the same change is not.
    host.wish(&locking_out);
    let report = host.sees("a held change", is_held);
    assert_eq!(condition(&report, "Stalled").2, advice);
    assert!(
        is(&report, "FirewallInSync", "False", "LockoutRefused") && is(&report, "Ready", "False", "LockoutRefused")
    );
    assert!(host.lab.everything().contains("203.0.114.0/24"), "{}", host.lab.everything());
    assert_eq!(host.metric("exitpool_held_steps{reason=\"lockout\"}"), 1.0);
    assert_eq!(report.status["held"][0]["reason"], "lockout");
    host.lab.client.block_on(async || connects(STRANGER[0], HOST[0], 22).await);

    // That they leave changes nothing, also for the next daemon: they would not come in again.
    session.answers();
    session.logs_out();
    host.end_daemon(Signal::TERM);
    host.start_daemon();
    let report = host.sees("the change, still held", |report| report.applied.is_empty() && is_held(report));
    assert!(report.left.iter().any(|line| line.contains("access.allow_lockout")), "{:?}", report.left);

    // A repair of what stands is none of its business.
    host.lab.host.sh("nft delete table inet exitpool");
    host.waits_for("the guard that stood", || host.lab.everything().contains("40000"));
    host.lab.client.block_on(async || connects(STRANGER[0], HOST[0], 22).await);

    // Insisted on.
    follows(&mut host, &document(&format!("{}\n  allow_lockout: true", ssh_only_for(FRIEND[0]))));
    ssh_is_open_to_the_friend_alone(&host);
    // Who is let in works under the guard.
    host.logs_in(FRIEND[0]).logs_out();
}

#[test]
fn a_session_is_not_locked_out_by_iptables() {
    let with_driver = |access: &str| document(access) + "firewall: {driver: iptables}\n";
    let Some(mut host) = Host::start(Kind::IptablesNft, &with_driver("allow_lockout: false")) else { return };
    let session = host.logs_in(STRANGER[0]);
    host.wish(&with_driver(&ssh_only_for(FRIEND[0])));
    host.sees("a held change", is_held);
    host.lab.client.block_on(async || connects(STRANGER[0], HOST[0], 22).await);
    session.logs_out();
    follows(&mut host, &with_driver(&format!("{}\n  allow_lockout: true", ssh_only_for(FRIEND[0]))));
    ssh_is_open_to_the_friend_alone(&host);
}

#[test]
fn somebody_who_has_not_logged_in_is_no_session() {
    let Some(mut host) = Host::start(Kind::Nftables, &document("allow_lockout: false")) else { return };
    let client = &host.lab.client;
    let knocking = client.run(|| std::net::TcpStream::connect((HOST[0], 22)).unwrap());
    let from = knocking.local_addr().unwrap().ip().to_string();
    host.waits_for("sshd at the other end", || {
        host.lab.host.sh("cat /proc/net/tcp").lines().any(|it| it.contains(" 01 "))
    });
    assert_ne!(from, STRANGER[0]);
    follows(&mut host, &document(&ssh_only_for(STRANGER[0])));
    host.lab.client.block_on(async || is_dropped(FRIEND[0], HOST[0], 22).await);
}

#[test]
fn the_operator_who_runs_the_command_is_not_locked_out() {
    let Some(mut host) = Host::start(Kind::Nftables, &document("allow_lockout: false")) else { return };
    let before = revision(&host.sees("the host as desired", in_sync));
    fs::write(host.at("candidate.yaml"), document(&ssh_only_for(FRIEND[0]))).unwrap();
    let candidate = host.at("candidate.yaml").display().to_string();
    let connection = format!("{} 50000 {} 22", STRANGER[0], HOST[0]);
    let client = format!("{} 50000 22", STRANGER[0]);
    for (name, value) in [("SSH_CONNECTION", &connection), ("SSH_CLIENT", &client)] {
        let told = said(&host.verb_with("plan", &["--source", &candidate], &[(name, value)]));
        assert!(told.contains("10.200.1.12 uses SSH (port 22) and would be locked out"), "{name}: {told}");
    }
    let told = host.verb("plan", &["--source", &candidate]);
    assert!(!told.contains("held") && told.contains("SSH whitelist: +10.200.1.10/32"), "{told}");

    // The daemon knows from where it was asked.
    host.verb_with("reconcile", &[], &[("SSH_CONNECTION", &connection)]);
    host.wish(&document(&ssh_only_for(FRIEND[0])));
    let report = host.sees("a held change", |report| is_held(report) && revision(report) != before);
    assert!(condition(&report, "Stalled").2.starts_with("10.200.1.12 uses SSH"), "{:?}", condition(&report, "Stalled"));
}

#[test]
fn the_page_does_not_lock_out_all_of_its_clients() {
    let Some(mut host) = Host::start(Kind::Nftables, &document("allow_lockout: false")) else { return };
    let read = |host: &Host, from: &str| {
        host.lab
            .client
            .sh(&format!("curl --silent --fail --max-time 10 --interface {from} http://{}:8080/healthz", HOST[0]))
    };
    let only = |address: &str| {
        document("allow_lockout: false")
            .replace(&format!("['{}', '{}']", FRIEND[0], STRANGER[0]), &format!("['{address}']"))
    };
    read(&host, STRANGER[0]);

    // On paper as on the host.
    fs::write(host.at("snapshot.json"), host.verb_with("snapshot", &[], &[]).stdout).unwrap();
    fs::write(host.at("candidate.yaml"), only(FRIEND[0])).unwrap();
    let (candidate, snapshot) = (host.at("candidate.yaml"), host.at("snapshot.json"));
    let (candidate, snapshot) = (candidate.display().to_string(), snapshot.display().to_string());
    for arguments in [&["--source", &candidate][..], &["--source", &candidate, "--observed", &snapshot]] {
        let told = host.verb("plan", arguments);
        assert!(told.contains("10.200.1.12 has used the page within the last hour and would be locked out"), "{told}");
        assert!(told.contains("`access.panel` (line 6 of the file)"), "{told}");
    }

    host.wish(&only(FRIEND[0]));
    let report = host.sees("a held change", is_held);
    assert!(condition(&report, "Stalled").2.contains("has used the page"), "{:?}", condition(&report, "Stalled"));
    assert!(host.lab.everything().contains(STRANGER[0]));
    assert!(page(&host, STRANGER[0]).contains("You are about to be locked out."), "who is spared reads why");
    // With the friend on the list there is somebody left who can mend it.
    follows(&mut host, &document("allow_lockout: false"));
    read(&host, FRIEND[0]);
    follows(&mut host, &only(FRIEND[0]));
    assert!(!host.lab.everything().contains(STRANGER[0]), "{}", host.lab.everything());

    // What waits for an operator is looked at before it is in force.
    let waits = |document: String| document.replace("version: 1\n", "version: 1\nreconcile: {new_commits: manual}\n");
    follows(&mut host, &waits(only(FRIEND[0])));
    assert!(!page(&host, FRIEND[0]).contains("lock you out"));
    host.wish(&waits(only(STRANGER[0])));
    host.sees("a revision that waits", |report| report.status["offered"].is_object());
    let warned = page(&host, FRIEND[0]);
    assert!(
        warned.contains("A coming commit would lock you out.") && warned.contains(&format!("address, {}:", FRIEND[0]))
    );
}

/// The page as it is read from an address.
fn page(host: &Host, from: &str) -> String {
    host.lab.client.sh(&format!("curl --silent --fail --max-time 10 --interface {from} http://{}:8080/", HOST[0]))
}

/// The console: the very block of the runbook, where `systemctl` stops the daemon of this test.
#[test]
fn the_way_back_in_from_the_console() {
    let Some(mut host) = Host::start(Kind::Nftables, &document("allow_lockout: false")) else { return };
    follows(&mut host, &document(&ssh_only_for(FRIEND[0])));
    ssh_is_open_to_the_friend_alone(&host);

    let runbook = include_str!("../../docs/runbook.md");
    let section = runbook.split("## The way back in from the console").nth(1).unwrap();
    let script = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(script.contains("systemctl stop exitpool") && script.contains("nft delete table"), "{script}");
    let pid = host.daemon_pid();
    let ended = format!("while readlink /proc/{pid}/exe; do sleep 0.05; done >/dev/null");
    let systemctl = format!("systemctl() {{ [ \"$*\" = 'stop exitpool' ] && kill {pid} && {ended}; }}");
    host.lab.host.sh(&format!("{systemctl}\n{script}"));
    host.logs_in(STRANGER[0]).logs_out();
    host.end_daemon(Signal::TERM);
    assert!(!host.lab.everything().contains("exitpool"), "{}", host.lab.everything());
}

/// SSH at a port of the default range of control ports: it would be closed to everybody.
#[test]
fn control_ports_do_not_close_ssh() {
    let wide = |ports: &str| document("allow_lockout: false") + &format!("firewall: {{control_ports: {ports}}}\n");
    let Some(mut host) = Host::start(Kind::Nftables, &wide("40000-40099")) else { return };
    let mut session = host.logs_in(STRANGER[0]);
    host.wish(&wide("20-29"));
    let report = host.sees("a held change", is_held);
    let advice = "10.200.1.12 uses SSH (port 22) and would be locked out: `firewall.control_ports` (line 8 of the file) \
                  closes that port to everybody; choose others";
    assert!(condition(&report, "Stalled").2.starts_with(advice), "{:?}", condition(&report, "Stalled"));
    session.answers();
}
