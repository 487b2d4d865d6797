//! The faults: each hits one node such that something has to be done about it.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use exitpool::cli::demo::stage::kill_pid;
use rustix::process::Signal;

use super::Dice;
use super::arena::Arena;
use crate::support::inside;

/// Something bad that happens on a host.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// A tor is killed.
    TorKilled,
    /// A tor hangs.
    TorStopped,
    /// A file of a tor's DataDirectory is spoilt, and the tor is killed.
    CacheSpoilt(&'static str, Spoilt),
    /// Disks are full while a tor is killed.
    DiskFull(Disks),
    /// A stranger listens on a node's port while its tor is dead.
    PortStolen,
    /// A control socket is deleted, and the daemon is killed, so that the next one cannot speak to its tor.
    SocketDeleted,
    /// Somebody sets the host's clock by so many minutes, and a tor is killed.
    ClockSet(i64),
    /// The daemon is killed, and a tor while it is dead.
    DaemonKilled,
}

/// How a file is spoilt.
#[derive(Debug, Clone, Copy)]
pub enum Spoilt {
    /// Nothing is in it.
    Emptied,
    /// Its second half is missing.
    CutOff,
    /// Some bytes in its middle are others.
    Garbled,
}

/// Which disks are full.
#[derive(Debug, Clone, Copy)]
pub enum Disks {
    State,
    Runtime,
    Both,
}

/// Each kind of fault, with what chance decides of it.
pub const KINDS: [fn(&mut Dice) -> Fault; 8] = [
    |_| Fault::TorKilled,
    |_| Fault::TorStopped,
    |dice| {
        let file = dice.one_of(&["cached-microdesc-consensus", "cached-microdescs.new", "cached-certs", "state"]);
        Fault::CacheSpoilt(file, dice.one_of(&[Spoilt::Emptied, Spoilt::CutOff, Spoilt::Garbled]))
    },
    |dice| Fault::DiskFull(dice.one_of(&[Disks::State, Disks::Runtime, Disks::Both])),
    |_| Fault::PortStolen,
    |_| Fault::SocketDeleted,
    // Within the day for which the network's consensus is good.
    |dice| Fault::ClockSet(dice.one_of(&[-180, -30, 45, 360])),
    |_| Fault::DaemonKilled,
];

/// What ends a fault when it is dropped.
pub type Lift = Box<dyn Send>;

impl Fault {
    /// Lets it happen to a node, whose tor is this process; gives what has to be dropped for it to end.
    pub async fn strike(self, arena: &mut Arena, node: &str, pid: u64) -> Vec<Lift> {
        let tor = u32::try_from(pid).unwrap();
        let kill = || kill_pid(tor, Signal::KILL).unwrap();
        match self {
            Self::TorKilled => kill(),
            Self::TorStopped => kill_pid(tor, Signal::STOP).unwrap(),
            Self::CacheSpoilt(file, how) => {
                let directory = arena.host.state_dir().join("instances").join(node);
                // tor puts the journal of descriptors into their cache from time to time.
                let journal = directory.join(file);
                let path = if journal.exists() { journal } else { directory.join(file.trim_end_matches(".new")) };
                spoil(&path, how);
                kill();
            }
            Self::DiskFull(disks) => {
                let full = disks.of(arena).into_iter().map(fill).collect();
                kill();
                return full;
            }
            Self::PortStolen => {
                let thief = Thief::at(&arena.host.network().netns(), arena.port(node));
                kill();
                thief.has_it().await;
                return vec![Box::new(thief)];
            }
            Self::SocketDeleted => {
                arena.host.kill_daemon().await;
                fs::remove_file(arena.host.instance_file(node, "control")).unwrap();
                arena.start_daemon();
            }
            Self::ClockSet(minutes) => {
                arena.set_clock(minutes);
                kill();
            }
            Self::DaemonKilled => {
                arena.host.kill_daemon().await;
                kill();
                arena.start_daemon();
            }
        }
        Vec::new()
    }
}

impl Fault {
    /// Whether what is done meanwhile may be missing in the audit trail: there is no room for it.
    pub fn costs_rows(self) -> bool {
        matches!(self, Self::DiskFull(Disks::State | Disks::Both))
    }
}

impl Disks {
    fn of(self, arena: &Arena) -> Vec<PathBuf> {
        let (state, runtime) = (arena.host.state_dir(), arena.host.runtime_dir());
        match self {
            Self::State => vec![state],
            Self::Runtime => vec![runtime],
            Self::Both => vec![state, runtime],
        }
    }
}

/// A file that takes all the room there is, until dropped.
struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Fills the disk of a directory until nothing fits any more.
fn fill(directory: PathBuf) -> Lift {
    let path = directory.join("filler");
    let mut file = File::create(&path).unwrap();
    // In ever smaller pieces: the last byte counts.
    for size in [1 << 20, 4 << 10, 1] {
        let piece = vec![0; size];
        while file.write_all(&piece).is_ok() {}
    }
    Box::new(Filler(path))
}

fn spoil(path: &Path, how: Spoilt) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    match how {
        Spoilt::Emptied => file.set_len(0).unwrap(),
        Spoilt::CutOff => file.set_len(length / 2).unwrap(),
        Spoilt::Garbled => {
            file.seek(SeekFrom::Start(length / 2)).unwrap();
            file.write_all(&[b'\xff', 0, b'\n'].repeat(100)).unwrap();
        }
    }
}

/// Somebody who takes a port as soon as it is free, and keeps it until dropped.
struct Thief {
    has_it: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Thief {
    fn at(namespace: &str, port: u16) -> Self {
        let (has_it, is_over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (told, over, namespace) = (Arc::clone(&has_it), Arc::clone(&is_over), namespace.to_owned());
        let steal = move || {
            let mut listener = None;
            while !over.load(Ordering::SeqCst) {
                listener = listener.or_else(|| std::net::TcpListener::bind(("0.0.0.0", port)).ok());
                told.store(listener.is_some(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let thread = std::thread::spawn(move || inside(&namespace, steal));
        Self { has_it, is_over, thread: Some(thread) }
    }

    /// Waits until it has the port.
    async fn has_it(&self) {
        for _ in 0..1_000 {
            if self.has_it.load(Ordering::SeqCst) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the port did not become free");
    }
}

impl Drop for Thief {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
