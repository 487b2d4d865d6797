//! The unit and its companions: accepted by systemd where it is installed, commented wherever this runs, and at work on a
//! Debian that is booted.

mod booted;
mod machine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn unit() -> String {
    text("exitpool.service")
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

/// All that systemd is given.
const UNITS: [&str; 8] = [
    "exitpool.service",
    "exitpool.slice",
    "exitpool.socket",
    "exitpool-guard.service",
    "exitpool-firewall-helper.service",
    "exitpool-firewall-helper.socket",
    "exitpool-backup.service",
    "exitpool-backup.timer",
];
/// How exposed each service is at most, as README.md says, of 10 points; and none is more exposed than 2.5.
const EXPOSED: [(&str, f64); 4] = [
    ("exitpool.service", 2.0),
    ("exitpool-guard.service", 1.4),
    ("exitpool-firewall-helper.service", 2.3),
    ("exitpool-backup.service", 1.0),
];

/// The values of a directive.
fn values<'a>(unit: &'a str, directive: &'a str) -> Vec<&'a str> {
    let pairs = unit.lines().filter_map(|line| line.split_once('='));
    pairs.filter(|(name, _)| *name == directive).map(|(_, value)| value).collect()
}

#[test]
fn every_directive_stands_under_a_section_and_a_comment() {
    UNITS.map(text).iter().for_each(|unit| is_explained_in_full(unit));
}

#[track_caller]
fn is_explained_in_full(unit: &str) {
    let mut section = None;
    let mut is_explained = false;
    for line in unit.lines() {
        match line.chars().next() {
            None => is_explained = false,
            Some('#') => is_explained = true,
            Some('[') => section = Some(line),
            Some(_) => {
                let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("not a directive: {line}"));
                // Of what takes a set, nothing is the empty one.
                let has_a_value = !value.is_empty() || name == "CapabilityBoundingSet";
                assert!(section.is_some() && has_a_value && !name.contains(' '), "{line}");
                let speaks_for_itself = ["Description", "Documentation", "WantedBy"].contains(&name);
                assert!(is_explained || speaks_for_itself, "{line}: say why it is there");
            }
        }
    }
}

#[test]
fn the_pool_outlives_the_daemon_and_bad_settings_are_not_tried_again() {
    let unit = unit();
    assert_eq!(values(&unit, "KillMode"), ["process"]);
    assert_eq!(values(&unit, "RuntimeDirectoryPreserve"), ["yes"]);
    assert_eq!(values(&unit, "AmbientCapabilities"), ["CAP_NET_ADMIN"]);
    assert_eq!(values(&unit, "CapabilityBoundingSet"), ["CAP_NET_ADMIN"]);
    // Half of the watchdog's time is that of a pass: ten minutes, as for `/healthz`.
    assert_eq!((values(&unit, "Type"), values(&unit, "WatchdogSec")), (vec!["notify"], vec!["20min"]));
    assert!(values(&unit, "RestartPreventExitStatus")[0].split(' ').any(|code| code == "78"));
}

#[test]
fn the_unit_starts_a_verb_that_exists_as_a_user_that_exists() {
    let unit = unit();
    let command: Vec<_> = values(&unit, "ExecStart")[0].split(' ').collect();
    assert_eq!(command[0], "/usr/bin/exitpool");
    assert!(exitpool::cli::reference::names().iter().any(|verb| verb == command[1]));
    let user = values(&unit, "User")[0];
    let users = fs::read_to_string(folder().join("exitpool.sysusers")).unwrap();
    assert!(users.lines().any(|line| line.starts_with(&format!("u {user} "))), "{users}");
    let directories = fs::read_to_string(folder().join("exitpool.tmpfiles")).unwrap();
    for directory in ["/var/lib/exitpool", "/run/exitpool"] {
        let made = |line: &str| line.starts_with(&format!("d {directory} ")) && line.contains(" 0700 ");
        assert!(directories.lines().any(made), "{directories}");
    }
}

/// The helper has of root's rights those of the firewall, and is asked where the daemon looks.
#[test]
fn the_helper_has_few_rights_and_is_found_by_the_daemon() {
    let (service, socket) = (text("exitpool-firewall-helper.service"), text("exitpool-firewall-helper.socket"));
    assert_eq!(values(&service, "CapabilityBoundingSet"), ["CAP_NET_ADMIN CAP_NET_RAW"]);
    assert_eq!((values(&service, "NoNewPrivileges"), values(&service, "StandardInput")), (vec!["yes"], vec!["socket"]));
    assert_eq!(values(&socket, "ListenStream"), [exitpool::firewall::helper::SOCKET]);
    assert_eq!((values(&socket, "SocketUser"), values(&socket, "SocketMode")), (values(&unit(), "User"), vec!["0600"]));
    let command: Vec<_> = values(&service, "ExecStart")[0].split(' ').collect();
    assert_eq!(command, ["/usr/bin/exitpool", "firewall-helper", "--user", values(&unit(), "User")[0]]);
}

