//! The integration tests.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and one that skips says why"
)]

mod page;
mod panel;
