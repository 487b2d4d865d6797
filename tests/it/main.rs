//! The integration tests.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests may panic, and say why they skip")]

mod cli;
mod committed;
mod desired;
mod firewall;
mod generated;
mod git_kit;
mod netns;
mod page;
mod panel;
mod plan;
mod pool;
mod remotes;
mod schema;
mod signatures;
mod support;
mod systemd;
mod testnet;
mod tor;
mod tor_network;
