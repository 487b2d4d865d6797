//! The firewall drivers with the real tools, in network namespaces of their own.

mod bus;
mod continuity;
mod firewalld;
mod iptables;
pub mod lab;
mod matrix;
mod nftables;
mod select;
mod tamper;
mod traffic;
mod ufw;
