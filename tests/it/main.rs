//! The integration tests.

mod testnet;
