//! The host itself: rights, directories, ports, the clock.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{Access, access, statvfs};

use super::super::documents::CheckDocument;
use super::Facts;
use crate::firewall::model::{Guard, Ports};

/// CAP_NET_ADMIN's number (capabilities(7)).
const NET_ADMIN: u64 = 12;
/// What the state directory needs beside its nodes.
const LEAST_MIB: u64 = 64;
/// What a node's directory cache and its log come to.
const NODE_MIB: u64 = 32;
/// A clock that is further ahead of the program than this is not one that was set.
const LONGEST_SECONDS: i64 = 20 * 366 * 86_400;
const DAY_SECONDS: i64 = 86_400;

/// Whether this process may change the firewall.
pub fn rights() -> CheckDocument {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    rights_of(&status)
}

fn rights_of(status: &str) -> CheckDocument {
    const NAME: &str = "rights";
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or_default();
    if effective >> NET_ADMIN & 1 == 1 {
        return CheckDocument::ok(NAME, "this process may change the firewall");
    }
    let advice = "run this, and the daemon, as root or with CAP_NET_ADMIN, as the unit in systemd/ does";
    CheckDocument::failed(NAME, "this process has no CAP_NET_ADMIN: it may not change the firewall", advice)
}

pub fn checks(facts: &Facts<'_>) -> Vec<CheckDocument> {
    let host = facts.host;
    let now = Timestamp::now().as_second();
    vec![
        strangers(facts),
        local_ports(facts),
        directory("state directory", &host.state_dir),
        directory("runtime directory", &host.runtime_dir),
        space(&host.state_dir, facts.desired.size() as u64),
        clock(now, built().unwrap_or(now)),
    ]
}

/// Who listens where a node is to listen.
fn strangers(facts: &Facts<'_>) -> CheckDocument {
    const NAME: &str = "ports";
    let taken: Vec<String> = facts.look.observed.strangers.iter().map(|(at, who)| format!("{at} by {who}")).collect();
    if taken.is_empty() {
        return CheckDocument::ok(NAME, "no other program listens where a node is to");
    }
    let advice = "stop these programs, or move the pool's socks_port";
    CheckDocument::failed(NAME, &format!("taken: {}", taken.join(", ")), advice)
}

/// Whether the kernel gives ports of ours to outgoing connections.
fn local_ports(facts: &Facts<'_>) -> CheckDocument {
    const NAME: &str = "local ports";
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    match (read("ip_local_port_range"), read("ip_local_reserved_ports")) {
        (Ok(range), Ok(reserved)) => judge_local_ports(&Guard::of(facts.desired, None), &range, &reserved),
        _ => CheckDocument::skipped(NAME, "this host does not say which ports outgoing connections take"),
    }
}

fn judge_local_ports(guard: &Guard, range: &str, reserved: &str) -> CheckDocument {
    const NAME: &str = "local ports";
    let ends: Vec<u16> = range.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let &[first, last] = ends.as_slice() else {
        return CheckDocument::skipped(NAME, "ip_local_port_range is not two numbers");
    };
    let reserved_ports: Vec<Ports> = reserved.trim().split(',').filter_map(|text| Ports::parse(text, '-')).collect();
    let is_open = |port: &u16| (first..=last).contains(port) && !reserved_ports.iter().any(|it| it.contains(*port));
    let ours: Vec<Ports> = guard.socks_ports.iter().copied().chain(guard.control_ports).collect();
    let overlapping: Vec<String> =
        ours.iter().filter(|it| (it.first..=it.last).any(|port| is_open(&port))).map(ToString::to_string).collect();
    if overlapping.is_empty() {
        return CheckDocument::ok(NAME, "the kernel takes none of our ports for outgoing connections");
    }
    let before = reserved.trim().split(',').filter(|it| !it.is_empty()).map(str::to_owned);
    let all: BTreeSet<String> = before.chain(overlapping.iter().cloned()).collect();
    let all = all.into_iter().collect::<Vec<_>>().join(",");
    let message = format!("the kernel may take {} for outgoing connections", overlapping.join(", "));
    CheckDocument::warning(NAME, &message, &format!("say `net.ipv4.ip_local_reserved_ports = {all}` in /etc/sysctl.d"))
}

/// Whether a directory can be used, or made.
fn directory(name: &'static str, path: &Path) -> CheckDocument {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (path, shown) = (absolute.as_path(), path.display());
    let Some(there) = nearest(path) else {
        return CheckDocument::failed(
            name,
            &format!("{shown} is not there, and nothing above it is"),
            "name another one",
        );
    };
    if !there.is_dir() {
        return CheckDocument::failed(name, &format!("{} is no directory", there.display()), "move it away");
    }
    if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let message = format!("this user may not write to {}", there.display());
        return CheckDocument::failed(name, &message, "run this as the daemon's user, or give it the directory");
    }
    // A directory that is to be made has the mode that we give it.
    let mode = fs::metadata(there).map(|it| it.mode()).unwrap_or_default();
    if there == path && mode & 0o022 != 0 {
        let message = format!("others may write to {shown} (mode {:o})", mode & 0o7777);
        return CheckDocument::failed(name, &message, &format!("chmod 750 {shown}"));
    }
    let state = if there == path { "can be written" } else { "is not there yet, and can be made" };
    CheckDocument::ok(name, &format!("{shown} {state}"))
}

