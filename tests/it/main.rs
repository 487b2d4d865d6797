//! The integration tests.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "helpers of tests may panic, and say why a test is skipped"
)]

mod firewall;
mod netns;
mod plan;
mod testnet;
