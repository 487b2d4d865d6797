//! Export: keys and tokens by the command line, and lists over real HTTP from the real daemon.

pub mod consumer;
pub mod daemon;
mod keys;
mod lockouts;
mod network;
pub mod sign_in;
pub mod tls;