/// An absolute path itself, or what stands there of the way to it.
fn nearest(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

fn space(path: &Path, nodes: u64) -> CheckDocument {
    const NAME: &str = "disk space";
    let free =
        nearest(path).and_then(|path| statvfs(path).ok()).map(|it| it.f_bavail.saturating_mul(it.f_frsize) >> 20);
    match free {
        Some(free) => judge_space(path, free, nodes),
        None => CheckDocument::skipped(NAME, "this host does not say how much is free"),
    }
}

fn judge_space(path: &Path, free_mib: u64, nodes: u64) -> CheckDocument {
    const NAME: &str = "disk space";
    let wanted = LEAST_MIB + NODE_MIB * nodes;
    let message = format!("{free_mib} MiB are free at {}; {nodes} nodes take up to {wanted} MiB", path.display());
    let advice = "make room, or choose another --state-dir";
    match free_mib {
        free if free < LEAST_MIB => CheckDocument::failed(NAME, &message, advice),
        free if free < wanted => CheckDocument::warning(NAME, &message, advice),
        _ => CheckDocument::ok(NAME, &message),
    }
}

/// When this program was written to the disk, in seconds of the epoch.
fn built() -> Option<i64> {
    Some(fs::metadata(std::env::current_exe().ok()?).ok()?.mtime())
}

/// Tor and every signature live by the clock; whether it is right to the second, nobody here can know.
fn clock(now: i64, built: i64) -> CheckDocument {
    const NAME: &str = "clock";
    let shown = Timestamp::from_second(now).map(|it| it.to_string()).unwrap_or_default();
    if (built - DAY_SECONDS..built + LONGEST_SECONDS).contains(&now) {
        return CheckDocument::ok(NAME, &format!("it says {shown}"));
    }
    let message =
        format!("it says {shown}, which cannot be: tor reaches no relay, and signatures seem expired or not yet valid");
    CheckDocument::failed(NAME, &message, "set it, and let chrony or systemd-timesyncd keep it")
}

#[cfg(test)]
mod tests {
    use super::super::super::documents::Verdict;
    use super::*;

    #[test]
    fn rights_are_read_as_the_kernel_says_them() {
        assert_eq!(rights_of("Name:\tx\nCapEff:\t0000000000001000\n").verdict, Verdict::Ok);
        assert_eq!(rights_of("CapEff:\t0000000000000fff\n").verdict, Verdict::Failed);
        assert_eq!(rights_of("").verdict, Verdict::Failed);
    }

    #[test]
    fn ports_that_the_kernel_may_take_are_named_unless_they_are_reserved() {
        let guard = Guard {
            socks_ports: vec![Ports { first: 30_000, last: 30_009 }],
            control_ports: Some(Ports { first: 40_000, last: 40_099 }),
            ..Guard::default()
        };
        let judged = |range: &str, reserved: &str| judge_local_ports(&guard, range, reserved);
        let default = judged("32768\t60999\n", "\n");
        assert_eq!(default.verdict, Verdict::Warning);
        assert_eq!(default.message, "the kernel may take 40000-40099 for outgoing connections");
        assert!(default.advice.contains("ip_local_reserved_ports = 40000-40099`"), "{}", default.advice);
        let partly = judged("30005 60999", "40000-40050,8080");
        assert!(partly.message.contains("30000-30009, 40000-40099"), "{}", partly.message);
        assert!(partly.advice.contains("= 30000-30009,40000-40050,40000-40099,8080`"), "{}", partly.advice);
        assert_eq!(judged("32768 60999", "40000-40099").verdict, Verdict::Ok);
        assert_eq!(judged("50000 60999", "").verdict, Verdict::Ok);
    }

    #[test]
    fn a_clock_before_the_program_or_far_behind_it_is_wrong() {
        let built = 1_700_000_000;
        let verdicts =
            [built - 3600, built + 90_000_000, 0, built + 3_000_000_000].map(|now| clock(now, built).verdict);
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Ok, Verdict::Failed, Verdict::Failed]);
    }

    #[test]
    fn space_is_counted_for_every_node() {
        let verdicts = [63, 64, 383, 384].map(|free| judge_space(Path::new("/x"), free, 10).verdict);
        assert_eq!(verdicts, [Verdict::Failed, Verdict::Warning, Verdict::Warning, Verdict::Ok]);
    }
}
