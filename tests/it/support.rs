//! What tests share: saying why they are skipped, checking committed files, and looking into a network namespace.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpSocket;

pub use super::committed::generated;

/// Says why a test does not run here. In CI nothing may be skipped.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "skipped in CI: {reason}");
    eprintln!("skipped: {reason}");
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
