//! The clock that nobody sets: it counts from the boot, goes on while the host sleeps, and is the same for every process.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long ago the host was booted.
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that somebody sets would be decades away from the uptime.
    #[test]
    fn it_is_the_time_since_the_boot_and_not_of_the_day() {
        let uptime = || -> f64 {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let (before, told, after) = (uptime(), since_boot().as_secs_f64(), uptime());
        assert!(before - 0.02 <= told && told <= after + 0.02, "{before} {told} {after}");
    }
}
