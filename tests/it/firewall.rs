//! The firewall drivers with the real tools, in network namespaces of their own.

mod bus;
mod firewalld;
mod iptables;
mod lab;
mod nftables;
mod select;
mod tamper;
mod traffic;
mod ufw;
