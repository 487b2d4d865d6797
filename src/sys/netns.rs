//! Network namespaces: files in /etc are the host's, whichever of them a process is in.

use std::{fs, io};

/// Whether a process is in the network namespace of this thread.
pub fn is_that_of(pid: u32) -> io::Result<bool> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/net"))? == fs::read_link("/proc/thread-self/ns/net")?)
}

/// Whether this thread is in the network namespace that the host starts in; so it is taken where that cannot be seen.
pub fn is_of_the_host() -> bool {
    is_that_of(1).unwrap_or(true)
}