/// Copies of the units; the program is not installed where the test runs, so they name one that is.
fn copies() -> (tempfile::TempDir, [PathBuf; UNITS.len()]) {
    let home = tempfile::tempdir().unwrap();
    for name in UNITS {
        let copy = text(name).replace("/usr/bin/exitpool", env!("CARGO_BIN_EXE_exitpool"));
        fs::write(home.path().join(name), copy).unwrap();
    }
    let paths = UNITS.map(|name| home.path().join(name));
    (home, paths)
}

#[test]
fn systemd_finds_the_services_little_exposed() {
    let (home, _) = copies();
    for (name, most) in EXPOSED {
        let path = home.path().join(name);
        let analyze = Command::new("systemd-analyze").args(["security", "--offline=yes"]).arg(path).output();
        let Ok(output) = analyze else {
            crate::support::skip("there is no systemd-analyze in PATH (Debian: apt install systemd)");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let exposure =
            said.lines().find_map(|line| line.split_once("Overall exposure level for ")?.1.split(' ').nth(1));
        let exposure: f64 = exposure.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
        assert!(exposure <= most && most <= 2.5, "{name}: {exposure}\n{said}");
    }
}

/// Nothing is to wait for a guard that cannot be had, and nothing is to be configured before it.
#[test]
fn the_early_guard_comes_before_the_network_and_holds_nothing_up() {
    let guard = text("exitpool-guard.service");
    assert!(values(&guard, "Before")[0].split(' ').any(|unit| unit == "network-pre.target"));
    assert_eq!(values(&guard, "Wants"), ["network-pre.target"], "a target that nobody wants orders nothing");
    assert_eq!((values(&guard, "DefaultDependencies"), values(&guard, "RequiredBy")), (vec!["no"], vec![]));
    assert_eq!(values(&guard, "ExecStart"), ["/usr/bin/exitpool guard-early"]);
    assert!(exitpool::cli::reference::names().iter().any(|verb| verb == "guard-early"));
    assert_eq!(values(&guard, "User"), values(&unit(), "User"), "it reads what is the daemon's alone");
}

#[test]
fn systemd_accepts_the_units() {
    let (_home, paths) = copies();
    let Ok(output) = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(paths).output() else {
        crate::support::skip("there is no systemd-analyze in PATH (Debian: apt install systemd)");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

/// The daemon is handed the socket where its options can say that it listens.
#[test]
fn the_pages_socket_is_one_that_the_daemon_takes() {
    let socket = text("exitpool.socket");
    let place = format!("unix:{}", values(&socket, "ListenStream")[0]);
    assert!(place.parse::<exitpool::daemon::settings::Listen>().is_ok(), "{place}");
    assert!(socket.contains(&format!("EXITPOOL_LISTEN={place}")), "the comment says where");
    assert_eq!(values(&socket, "SocketUser"), values(&unit(), "User"));
}

/// Backups are made by a verb that exists, as the daemon's user, where that user may write, and a missed one is made up for.
#[test]
fn backups_are_made_daily_by_the_daemons_user() {
    let (service, timer) = (text("exitpool-backup.service"), text("exitpool-backup.timer"));
    let command: Vec<_> = values(&service, "ExecStart")[0].split(' ').collect();
    assert_eq!(command[..2], ["/usr/bin/exitpool", "backup"]);
    assert_eq!(values(&service, "ReadWritePaths"), [command[2]]);
    assert_eq!(values(&service, "User"), values(&unit(), "User"));
    assert_eq!(values(&service, "StateDirectory"), values(&unit(), "StateDirectory"));
    let directories = fs::read_to_string(folder().join("exitpool.tmpfiles")).unwrap();
    assert!(directories.lines().any(|line| line.starts_with(&format!("d {} 0700 ", command[2]))), "{directories}");
    assert_eq!((values(&timer, "OnCalendar"), values(&timer, "Persistent")), (vec!["daily"], vec!["yes"]));
    assert!(!values(&timer, "RandomizedDelaySec").is_empty());
}
