//! What a private network leaves on the system, and its removal: at the end, after a failed start, and after a crash.
//!
//! Everything that is made is written down first, in a record under [`REGISTRY`]. A process belongs to a network because
//! it is inside one of its namespaces, so no list of processes is kept that could be out of date: the pool's daemon and
//! its tors, started by others, are found the same way.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::Error;

/// Where the records are; gone after a boot, as namespaces and processes are.
const REGISTRY: &str = "/run/exitpool-testnet";
/// Where `ip netns` keeps the names of namespaces.
const NAMESPACES: &str = "/run/netns";
/// How long a process may take to end after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has ended.
const KILL_POLL: Duration = Duration::from_millis(10);

/// A process, told from a later one with the same id by when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    /// The process id.
    pid: u32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    started: u64,
}

/// What belongs to a network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The network's name, `<prefix>-<owner's pid>-<number>`, also that of the pool's namespace.
    pub name: String,
    /// Who made it.
    owner: Owner,
    /// The directory, with everything in it.
    pub directory: PathBuf,
}

/// A record that is in force; dropping it removes everything that belongs to it.
#[derive(Debug)]
pub struct Estate {
    record: Option<Record>,
}

impl Record {
    /// The namespace of the network, the pool and its daemon.
    pub fn pool_namespace(&self) -> String {
        self.name.clone()
    }

    /// The namespace of the clients, where they have one.
    pub fn client_namespace(&self) -> String {
        format!("{}-client", self.name)
    }

    /// The name of an end of the link between clients and pool, which must fit in 15 characters.
    pub fn link(&self, end: char) -> String {
        let mut parts = self.name.split('-');
        let prefix = parts.next().unwrap_or_default();
        let numbers: String = parts.map(|number| base36(number.parse().unwrap_or_default())).collect();
        format!("{prefix}{numbers}{end}")
    }

    /// Where the record is written down.
    fn path(&self) -> PathBuf {
        Path::new(REGISTRY).join(format!("{}.json", self.name))
    }

    /// Removes everything that belongs to the network; what is already gone is no error.
    pub fn dismantle(&self) -> Result<(), Error> {
        for namespace in [self.client_namespace(), self.pool_namespace()] {
            remove_namespace(&namespace)?;
        }
        remove_link(&self.link('c'))?;
        remove(fs::remove_dir_all(&self.directory), "remove", &self.directory)?;
        remove(fs::remove_file(self.path()), "remove", &self.path())
    }
}

impl Estate {
    /// Writes down that a network is about to be made in an empty directory.
    pub fn claim(prefix: &str, directory: &Path) -> Result<(Self, Record), Error> {
        check_prefix(prefix)?;
        let directory = empty_directory(directory)?;
        let owner = Owner::this().map_err(Error::file("read", "/proc/self/stat"))?;
        DirBuilder::new().recursive(true).mode(0o700).create(REGISTRY).map_err(Error::file("make", REGISTRY))?;
        for number in 0_u32.. {
            let name = format!("{prefix}-{}-{number}", owner.pid);
            let record = Record { name, owner, directory: directory.clone() };
            let path = record.path();
            if Path::new(NAMESPACES).join(record.pool_namespace()).exists() {
                continue;
            }
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    let text = serde_json::to_string(&record).unwrap_or_default();
                    file.write_all(text.as_bytes()).map_err(Error::file("write", path))?;
                    return Ok((Self { record: Some(record.clone()) }, record));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::file("write", path)(error)),
            }
        }
        Err(Error::Prefix(prefix.to_owned()))
    }

    /// Removes everything, and says what could not be removed.
    pub fn dismantle(mut self) -> Result<(), Error> {
        self.record.take().map_or(Ok(()), |record| record.dismantle())
    }
}

impl Drop for Estate {
    fn drop(&mut self) {
        let Some(record) = self.record.take() else { return };
        if let Err(error) = record.dismantle() {
            tracing::warn!(
                network = record.name,
                error = crate::error::chain(&error),
                "a private network is left behind"
            );
        }
    }
}

impl Owner {
    /// The calling process.
    fn this() -> std::io::Result<Self> {
        let pid = std::process::id();
        Ok(Self { pid, started: started(pid)? })
    }

    /// Whether the process still runs.
    fn is_alive(self) -> bool {
        started(self.pid).is_ok_and(|started| started == self.started)
    }
}

/// Waits until no other process looks for what is free or left behind; the lock ends with the file.
pub fn lock() -> Result<File, Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(REGISTRY).map_err(Error::file("make", REGISTRY))?;
    let path = Path::new(REGISTRY).join("lock");
    let file = File::create(&path).map_err(Error::file("open", &path))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| Error::file("lock", &path)(error.into()))?;
    Ok(file)
}

