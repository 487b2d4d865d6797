//! Who starts the process that takes a change back: the service manager where one runs, and the daemon elsewhere.
//!
//! No systemd runs here: a stand-in for `systemd-run` writes down what it is told, and does it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::Signal;

use super::host::{Host, condition};
use super::trials::{insisting, open, taken_back, waits_until_closed, waits_until_open};
use crate::firewall::lab::{Kind, Lab, STRANGER};

const TERMS: &str = "confirm_within: 3s";
const PATIENCE: Duration = Duration::from_secs(60);

/// A host that looks as if systemd had booted it, with a script as its `systemd-run`.
fn host_of_systemd(stand_in: impl FnOnce(&Host) -> String) -> Option<Host> {
    let mut host = Lab::new(Kind::Nftables).and_then(Host::prepare)?;
    fs::create_dir(host.at("tools")).unwrap();
    let text = stand_in(&host);
    host.script("tools/systemd-run", &text);
    let tools = host.at("tools").display().to_string();
    let booted = format!(
        "PATH={tools}:$PATH; export PATH
         exec unshare --mount --propagation private sh -ec '
         mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system; exec \"$@\"' sh \"$@\""
    );
    host.within = Some(host.script("booted", &booted));
    Some(host)
}

#[test]
fn the_service_manager_starts_what_takes_a_change_back() {
    let stand_in = |host: &Host| {
        let at = |name: &str| host.at(name).display().to_string();
        format!(
            "rm -f {2}
             for told in \"$@\"; do echo \"$told\"; done >{0}
             while [ \"$1\" != -- ]; do shift; done; shift
             NOTIFY_SOCKET={1} setsid \"$@\" </dev/null >/dev/null 2>&1 &
             while [ ! -e {2} ]; do kill -0 $! || exit 1; sleep 0.02; done",
            at("told"),
            at("notify"),
            at("ready")
        )
    };
    let Some(mut host) = host_of_systemd(stand_in) else { return };
    let manager = Manager::of(&host);
    // The first guard is on trial as well.
    host.comes_up(&open(TERMS));
    assert_eq!(manager.hears(), b"READY=1");
    manager.waits.store(true, Ordering::SeqCst);
    let before = host.lab.everything();
    let session = host.logs_in(STRANGER[0]);
    host.wish(&insisting(TERMS));

    // It has started once it has said so, and before that nothing is changed.
    assert_eq!(manager.hears(), b"READY=1");
    assert_eq!(host.lab.everything(), before);
    manager.waits.store(false, Ordering::SeqCst);
    waits_until_closed(&host);
    assert_eq!(told(&host), expected(&host));

    // It is nobody's child here, and does not need the daemon.
    host.end_daemon(Signal::KILL);
    waits_until_open(&host);
    assert_eq!(host.lab.everything(), before);
    session.logs_out();
    host.start_daemon();
    host.sees("the change, held", taken_back);
}

/// Hears what a unit says, and lets what has started it go on.
struct Manager {
    heard: Receiver<Vec<u8>>,
    /// Whether it takes its time.
    waits: Arc<AtomicBool>,
}

impl Manager {
    fn of(host: &Host) -> Self {
        let socket = UnixDatagram::bind(host.at("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (tell, heard) = channel();
        let waits = Arc::new(AtomicBool::new(false));
        let (is_waiting, ready) = (Arc::clone(&waits), host.at("ready"));
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            loop {
                match socket.recv(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Ok(length) if tell.send(buffer[..length].to_vec()).is_ok() => {}
                    _ => return,
                }
                while is_waiting.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                let _ = fs::write(&ready, "");
            }
        });
        Self { heard, waits }
    }

    fn hears(&self) -> Vec<u8> {
        self.heard.recv_timeout(PATIENCE).unwrap()
    }
}

fn told(host: &Host) -> Vec<String> {
    let told = fs::read_to_string(host.at("told")).unwrap();
    let lines = told.lines().filter(|line| !line.starts_with("--setenv="));
    lines.map(str::to_owned).collect()
}

fn expected(host: &Host) -> Vec<String> {
    let trial: serde_json::Value = serde_json::from_slice(&fs::read(host.at("run/trial/trial.json")).unwrap()).unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_exitpool")).canonicalize().unwrap();
    let (id, runtime) = (trial["id"].to_string(), host.at("run").display().to_string());
    [
        "--quiet",
        "--collect",
        "--no-ask-password",
        &format!("--unit=exitpool-guard-trial-{id}"),
        "--description=Takes a change of the firewall back unless it is kept",
        "--property=Type=notify",
        &format!("--property=NetworkNamespacePath=/proc/{}/ns/net", host.daemon_pid()),
        "--",
        &program.display().to_string(),
        "guard-trial",
        "--runtime-dir",
        &runtime,
        "--id",
        &id,
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn where_the_service_manager_refuses_the_daemon_starts_it_itself() {
    let Some(mut host) = host_of_systemd(|_| "echo 'Access denied' >&2; exit 1".to_owned()) else { return };
    host.comes_up(&open(TERMS));
    let before = host.lab.everything();
    let session = host.logs_in(STRANGER[0]);
    host.wish(&insisting(TERMS));
    waits_until_closed(&host);
    host.fuse();
    let log = host.log();
    assert!(log.contains("WARN systemd-run does not start the process") && log.contains("Access denied"), "{log}");
    let report = host.sees("the change taken back", taken_back);
    assert!(condition(&report, "Stalled").2.contains("could not come back by SSH"), "{report:?}");
    assert_eq!(host.lab.everything(), before);
    session.logs_out();
}
