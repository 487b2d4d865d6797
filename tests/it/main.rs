//! The integration tests.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests may panic, and say why they skip")]

mod alerts;
mod backup;
mod browser;
mod cli;
mod committed;
mod crowd;
mod deploy;
mod desired;
mod docs;
mod doctor;
mod export;
mod firewall;
mod generated;
mod git_kit;
mod init;
mod install;
mod lockout;
mod monitoring;
mod netns;
mod offline;
mod openapi;
mod operator;
mod page;
mod panel;
mod plan;
mod pool;
mod remotes;
mod roots;
mod scale;
mod schema;
mod signatures;
mod support;
mod systemd;
mod testnet;
mod tor;
mod tor_network;
mod trail;
