//! The nftables driver with the real nft, in network namespaces of its own.

mod lab;
mod tamper;
mod traffic;
