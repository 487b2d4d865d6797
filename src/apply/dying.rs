//! Death at a chosen step, to show what a daemon leaves that dies there. Only in builds for debugging.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Where this process is to die: `before:3` or `after:3` for its third step.
const DIE_AT: &str = "EXITPOOL_DEBUG_DIE_AT";

/// The side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

/// The steps that were begun, and those that were ended.
static PASSED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

static CHOSEN: LazyLock<Option<(Side, usize)>> = LazyLock::new(|| {
    let chosen = std::env::var(DIE_AT).ok()?;
    let (side, step) = chosen.split_once(':')?;
    let side = if side == "before" { Side::Before } else { Side::After };
    Some((side, step.parse().ok()?))
});

/// Dies here by SIGKILL, where that is the chosen moment.
pub(super) fn pass(side: Side) {
    let passed = PASSED[side as usize].fetch_add(1, Ordering::SeqCst) + 1;
    if *CHOSEN == Some((side, passed)) {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
