//! This host: its name, its boot, its disks.

use std::fs;
use std::io;
use std::path::Path;

/// How much of a disk is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In percent of what an ordinary user may use, rounded up, as `df` tells it.
    pub used_percent: u8,
    /// What is free, in MiB.
    pub free_mib: u64,
}

/// The host's name; `localhost` where it has none that could stand in a protocol.
pub fn name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if !name.is_empty() && name.bytes().all(is_good) { name.into_owned() } else { "localhost".to_owned() }
}

/// What tells one boot of the host from another.
pub fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// How much of the disk is used that a path is on.
pub fn disk(path: &Path) -> io::Result<Usage> {
    let disk = rustix::fs::statvfs(path)?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    let all = used.saturating_add(disk.f_bavail);
    let percent = if all == 0 { 0 } else { (u128::from(used) * 100).div_ceil(u128::from(all)) };
    let free = (u128::from(disk.f_bavail) * u128::from(disk.f_frsize)) >> 20;
    Ok(Usage { used_percent: u8::try_from(percent).unwrap_or(100), free_mib: u64::try_from(free).unwrap_or(u64::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_as_full_as_df_says() {
        let told = std::process::Command::new("df").args(["--output=pcent", "/proc/self/cwd"]).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let told: u8 = told.lines().last().unwrap().trim().trim_end_matches('%').parse().unwrap();
        let found = disk(Path::new("/proc/self/cwd/.")).unwrap();
        assert!(found.used_percent.abs_diff(told) <= 1, "{found:?} {told}");
    }

    #[test]
    fn a_host_has_a_name_and_a_boot() {
        assert!(!name().is_empty());
        assert_eq!(boot().unwrap().len(), 36);
    }
}
