//! The clock that nobody sets: it counts from the boot, goes on while the host sleeps, and is the same for every process.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::host;

/// How one process reckons [`steady`] time, for another one to understand the times that it has written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reckoning {
    /// The boot that it counts from.
    boot: String,
    /// When that was, by its reckoning.
    booted: Timestamp,
}

impl Reckoning {
    /// How this process reckons.
    pub fn of_this_process() -> Self {
        let (then, since_boot) = beginning();
        Self { boot: host::boot().unwrap_or_default(), booted: then - since_boot }
    }

    /// How much later a moment is by this reckoning than by another one; `None` where the host was booted in between.
    pub fn ahead_of(&self, other: &Self) -> Option<SignedDuration> {
        (self.boot == other.boot).then(|| self.booted.duration_since(other.booted))
    }
}

/// How long ago the host was booted.
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The time for whoever waits: that of the host's clock when it was first asked for, and from then on by the clock that
/// nobody sets.
///
/// Where the host's clock is set, what waits for a time would else wait for hours more, or no more at all.
pub fn steady() -> Timestamp {
    let (then, booted) = beginning();
    then + since_boot().saturating_sub(booted)
}

/// When this process first asked for the time: by the host's clock, and since the boot.
fn beginning() -> (Timestamp, Duration) {
    static BEGINNING: OnceLock<(Timestamp, Duration)> = OnceLock::new();
    *BEGINNING.get_or_init(|| (Timestamp::now(), since_boot()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_time_begins_at_the_time_of_the_day_and_goes_on_with_the_time_since_the_boot() {
        let (before, first) = (since_boot(), steady());
        assert!(first.duration_since(Timestamp::now()).unsigned_abs() < Duration::from_secs(3_600));
        std::thread::sleep(Duration::from_millis(2));
        let (second, after) = (steady(), since_boot());
        let passed = Duration::try_from(second.duration_since(first)).unwrap();
        assert!(passed >= Duration::from_millis(2) && passed <= after - before, "{passed:?}");
    }

    #[test]
    fn a_moment_is_found_again_by_who_reckons_otherwise() {
        let ours = Reckoning::of_this_process();
        assert_eq!(ours.ahead_of(&Reckoning::of_this_process()), Some(SignedDuration::ZERO));
        let hour = SignedDuration::from_hours(1);
        let behind = Reckoning { booted: ours.booted - hour, ..ours.clone() };
        assert_eq!(ours.ahead_of(&behind), Some(hour));
        assert_eq!(ours.ahead_of(&Reckoning { boot: "another".to_owned(), ..ours.clone() }), None);
    }

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
