//! The integration tests.

mod plan;
mod testnet;
