//! What a process costs, from /proc.

use std::fs;
use std::time::Duration;

/// CPU that was used.
#[derive(Clone, Copy)]
pub struct Cost {
    /// By the process itself.
    pub own: Duration,
    /// By the programs that it ran and waited for.
    pub children: Duration,
}

/// Measures what a process uses while something happens.
pub async fn of<F: Future>(pid: u32, happening: impl FnOnce() -> F) -> Cost {
    let before = used(pid);
    happening().await;
    let after = used(pid);
    Cost { own: after.own - before.own, children: after.children - before.children }
}

/// Reads the fields 14 to 17 of proc_pid_stat(5).
fn used(pid: u32) -> Cost {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: Vec<u64> = fields[11..15].iter().map(|field| field.parse().unwrap()).collect();
    let time =
        |ticks: u64| Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap();
    Cost { own: time(ticks[0] + ticks[1]), children: time(ticks[2] + ticks[3]) }
}

/// The memory of a process that is in RAM, in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

/// The memory of a process in bytes, where what several share is counted in parts: proportional set size.
pub fn proportional(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}
