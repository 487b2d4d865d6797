//! The firewall drivers with the real tools, in network namespaces of their own.

mod bus;
mod firewalld;
mod iptables;
mod lab;
mod matrix;
mod nftables;
mod select;
mod tamper;
mod traffic;
mod ufw;
