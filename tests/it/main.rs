//! The integration tests.

mod firewall;
mod netns;
