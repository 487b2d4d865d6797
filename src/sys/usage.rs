//! What this process takes of the machine, as the kernel counts it.

use std::fs;
use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::clock::since_boot;

/// The place of the time of the start in `/proc/self/stat`, counted behind the name of the program (proc_pid_stat(5)).
const START_TICKS: usize = 19;

/// What this process takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// The time that it has computed, on all cores.
    pub cpu: Duration,
    /// The memory that it has in use, in bytes.
    pub resident_bytes: u64,
    /// The addresses that it has given out, in bytes.
    pub virtual_bytes: u64,
    /// How many file descriptors are open.
    pub open_fds: u64,
    /// How many may be; `None` for no limit.
    pub max_fds: Option<u64>,
    /// When it started; `None` where that is not known.
    pub started: Option<Timestamp>,
}

/// Found once: computed anew, it would move with every correction of the clock.
static STARTED: LazyLock<Option<Timestamp>> = LazyLock::new(|| started().ok());

/// Reads what this process takes.
pub fn usage() -> io::Result<Usage> {
    let sizes = fs::read_to_string("/proc/self/statm")?;
    let mut pages = sizes.split_ascii_whitespace().map_while(|pages| pages.parse::<u64>().ok());
    let mut bytes = || pages.next().map(|pages| pages * page_size() as u64).ok_or(io::ErrorKind::InvalidData);
    // The reading itself has one open.
    let open = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
    Ok(Usage {
        virtual_bytes: bytes()?,
        resident_bytes: bytes()?,
        cpu: computed(),
        open_fds: open as u64,
        max_fds: getrlimit(Resource::Nofile).current,
        started: *STARTED,
    })
}

fn started() -> io::Result<Timestamp> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name may have blanks and brackets in it.
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks = behind.split_ascii_whitespace().nth(START_TICKS).and_then(|ticks| ticks.parse::<u64>().ok());
    let ticks = ticks.ok_or(io::ErrorKind::InvalidData)?;
    let born = Duration::from_millis(ticks.saturating_mul(1000) / clock_ticks_per_second());
    let age = since_boot().saturating_sub(born);
    Ok(Timestamp::now() - SignedDuration::try_from(age).map_err(io::Error::other)?)
}

fn computed() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_counted() {
        let before = usage().unwrap();
        let files: Vec<fs::File> = (0..50).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let filled = vec![1_u8; 64 << 20];
        let begun = std::time::Instant::now();
        while usage().unwrap().cpu == before.cpu && begun.elapsed() < Duration::from_secs(20) {
            std::hint::black_box(&filled);
        }
        let after = usage().unwrap();
        // Other tests of this process open and close files meanwhile.
        assert!(after.open_fds >= before.open_fds + 25, "{before:?} {after:?}");
        assert!(after.resident_bytes >= before.resident_bytes + (32 << 20), "{before:?} {after:?}");
        assert!(after.virtual_bytes >= before.virtual_bytes + (32 << 20), "{before:?} {after:?}");
        assert!(after.cpu > before.cpu);
        assert_eq!(after.started, before.started);
        drop(files);
    }

    #[test]
    fn a_process_has_started_before_it_is_asked_and_after_the_host() {
        let (started, now) = (usage().unwrap().started.unwrap(), Timestamp::now());
        let up = SignedDuration::try_from(since_boot()).unwrap();
        let second = SignedDuration::from_secs(1);
        assert!(started <= now + second && started >= now - up - second, "{started} {now}");
    }
}
