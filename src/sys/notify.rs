//! The service manager's socket, as in `sd_notify(3)`: a daemon says there that it is ready, goes on, reads anew, or stops,
//! and how it is doing.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The service manager that started this process; a process that was started by hand has none, and speaks to nobody.
#[derive(Debug, Default)]
pub struct ServiceManager {
    line: Option<(UnixDatagram, SocketAddr)>,
    patience: Option<Duration>,
}

/// What a service manager is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'a> {
    /// The daemon has started, or has read anew what it was told to, and does its work.
    Ready,
    /// It is still doing its work.
    Alive,
    /// It reads anew, and is ready afterwards.
    Reloading,
    /// It is about to end.
    Stopping,
    /// How it is doing, in one sentence; a long one is shortened.
    Doing(&'a str),
}

/// A service manager throws away a message of more than 4 KiB.
const LONGEST_SENTENCE: usize = 1024;

impl ServiceManager {
    /// Finds it by the environment (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub fn of_this_process() -> io::Result<Self> {
        let Some(name) = std::env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let variable = |name| std::env::var(name).ok();
        let patience = patience(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref());
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read holds nothing up.
        socket.set_nonblocking(true)?;
        Ok(Self { line: Some((socket, address(&name)?)), patience })
    }

    /// How long it waits for the next word; `None` where it keeps no watchdog.
    pub fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// Tells it something, in one message.
    pub fn tell(&self, words: &[Word<'_>]) -> io::Result<()> {
        let Some((socket, address)) = &self.line else { return Ok(()) };
        let lines: Vec<String> = words.iter().map(Word::line).collect();
        socket.send_to_addr(lines.join("\n").as_bytes(), address).map(drop)
    }
}

impl Word<'_> {
    fn line(&self) -> String {
        match self {
            Self::Ready => "READY=1".to_owned(),
            Self::Alive => "WATCHDOG=1".to_owned(),
            // By the clock that a manager compares it with, and in the same message.
            Self::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic().as_micros()),
            Self::Stopping => "STOPPING=1".to_owned(),
            Self::Doing(sentence) => {
                let end = sentence.floor_char_boundary(LONGEST_SENTENCE);
                format!("STATUS={}", sentence[..end].replace(char::is_control, " "))
            }
        }
    }
}

fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A name that begins with `@` is not in the file system.
fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

/// The watchdog's time, where it is meant for this process.
fn patience(microseconds: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let microseconds = microseconds?.parse().ok().filter(|microseconds| is_ours && *microseconds > 0)?;
    Some(Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify").display().to_string();
        for name in [path, format!("@exitpool-test-{}", std::process::id())] {
            let address = address(&name).unwrap();
            let manager = UnixDatagram::bind_addr(&address).unwrap();
            let line = Some((UnixDatagram::unbound().unwrap(), address));
            let speaking = ServiceManager { line, patience: None };
            let hear = |words: &[Word<'_>]| {
                speaking.tell(words).unwrap();
                let mut heard = [0; 4096];
                let length = manager.recv(&mut heard).unwrap();
                String::from_utf8(heard[..length].to_owned()).unwrap()
            };
            assert_eq!(hear(&[Word::Ready, Word::Alive]), "READY=1\nWATCHDOG=1");
            assert_eq!(hear(&[Word::Stopping]), "STOPPING=1");
            assert_eq!(hear(&[Word::Doing("one\nline")]), "STATUS=one line");
            let shortened = hear(&[Word::Doing(&"ä".repeat(LONGEST_SENTENCE)), Word::Ready]);
            assert_eq!(shortened, format!("STATUS={}\nREADY=1", "ä".repeat(LONGEST_SENTENCE / 2)));
            let (before, said, after) = (monotonic(), hear(&[Word::Reloading]), monotonic());
            let micros = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
            assert!((before.as_micros()..=after.as_micros()).contains(&micros), "{said}");
        }
    }

    #[test]
    fn nobody_is_told_where_nobody_listens() {
        ServiceManager::default().tell(&[Word::Ready]).unwrap();
    }

    #[test]
    fn a_watchdog_that_is_meant_for_another_process_is_none() {
        let own = std::process::id().to_string();
        assert_eq!(patience(Some("2000000"), Some(&own)), Some(Duration::from_secs(2)));
        assert_eq!(patience(Some("2000000"), None), Some(Duration::from_secs(2)));
        for (microseconds, pid) in [(Some("2000000"), Some("1")), (Some("0"), None), (Some("soon"), None), (None, None)]
        {
            assert_eq!(patience(microseconds, pid), None);
        }
    }
}
