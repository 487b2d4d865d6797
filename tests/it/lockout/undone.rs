//! What else a change on trial is taken back for, from what, and what is said where even that fails.

use std::fs;
use std::net::TcpListener;

use exitpool::daemon::socket::Report;

use super::host::{Host, condition};
use super::trials::{insisting, open, taken_back, waits_until_closed, waits_until_open};
use super::{document, in_sync};
use crate::firewall::lab::{FRIEND, Kind, Lab, STRANGER};
use crate::firewall::ufw;
use crate::git_kit::Kit;
use crate::remotes::servers::Server;

/// Where others keep answers from being told as such, control ports can close the way to the source.
#[test]
fn a_change_that_cuts_the_source_off_is_taken_back() {
    let Some(mut host) = Lab::new(Kind::Nftables).and_then(Host::prepare) else { return };
    host.lab.host.sh("nft add table inet raw
         for hook in prerouting output; do
            nft add chain inet raw $hook \"{ type filter hook $hook priority raw; }\"
            nft add rule inet raw $hook meta l4proto tcp notrack
         done");
    let listener = host.lab.client.run(|| TcpListener::bind((FRIEND[0], 0)).unwrap());
    let kit = Kit::new();
    let ports = |ports: &str| {
        document("allow_lockout: false") + &format!("firewall: {{confirm_within: 8s, control_ports: {ports}}}\n")
    };
    let first = kit.commit(&ports("40000-40001"), None);
    let server = Server::git(listener, kit.at("repo").parent().unwrap());
    host.source = Some(format!("git://{}:{}/repo", FRIEND[0], server.port()));
    host.within = Some(host.script("patience", "export EXITPOOL_FETCH_TIMEOUT=1s; exec \"$@\""));
    host.lab.host.sh("echo 41000 42000 >/proc/sys/net/ipv4/ip_local_port_range");
    host.comes_up("");
    let before = host.lab.everything();

    let second = kit.commit(&ports("40000-42000"), None);
    assert!(host.verb("reconcile", &[]).contains("40000"), "{}", host.log());
    let report = host.sees("the change taken back", taken_back);
    let message = condition(&report, "Stalled").2;
    let because = "the change of the firewall was taken back, because the source cannot be reached: ";
    assert!(message.starts_with(because), "{message}");
    assert_eq!(host.lab.everything(), before);
    assert_eq!(host.metric("exitpool_rollback_total{cause=\"probe_failed\"}"), 1.0);
    assert!(report.status["revision"].as_str().unwrap().contains(&second) && first != second);

    // The way is open again: what mends it comes in by it.
    kit.commit(&ports("40000-40002"), None);
    host.verb("reconcile", &[]);
    host.sees("the newer revision", |report| in_sync(report) && report.left.is_empty());
    drop(server);
}

#[test]
fn a_lockout_behind_ufw_is_taken_back() {
    let Some(ufw::Host { lab, directory }) = ufw::Host::new() else { return };
    let Some(mut host) = Host::prepare(lab) else { return };
    host.within = Some(directory.path().join("within"));
    let terms = "driver: ufw, confirm_within: 2s";
    host.comes_up(&open(terms));
    let before = host.lab.everything();
    let rules = || fs::read_to_string(directory.path().join("ufw/user.rules")).unwrap();
    let entries = rules();
    let panel = format!("comment={}", hex("exitpool:panel"));
    assert!(entries.contains(&panel) && before.contains("dport 8080"), "{entries}\n{before}");

    let mut session = host.logs_in(STRANGER[0]);
    host.wish(&insisting(terms));
    waits_until_closed(&host);
    let report = host.sees("the change taken back", taken_back);
    assert!(condition(&report, "Stalled").2.contains("10.200.1.12 could not come back by SSH"), "{report:?}");
    waits_until_open(&host);
    session.answers();
    assert_eq!(host.lab.everything(), before);
    assert_eq!(rules(), entries);
}

/// ufw writes comments in hexadecimal digits.
fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A tool that fails for a while is a fault that a real one does not have at will.
#[test]
fn what_cannot_be_taken_back_is_said_and_tried_again() {
    let Some(mut host) = Lab::new(Kind::Nftables).and_then(Host::prepare) else { return };
    let broken = host.at("broken").display().to_string();
    fs::create_dir(host.at("tools")).unwrap();
    let refuses = format!("[ -e {broken} ] && {{ echo 'Error: it is broken' >&2; exit 1; }}");
    host.script("tools/nft", &format!("{refuses}; exec /usr/sbin/nft \"$@\""));
    let tools = host.at("tools").display().to_string();
    host.within = Some(host.script("with-tools", &format!("PATH={tools}:$PATH; export PATH; exec \"$@\"")));
    let terms = "confirm_within: 2s";
    host.comes_up(&open(terms));
    let before = host.lab.everything();
    let session = host.logs_in(STRANGER[0]);
    host.wish(&insisting(terms));
    waits_until_closed(&host);
    fs::write(&broken, "").unwrap();

    let said =
        |report: &Report| condition(report, "Stalled").2.contains("; the guard before it could not be put back: ");
    let report = host.sees("that it could not be put back", |report| taken_back(report) && said(report));
    assert!(condition(&report, "Stalled").2.contains("it is broken"), "{report:?}");
    let (status, _, message) = condition(&report, "FirewallInSync");
    assert!(status != "True" && message.contains("it is broken"), "{report:?}");
    assert!(host.log().contains("the guard before the change could not be put back"), "{}", host.log());

    // The daemon goes on trying, by the pass that everybody's look begins.
    fs::remove_file(&broken).unwrap();
    host.verb("reconcile", &[]);
    host.waits_for("the guard before the change", || host.lab.everything() == before);
    waits_until_open(&host);
    session.logs_out();
}
