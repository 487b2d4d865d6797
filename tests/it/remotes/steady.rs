//! What the loop of the real daemon survives: a pass that hangs, documents that ask for nothing, a prune that fails
//! half-way, a revision that never gets ready.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use super::host::{Host, PATIENCE, condition, document, pids};
use crate::git_kit::run;

/// Follows the repository on this host itself.
async fn following() -> Option<(Host, String)> {
    let mut host = Host::new()?;
    let served = host.kit.at("served/pool.git").display().to_string();
    host.start(&served);
    let first = host.kit.head();
    host.in_force(&first, 1).await;
    Some((host, served))
}

/// What a service manager hears.
struct Manager(UnixDatagram);

impl Manager {
    fn hears(&self, word: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.next(PATIENCE).is_some_and(|said| said.lines().any(|line| line == word)) {
            assert!(Instant::now() < end, "{word} was never said");
        }
    }

    fn next(&self, within: Duration) -> Option<String> {
        let end = Instant::now() + within;
        let mut bytes = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.0.set_read_timeout(Some(left)).unwrap();
            match self.0.recv(&mut bytes) {
                Ok(length) => return Some(String::from_utf8_lossy(&bytes[..length]).into_owned()),
                // A child of another test ended: a call with a timeout is not taken up again by itself.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return None;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_the_watchdog_is_fed_by_passes_that_have_ended_and_by_nothing_else() {
    /// Several times the pause between two passes that a watchdog of two seconds makes.
    const SILENCE: Duration = Duration::from_secs(4);
    let Some(mut host) = Host::new() else { return };
    let socket = host.kit.at("notify");
    let manager = Manager(UnixDatagram::bind(&socket).unwrap());
    host.environment = vec![("NOTIFY_SOCKET", socket.display().to_string()), ("WATCHDOG_USEC", "2000000".to_owned())];
    let programs = host.kit.at("programs");
    let path = format!("{}:{}:/usr/sbin", programs.display(), std::env::var("PATH").unwrap());
    host.environment.push(("PATH", path));
    host.start(&host.kit.at("served/pool.git").display().to_string());

    let first = manager.next(PATIENCE).unwrap();
    assert!(first.lines().any(|line| line == "READY=1"), "{first}");
    // Nothing happens, and it is fed all the same.
    let first = host.kit.head();
    let before = pids(&host.in_force(&first, 1).await);
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }

    // A tor that does not answer while it stands there: the pass that asks it cannot end.
    let (gate, asked) = (programs.join("tor"), host.kit.at("asked"));
    let script = format!("#!/bin/sh\n: >{}\nwhile [ -e \"$0\" ]; do sleep 0.1; done\n", asked.display());
    fs::create_dir(&programs).unwrap();
    fs::write(&gate, script).unwrap();
    fs::set_permissions(&gate, fs::Permissions::from_mode(0o755)).unwrap();
    host.push(2, Some("ada"));
    let end = Instant::now() + PATIENCE;
    while !asked.exists() {
        assert!(Instant::now() < end, "tor is not asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while manager.next(Duration::from_millis(1)).is_some() {}
    assert_eq!(manager.next(SILENCE), None, "it was fed while a pass hung");
    // The rest of the process lives, and says so.
    assert!(host.metric("exitpool_unfinished_work_seconds") >= 3.0);

    fs::remove_file(&gate).unwrap();
    manager.hears("WATCHDOG=1");
    let report = host.sees("the node that was in its way", |report| pids(report).len() == 2).await;
    assert!(pids(&report).starts_with(&before));
    host.stop();
    manager.hears("STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_documents_that_ask_for_nothing_are_refused_unless_they_say_so() {
    let Some((mut host, _)) = following().await else { return };
    let first = host.kit.head();
    let before = pids(&host.in_force(&first, 1).await);
    for (content, words) in [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("version: 1\n", "allow_empty"),
        ("version: 1\npools: []\n", "allow_empty"),
        (&*document(0), "allow_empty"),
    ] {
        let commit = host.kit.commit(content, Some("ada"));
        host.push_head();
        let report = host.condition("Stalled", "True", words).await;
        assert_eq!((pids(&report), &report.status["revision"]), (before.clone(), &format!("main@sha1:{first}").into()));
        assert_eq!(condition(&report, "SourceVerified").0, "True", "{commit} is signed");
    }
    let meant = host.kit.commit("version: 1\nfirewall: {driver: none}\nallow_empty: true\n", Some("ada"));
    host.push_head();
    host.in_force(&meant, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_a_prune_that_fails_half_way_is_tried_until_it_is_done() {
    let Some(mut host) = Host::new() else { return };
    // In a mount namespace of its own, so that nobody else is in the way of what the test puts in the way.
    host.mounts = Some(":".to_owned());
    host.start(&host.kit.at("served/pool.git").display().to_string());
    let both = host.push(2, Some("ada"));
    let before = pids(&host.in_force(&both, 2).await);
    let instance = host.runtime_dir().join("instances/us-1");
    let inside = |host: &Host, script: &str| {
        let mount = format!("--mount=/proc/{}/ns/mnt", host.pid());
        run(Command::new("nsenter").args([&mount, "sh", "-ec", script, "sh"]).arg(&instance), b"");
    };

    // What is mounted on cannot be removed.
    inside(&host, "mkdir $1/busy; mount -t tmpfs tmpfs $1/busy");
    let one = host.push(1, Some("ada"));
    let failed = |report: &exitpool::daemon::socket::Report| report.failures.iter().any(|line| line.contains("us-1"));
    let report = host.sees("a failed prune", failed).await;
    assert_eq!(report.status["revision"], format!("main@sha1:{one}"));
    assert_eq!(condition(&report, "Ready").0, "False", "it is not forgotten");
    assert!(pids(&report).starts_with(&before[..1]), "the node that stays is as it was");

    // Nobody asks for another attempt.
    inside(&host, "umount $1/busy");
    host.sees("nothing left of it", |report| report.failures.is_empty() && pids(report) == before[..1]).await;
    assert!(!instance.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_a_new_revision_does_not_wait_for_one_that_never_gets_ready() {
    let Some((mut host, _)) = following().await else { return };
    // Without a network no node gets ready, so every revision here waits for ever.
    let second = host.push(2, Some("ada"));
    let report = host.in_force(&second, 2).await;
    assert_eq!(condition(&report, "Reconciling").0, "True");
    let third = host.push(3, Some("ada"));
    host.in_force(&third, 3).await;
    let back = host.push(1, Some("ada"));
    host.in_force(&back, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f26_nothing_is_removed_or_started_twice_before_the_host_was_seen() {
    let Some((mut host, served)) = following().await else { return };
    let both = host.push(2, Some("ada"));
    let before = pids(&host.in_force(&both, 2).await);
    host.stop();
    let one = host.push(1, Some("ada"));

    // A daemon that starts where no process can be seen.
    host.mounts = Some("mount -t tmpfs tmpfs /proc".to_owned());
    host.start(&served);
    let report = host.condition("Healthy", "Unknown", "cannot be seen").await;
    assert_eq!(report.status["revision"], format!("main@sha1:{one}"));
    host.verb("reconcile", &[]);
    assert_eq!(tors_in(&host), before.iter().copied().collect(), "neither was ended, and none came");
    host.stop();

    host.mounts = None;
    host.start(&served);
    host.in_force(&one, 1).await;
    assert_eq!(tors_in(&host), before[..1].iter().copied().collect());
}

/// The tors that run for a host, by process id.
fn tors_in(host: &Host) -> BTreeSet<u64> {
    let directory = host.runtime_dir().display().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let of = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let program = line.split('\0').next()?;
        (program.ends_with("tor") && line.contains(&directory)).then_some(pid)
    };
    entries.filter_map(of).collect()
}
