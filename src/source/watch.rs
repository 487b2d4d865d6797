//! Notices that a source may have changed, and says so without saying what.
//!
//! One thread owns the watcher. After each change of an entry on the trail it looks the trail up anew, and watches the
//! directories of that: the events of the old ones would be those of a directory that nobody reads any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::{SourceError, trail};

/// How long it has to be quiet before a wake-up, so that a file is not read while it is being written.
const QUIET: Duration = Duration::from_millis(50);

/// The longest delay of a wake-up while it is not quiet.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// A running watch; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    signals: Sender<Signal>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread may have ended already.
        let _ = self.signals.send(Signal::Stop);
    }
}

#[derive(Debug)]
enum Signal {
    Event(notify::Result<Event>),
    Stop,
}

/// Which paths are to be watched; asked anew after every change.
pub type Paths = Box<dyn Fn() -> Vec<PathBuf> + Send>;

/// Watches the trails of all paths.
pub fn start(name: &Path, paths: Paths, wake: impl Fn() + Send + 'static) -> Result<Watch, SourceError> {
    let refuse = |source| SourceError::Watch { path: name.to_owned(), source };
    let (signals, inbox) = channel();
    let events = signals.clone();
    // The keeper may have ended already: then nobody minds.
    let watcher = notify::recommended_watcher(move |event| _ = events.send(Signal::Event(event))).map_err(refuse)?;
    let mut keeper = Keeper { watcher, paths, entries: BTreeSet::new(), directories: BTreeSet::new() };
    keeper.rearm().map_err(refuse)?;
    std::thread::Builder::new()
        .name("source-watch".to_owned())
        .spawn(move || keeper.run(&inbox, wake))
        .map_err(|error| refuse(notify::Error::io(error)))?;
    Ok(Watch { signals })
}

struct Keeper {
    watcher: RecommendedWatcher,
    paths: Paths,
    entries: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
}

/// What a signal means.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Change,
    Nothing,
    Stop,
}

impl Keeper {
    fn run(mut self, inbox: &Receiver<Signal>, wake: impl Fn()) {
        wake();
        loop {
            match judge(&self.entries, inbox.recv().unwrap_or(Signal::Stop)) {
                Heard::Nothing => continue,
                Heard::Stop => return,
                Heard::Change => {}
            }
            if settle(inbox) == Heard::Stop {
                return;
            }
            if let Err(error) = self.rearm() {
                tracing::warn!(%error, "changes of the source are not seen at once, only at the next resync");
            }
            wake();
        }
    }

    /// Looks the trails up anew and watches their directories, until no link was swapped meanwhile.
    ///
    /// A directory that stands at the same path may be another one, so every watch is set anew; a directory is watched
    /// before those below it, so that none is replaced unseen.
    fn rearm(&mut self) -> notify::Result<()> {
        const MOST_ROUNDS: usize = 5;
        for _ in 0..MOST_ROUNDS {
            self.entries = self.look_up();
            self.watch_directories()?;
            if self.look_up() == self.entries {
                break;
            }
        }
        Ok(())
    }

    fn look_up(&self) -> BTreeSet<PathBuf> {
        (self.paths)().iter().flat_map(|path| trail::entries(path)).collect()
    }

    fn watch_directories(&mut self) -> notify::Result<()> {
        for directory in std::mem::take(&mut self.directories) {
            // It may be gone, and its watch with it.
            let _ = self.watcher.unwatch(&directory);
        }
        let wanted: BTreeSet<_> = self.entries.iter().filter_map(|entry| entry.parent()).map(Path::to_owned).collect();
        let mut last_error = None;
        for directory in wanted {
            match self.watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.directories.insert(directory),
                Err(error) => last_error = Some(error),
            }
        }
        // One that may not be read, or is not there, is no failure while the others are watched: it is seen to come.
        match last_error {
            Some(error) if self.directories.is_empty() || is_exhausted(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether a signal is about an entry on the trail, or may hide one that is.
fn judge(entries: &BTreeSet<PathBuf>, signal: Signal) -> Heard {
    let event = match signal {
        Signal::Stop => return Heard::Stop,
        Signal::Event(Err(_)) => return Heard::Change,
        Signal::Event(Ok(event)) => event,
    };
    // Our own reading is an access, too.
    let is_change =
        !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(|path| entries.contains(path));
    if event.need_rescan() || is_change { Heard::Change } else { Heard::Nothing }
}

/// Whether the kernel has no watch left.
fn is_exhausted(error: &notify::Error) -> bool {
    matches!(error.kind, notify::ErrorKind::MaxFilesWatch)
}

/// Waits until it is quiet, but not for long.
fn settle(inbox: &Receiver<Signal>) -> Heard {
    let end = Instant::now() + LONGEST_DELAY;
    while Instant::now() < end {
        match inbox.recv_timeout(QUIET) {
            Ok(Signal::Event(_)) => {}
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Heard::Stop,
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    Heard::Change
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, Flag, ModifyKind};

    use super::*;

    fn heard(kind: EventKind, path: &str) -> Heard {
        let entries = ["/etc", "/etc/pool.yaml"].map(PathBuf::from).into();
        judge(&entries, Signal::Event(Ok(Event::new(kind).add_path(path.into()))))
    }

    #[test]
    fn only_changes_of_entries_on_the_trail_are_heard() {
        let write = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert_eq!(heard(write, "/etc/pool.yaml"), Heard::Change);
        assert_eq!(heard(write, "/etc/passwd"), Heard::Nothing);
        assert_eq!(heard(EventKind::Create(CreateKind::File), "/etc/pool.yaml"), Heard::Change);
    }

    #[test]
    fn reading_is_not_heard() {
        for access in [AccessKind::Open(AccessMode::Any), AccessKind::Close(AccessMode::Write), AccessKind::Read] {
            assert_eq!(heard(EventKind::Access(access), "/etc/pool.yaml"), Heard::Nothing);
        }
    }

    #[test]
    fn lost_events_count_as_a_change() {
        let entries = BTreeSet::new();
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(judge(&entries, Signal::Event(Ok(overflow))), Heard::Change);
        assert_eq!(judge(&entries, Signal::Event(Err(notify::Error::generic("lost")))), Heard::Change);
    }
}
