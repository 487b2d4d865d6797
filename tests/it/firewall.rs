//! The firewall drivers with the real tools, in network namespaces of their own.

mod bus;
mod continuity;
mod firewalld;
mod helper;
mod iptables;
pub mod lab;
mod matrix;
mod nftables;
mod select;
mod tamper;
mod traffic;
pub mod ufw;