/// Removes what processes that are gone have left behind, and returns the networks' names.
pub fn sweep(prefix: &str) -> Result<Vec<String>, Error> {
    check_prefix(prefix)?;
    let _lock = lock()?;
    let mut swept = Vec::new();
    for name in names_in(Path::new(REGISTRY))?.iter().filter_map(|file| file.strip_suffix(".json")) {
        // A record that cannot be read is being written, or has just been removed.
        let text = fs::read_to_string(Path::new(REGISTRY).join(format!("{name}.json"))).unwrap_or_default();
        let Ok(record) = serde_json::from_str::<Record>(&text) else { continue };
        if record.name == name && owner_in(name, prefix).is_some() && !record.owner.is_alive() {
            record.dismantle()?;
            swept.push(record.name);
        }
    }
    for namespace in names_in(Path::new(NAMESPACES))? {
        if owner_in(&namespace, prefix).is_some_and(|pid| started(pid).is_err()) {
            remove_namespace(&namespace)?;
            swept.push(namespace);
        }
    }
    Ok(swept)
}

/// Reads the owner's process id out of a name, if the name has this prefix and is one of ours.
fn owner_in(name: &str, prefix: &str) -> Option<u32> {
    let numbers = name.strip_prefix(prefix)?.strip_prefix('-')?;
    let (pid, number) = numbers.strip_suffix("-client").unwrap_or(numbers).split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

/// Checks that names can be made of a prefix.
fn check_prefix(prefix: &str) -> Result<(), Error> {
    let fits = (1..=6).contains(&prefix.len())
        && prefix.starts_with(|first: char| first.is_ascii_lowercase())
        && prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if fits { Ok(()) } else { Err(Error::Prefix(prefix.to_owned())) }
}

/// Makes sure that a directory exists and is empty, and returns its absolute path.
fn empty_directory(directory: &Path) -> Result<PathBuf, Error> {
    // Tors that run as somebody else must read the clients' files; what is secret is in directories that are closed.
    DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(Error::file("make", directory))?;
    let directory = directory.canonicalize().map_err(Error::file("find", directory))?;
    if names_in(&directory)?.is_empty() { Ok(directory) } else { Err(Error::Directory(directory)) }
}

/// Lists the names in a directory; one that is not there has none.
fn names_in(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("read", directory))?,
    };
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// Ends what runs in a namespace, and removes it.
fn remove_namespace(namespace: &str) -> Result<(), Error> {
    let path = Path::new(NAMESPACES).join(namespace);
    if !path.exists() {
        return Ok(());
    }
    end_processes(namespace, &path)?;
    ip(&["netns", "delete", namespace])
}

/// Sends SIGKILL to whatever is in a namespace until nothing is.
fn end_processes(namespace: &str, path: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        let processes = processes_in(path);
        if processes.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let processes = processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::Survivors { namespace: namespace.to_owned(), processes });
        }
        processes.iter().for_each(|pid| kill_inside(*pid, path));
        thread::sleep(KILL_POLL);
    }
}

/// Lists the processes in a namespace; never the caller, nor those that share its namespace.
fn processes_in(namespace: &Path) -> Vec<u32> {
    if is_inside("self", namespace) {
        return Vec::new();
    }
    let all = names_in(Path::new("/proc")).unwrap_or_default();
    all.iter().filter_map(|name| name.parse().ok()).filter(|pid: &u32| is_inside(&pid.to_string(), namespace)).collect()
}

/// Whether a process is in a namespace; one that has ended is in none.
fn is_inside(process: &str, namespace: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let of_process = identity(&Path::new("/proc").join(process).join("ns/net"));
    of_process.is_some() && of_process == identity(namespace)
}

/// Sends SIGKILL to a process if it is still the one that was seen in the namespace.
fn kill_inside(pid: u32, namespace: &Path) {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    // The process is held by its pidfd while it is looked at once more, so that a reused id is never hit.
    let Ok(process) = pidfd_open(id, PidfdFlags::empty()) else { return };
    if is_inside(&pid.to_string(), namespace) {
        match pidfd_send_signal(process, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => tracing::debug!(pid, %error, "cannot end a process of a private network"),
        }
    }
}

/// Removes the host's end of a link, if it is there.
fn remove_link(link: &str) -> Result<(), Error> {
    if !Path::new("/sys/class/net").join(link).exists() {
        return Ok(());
    }
    match ip(&["link", "delete", link]) {
        // The kernel removes the link by itself, a moment after the namespace at its other end.
        Err(_) if !Path::new("/sys/class/net").join(link).exists() => Ok(()),
        other => other,
    }
}

/// Runs `ip`, waiting for its end.
fn ip(arguments: &[&str]) -> Result<(), Error> {
    let command = format!("ip {}", arguments.join(" "));
    let program = super::programs::find("ip", "iproute2")?;
    let output = match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(source) => return Err(Error::Run { command, source }),
    };
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Command { command, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

/// Turns the result of a removal into ours; what is not there is removed.
fn remove(result: std::io::Result<()>, action: &'static str, path: &Path) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::file(action, path)),
    }
}

/// Reads when a process started; fails if there is none, or only its remains wait for their parent.
fn started(pid: u32) -> std::io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, in which anything can stand.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let mut fields = fields.split_ascii_whitespace();
    if fields.next() == Some("Z") {
        return Err(ErrorKind::NotFound.into());
    }
    let started = fields.nth(18).and_then(|field| field.parse().ok());
    started.ok_or_else(|| std::io::Error::new(ErrorKind::InvalidData, "no start time in /proc/<pid>/stat"))
}

/// Writes a number with 36 digits, to save room.
fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit(number % 36, 36));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests;
