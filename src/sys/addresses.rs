//! The addresses of this host, as the kernel lists them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Lists the addresses of this host that are neither loopback nor link-local, v4 before v6.
///
/// Source: `/proc/net/fib_trie` and `/proc/net/if_inet6`; what cannot be read is left out.
pub fn of_this_host() -> Vec<IpAddr> {
    let v4 = fs::read_to_string("/proc/net/fib_trie").map(|text| local_v4(&text)).unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/if_inet6").map(|text| local_v6(&text)).unwrap_or_default();
    v4.into_iter().map(IpAddr::V4).chain(v6.into_iter().map(IpAddr::V6)).collect()
}

/// The addresses of the trie's leaves that say `/32 host LOCAL`.
fn local_v4(trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut leaf = None;
    let mut found = BTreeSet::new();
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf.filter(|address| !address.is_loopback() && !address.is_link_local()));
        }
    }
    found
}

/// The addresses in the first column, 32 hexadecimal digits each.
fn local_v6(table: &str) -> BTreeSet<Ipv6Addr> {
    table
        .lines()
        .filter_map(|line| u128::from_str_radix(line.split_ascii_whitespace().next()?, 16).ok())
        .map(Ipv6Addr::from_bits)
        .filter(|address| !address.is_loopback() && !address.is_unicast_link_local())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tries_local_leaves_are_addresses() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.7\n        \
                    /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(local_v4(trie).into_iter().collect::<Vec<_>>(), ["192.0.2.7".parse::<Ipv4Addr>().unwrap()]);
    }

    #[test]
    fn the_table_of_v6_is_read() {
        let table =
            "20010db8000000000000000000000001 02 40 00 80 eth0\nfe800000000000000000000000000001 02 40 20 80 eth0\n";
        assert_eq!(local_v6(table).into_iter().collect::<Vec<_>>(), ["2001:db8::1".parse::<Ipv6Addr>().unwrap()]);
    }
}
