//! The firewall drivers with the real tools, in network namespaces of their own.

mod continuity;
mod iptables;
pub mod lab;
mod nftables;
mod select;
mod tamper;
mod traffic;
mod ufw;
