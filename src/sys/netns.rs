//! Network namespaces: files in /etc are the host's, whichever of them a process is in.

use std::fs;

/// Whether this thread is in the network namespace that the host starts in; so it is taken where that cannot be seen.
pub fn is_of_the_host() -> bool {
    match (fs::read_link("/proc/1/ns/net"), fs::read_link("/proc/thread-self/ns/net")) {
        (Ok(hosts), Ok(ours)) => hosts == ours,
        _ => true,
    }
}
