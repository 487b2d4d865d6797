//! The process table, as far as it concerns tors of ours.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::layout::Layout;
use crate::desired::InstanceName;
use crate::observe::Process;

/// The programs that become a tor of ours in a moment: those of the chain that starts it.
const STARTERS: [&str; 2] = ["setsid", "setpriv"];

/// The processes that were found for one instance, the oldest first; more than one is a fault.
pub type Found = BTreeMap<InstanceName, Vec<Process>>;

/// Finds the tor processes that run a torrc of this layout, by the names of the tor program.
pub fn find(layout: &Layout, programs: &[String]) -> io::Result<Found> {
    let mut found = Found::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some((name, process)) = examine(layout, programs, pid) {
            found.entry(name).or_default().push(process);
        }
    }
    found.values_mut().for_each(|processes| processes.sort_by_key(|process| (process.started, process.pid)));
    Ok(found)
}

/// Looks at one process; one that ends meanwhile is none.
fn examine(layout: &Layout, programs: &[String], pid: u32) -> Option<(InstanceName, Process)> {
    let name = layout.instance_of_torrc(&torrc_of(&fs::read(format!("/proc/{pid}/cmdline")).ok()?)?)?;
    let is_ours = runs_as_us(pid) && runs_one_of(programs, pid);
    let process = Process { pid, started: start_time(pid)? };
    is_ours.then_some((name, process))
}

/// Reads the path behind `-f` from a command line.
fn torrc_of(command_line: &[u8]) -> Option<PathBuf> {
    let mut arguments = command_line.split(|byte| *byte == 0);
    arguments.by_ref().find(|argument| *argument == b"-f")?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(arguments.next()?)))
}

/// Whether the effective user is ours.
fn runs_as_us(pid: u32) -> bool {
    let us = rustix::process::geteuid().as_raw().to_string();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    users.split_whitespace().nth(1) == Some(us.as_str())
}

/// Whether its program has one of these names, or becomes one.
///
/// tor makes itself undumpable, which hides `exe` from an unprivileged daemon of the same user: its short name is still
/// there to be read then.
fn runs_one_of(programs: &[String], pid: u32) -> bool {
    let is_known = |name: &str| programs.iter().any(|known| known == name) || STARTERS.contains(&name);
    match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(path) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            is_known(name.strip_suffix(" (deleted)").unwrap_or(&name))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // The kernel cuts it after 15 bytes.
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let name = name.trim_end();
            programs.iter().any(|known| known.get(..15).unwrap_or(known) == name) || STARTERS.contains(&name)
        }
        Err(_) => false,
    }
}

/// Reads when a process started, in clock ticks after boot; `None` for one that is gone or a zombie.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name stands in parentheses and can have both spaces and parentheses in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    // Fields 3 (state) to 22 (starttime) of proc(5).
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok()).flatten()
}

/// Whether we may shrink the bounding set of capabilities: CAP_SETPCAP, bit 8.
pub fn has_capability_to_bound() -> bool {
    const CAP_SETPCAP: u32 = 8;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
    u64::from_str_radix(effective.trim(), 16).is_ok_and(|set| set & (1 << CAP_SETPCAP) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_torrc_stands_behind_its_flag() {
        assert_eq!(torrc_of(b"tor\0--defaults-torrc\0/x\0-f\0/run/a b\0"), Some("/run/a b".into()));
        assert_eq!(torrc_of(b"tor\0-f"), None);
        assert_eq!(torrc_of(b""), None);
    }

    #[test]
    fn this_process_is_ours_alive_and_no_tor() {
        let pid = std::process::id();
        assert!(runs_as_us(pid));
        assert!(start_time(pid).is_some_and(|started| started > 0));
        assert!(!runs_one_of(&["tor".to_owned()], pid));
    }
}
