//! What tests share: saying why they are skipped, checking committed files, and looking into a network namespace.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpSocket;

pub use super::committed::generated;

/// Copies the program under test to where it is to be started from.
///
/// Another process copies it: while this one had the copy open to write, any child that another test starts just then would
/// have it open as well for a moment, and nothing that is open to write can be started (`ETXTBSY`).
pub fn place_program(at: &Path) {
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_exitpool")).arg(at).status();
    assert!(copied.is_ok_and(|status| status.success()), "cannot copy the program to {}", at.display());
}

/// What a verb said, which a test has called as the verb is to be called: nothing can be read off a usage error.
#[track_caller]
pub fn understood(verb: &str, output: Output) -> Output {
    assert_ne!(output.status.code(), Some(64), "{verb} is called in a wrong way: {output:?}");
    output
}

/// Says why a test does not run here. In CI nothing may be skipped.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "skipped in CI: {reason}");
    eprintln!("skipped: {reason}");
}

/// Finds a program of a tool that scripts/python-tools.sh has installed, by the name of its directory in tests/; says where
/// it is not there.
pub fn python_tool(name: &str, program: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let found = target.join("python").join(name).join("bin").join(program);
    if found.exists() {
        return Some(found);
    }
    skip(&format!("there is no {}: scripts/python-tools.sh {name}", found.display()));
    None
}

/// Whether a program is in the path, or where administrators' programs are.
pub fn is_installed(tool: &str) -> bool {
    let script = format!("PATH=$PATH:/usr/sbin:/sbin command -v {tool}");
    Command::new("sh").args(["-c", &script]).output().is_ok_and(|output| output.status.success())
}

/// Runs something on a thread that is inside a named network namespace.
pub fn inside<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let handle = File::open(format!("/run/netns/{namespace}")).unwrap();
    let entered = move || {
        move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    };
    thread::spawn(entered).join().unwrap()
}

/// A function that is called on a thread inside the network namespace of a process.
pub fn inside_of<A, T>(pid: u32, work: impl Fn(A) -> T + Copy + Send + Sync + 'static) -> impl Fn(A) -> T + Send + Sync
where
    A: Send + 'static,
    T: Send + 'static,
{
    let handle = File::open(format!("/proc/{pid}/ns/net")).unwrap();
    move |argument| {
        let handle = handle.try_clone().unwrap();
        let entered = move || {
            move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work(argument)
        };
        thread::spawn(entered).join().unwrap()
    }
}

/// Ends every tor that has a directory in its command line: those that a test started below it, and no other.
pub fn end_tors_in(directory: &Path) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let program = line.split('\0').next().unwrap_or_default();
        let is_ours = program.ends_with("tor") && line.contains(&*directory.to_string_lossy());
        if let Some(pid) = pid.filter(|_| is_ours) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// What becomes of an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Somebody answers.
    Open,
    /// Nobody listens, and the host says so.
    Refused,
    /// Nothing comes back.
    Filtered,
}

/// How long an answer may take: the namespaces are on one machine.
const PROBE_DEADLINE: Duration = Duration::from_millis(700);

/// Tries to connect from one address to others, inside a namespace, all at once.
pub fn knock(namespace: &str, from: std::net::IpAddr, doors: &[SocketAddr]) -> Vec<Door> {
    let doors = doors.to_vec();
    inside(namespace, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let knocking = doors.into_iter().map(|door| knock_once(from, door));
        runtime.block_on(futures_util::future::join_all(knocking))
    })
}

async fn knock_once(from: std::net::IpAddr, door: SocketAddr) -> Door {
    let socket = if door.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    match tokio::time::timeout(PROBE_DEADLINE, socket.connect(door)).await {
        Ok(Ok(_)) => Door::Open,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Door::Refused,
        Ok(Err(error)) => panic!("cannot knock at {door}: {error}"),
        Err(_) => Door::Filtered,
    }
}

/// Asks again and again until there is something; `None` where there is nothing for a long time.
pub fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    const PATIENCE: Duration = Duration::from_secs(90);
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let found = ask();
        if found.is_some() || std::time::Instant::now() >= end {
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
