//! The rules of the source tree: which room may know which, what is done where, and how long anything may be.
//!
//! `docs/architecture.md` says why. A rule that is in the way is changed here, with its reason, and there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "architecture/rooms.rs"]
mod rooms;
#[path = "architecture/rust.rs"]
mod rust;
#[path = "architecture/tree.rs"]
mod tree;

/// Fails with all that was found, and with what to do about it.
#[track_caller]
fn none_of(found: &[String], advice: &str) {
    assert!(found.is_empty(), "\n  {}\n\n{advice}\n", found.join("\n  "));
}
