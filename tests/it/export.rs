//! Export: keys and tokens by the command line, and lists over real HTTP from the real daemon.

pub mod consumer;
mod daemon;
mod keys;
mod lockouts;
mod network;
