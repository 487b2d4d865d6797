//! The integration tests.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests may panic, and say why they skip")]

mod desired;
mod firewall;
mod netns;
mod page;
mod panel;
mod plan;
mod pool;
mod schema;
mod support;
mod testnet;
mod tor;
mod tor_network;
