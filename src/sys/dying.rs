//! Death at a chosen moment, to show what a program leaves that dies there. Only in builds for debugging.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Where this process is to die: `restore:3` for the third moment of a restore.
const KILL: &str = "EXITPOOL_DEBUG_KILL";

static PASSED: AtomicUsize = AtomicUsize::new(0);

static CHOSEN: LazyLock<Option<(String, usize)>> = LazyLock::new(|| {
    let chosen = std::env::var(KILL).ok()?;
    let (work, moment) = chosen.split_once(':')?;
    Some((work.to_owned(), moment.parse().ok()?))
});

/// Dies here by SIGKILL, where that is the chosen moment of this work.
pub fn moment(work: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let Some((chosen, at)) = &*CHOSEN else { return };
    if chosen == work && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *at {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
