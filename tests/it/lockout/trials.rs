//! Changes of the guard on trial: kept, confirmed, or taken back, with the daemon alive and without it.

use std::fs;

use exitpool::daemon::socket::Report;
use rustix::process::Signal;

use super::host::{Host, condition, is};
use super::{document, follows, in_sync, ssh_is_open_to_the_friend_alone, ssh_only_for};
use crate::firewall::lab::{FRIEND, Guarded, HOST, Kind, STRANGER, connects, is_dropped};

/// Locks the stranger out, as is meant, on these terms.
pub fn insisting(terms: &str) -> String {
    document(&format!("{}\n  allow_lockout: true", ssh_only_for(FRIEND[0]))) + &format!("firewall: {{{terms}}}\n")
}

pub fn open(terms: &str) -> String {
    document("allow_lockout: false") + &format!("firewall: {{{terms}}}\n")
}

pub fn taken_back(report: &Report) -> bool {
    is(report, "Stalled", "True", "RolledBack")
}

/// Waits until SSH is closed to who is not on the list.
pub fn waits_until_closed(host: &Host) {
    host.waits_for("the change", || host.lab.everything().to_ascii_lowercase().contains("ssh-deny"));
}

/// Waits until SSH is as it was before.
pub fn waits_until_open(host: &Host) {
    host.waits_for("the guard before the change", || !host.lab.everything().to_ascii_lowercase().contains("ssh-deny"));
    host.lab.client.block_on(async || connects(STRANGER[0], HOST[0], 22).await);
}

fn a_lockout_is_taken_back(kind: Kind, driver: &str) {
    let terms = format!("driver: {driver}, confirm_within: 2s");
    let Some(mut host) = Host::start(kind, &open(&terms)) else { return };
    let before = host.lab.everything();
    let mut session = host.logs_in(STRANGER[0]);
    host.wish(&insisting(&terms));
    waits_until_closed(&host);
    host.lab.client.block_on(async || is_dropped(STRANGER[0], HOST[0], 22).await);

    let report = host.sees("the change taken back", taken_back);
    assert_eq!(host.lab.everything(), before);
    host.lab.client.block_on(async || connects(STRANGER[0], HOST[0], 22).await);
    session.answers();
    let told = "the change of the firewall was taken back, because 10.200.1.12 could not come back by SSH: a newer revision \
                is waited for";
    assert_eq!(condition(&report, "Stalled").2, told);
    assert_eq!(host.metric("exitpool_rollback_total{cause=\"probe_failed\"}"), 1.0);
    assert!(host.log().contains("cause=10.200.1.12 could not come back by SSH result=\"done\""), "{}", host.log());

    // It is not tried again, by the next daemon neither, and what stands is repaired.
    host.end_daemon(Signal::TERM);
    host.start_daemon();
    host.sees("the revision, still held", taken_back);
    host.lab.tamper(match kind {
        Kind::Nftables => "nft delete table inet exitpool",
        _ => "ipt -F EXITPOOL",
    });
    host.waits_for("the guard that stood", || host.lab.everything() == before);

    // A newer revision is.
    session.logs_out();
    follows(&mut host, &(insisting(&terms) + "# once more\n"));
    ssh_is_open_to_the_friend_alone(&host);
}

#[test]
fn a_lockout_is_taken_back_with_nftables() {
    a_lockout_is_taken_back(Kind::Nftables, "nftables");
}

#[test]
fn a_lockout_is_taken_back_with_iptables() {
    a_lockout_is_taken_back(Kind::IptablesNft, "iptables");
}

#[test]
fn a_lockout_is_taken_back_when_the_daemon_was_killed() {
    const TERMS: &str = "confirm_within: 3s";
    let Some(mut host) = Host::start(Kind::Nftables, &open(TERMS)) else { return };
    let before = host.lab.everything();
    let session = host.logs_in(STRANGER[0]);
    host.wish(&insisting(TERMS));
    waits_until_closed(&host);
    host.end_daemon(Signal::KILL);
    waits_until_open(&host);
    assert_eq!(host.lab.everything(), before);
    session.logs_out();

    // The next daemon knows what became of it.
    host.start_daemon();
    let report = host.sees("the change, held", taken_back);
    assert!(condition(&report, "Stalled").2.contains("nobody said in time that it works"));
    assert_eq!(host.lab.everything(), before);
    assert_eq!(fs::read_dir(host.at("run/trial")).unwrap().count(), 1, "its lock alone is left");
}

#[test]
fn where_both_have_died_the_next_daemon_takes_it_back() {
    const TERMS: &str = "confirm: manual, confirm_within: 1h";
    let Some(mut host) = Host::start(Kind::Nftables, &open("confirm_within: 1h")) else { return };
    let before = host.lab.everything();
    host.wish(&insisting(TERMS));
    waits_until_closed(&host);
    let fuse = host.fuse();
    host.end_daemon(Signal::KILL);
    rustix::process::kill_process(fuse, Signal::KILL).unwrap();
    host.waits_for("the end of the fuse", || rustix::process::test_kill_process(fuse).is_err());
    waits_until_closed(&host);
    host.start_daemon();
    host.sees("the change taken back", taken_back);
    assert_eq!(host.lab.everything(), before);
}

#[test]
fn an_operator_keeps_a_change_or_it_is_taken_back() {
    const KEPT: &str = "confirm: manual, confirm_within: 1h";
    let Some(mut host) = Host::start(Kind::Nftables, &open("confirm_within: 1h")) else { return };
    assert!(host.verb("confirm", &[]).contains("nothing waits for confirmation"));

    // A restart changes nothing about the trial.
    host.wish(&insisting(KEPT));
    let waits = |report: &Report| is(report, "Stalled", "True", "ConfirmationNeeded");
    host.sees("a change on trial", waits);
    host.end_daemon(Signal::KILL);
    host.start_daemon();
    let report = host.sees("the same trial", waits);
    assert!(condition(&report, "Stalled").2.contains("`exitpool confirm` keeps it"), "{report:?}");
    assert!(is(&report, "FirewallInSync", "Unknown", "Progressing"));
    let told = host.verb("confirm", &[]);
    assert!(told.contains("the change of the firewall is kept"), "{told}");
    host.sees("the change, kept", |report| in_sync(report) && report.left.is_empty());
    ssh_is_open_to_the_friend_alone(&host);
    assert!(host.verb("confirm", &[]).contains("nothing waits for confirmation"));

    // Nobody says a word about the next one.
    host.wish(&open("confirm: manual, confirm_within: 2s"));
    let report = host.sees("the change taken back", taken_back);
    assert!(condition(&report, "Stalled").2.contains("nobody confirmed it within firewall.confirm_within"));
    ssh_is_open_to_the_friend_alone(&host);
    assert_eq!(host.metric("exitpool_rollback_total{cause=\"unconfirmed\"}"), 1.0);
}
