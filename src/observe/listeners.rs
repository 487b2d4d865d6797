//! Listening TCP sockets of others, at the addresses that nodes want.
//!
//! The kernel's tables name addresses and inodes, and that is all that is read while nobody is in the way. Only then the
//! descriptors of all processes are searched for the one who is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::{Stranger, overlap};

/// The state of a listening socket in the kernel's tables.
const LISTEN: &str = "0A";

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Listener {
    address: SocketAddr,
    inode: u64,
}

/// Finds who listens where a node wants to.
///
/// `ours` are the addresses on which our tors say that they listen, and `our_pids` their processes: neither is a
/// stranger. A node can be in the way of none but a listener on its port, at its address or at a wildcard.
pub fn strangers(
    wanted: &BTreeSet<SocketAddr>,
    ours: &BTreeSet<SocketAddr>,
    our_pids: &BTreeSet<u32>,
) -> io::Result<BTreeMap<SocketAddr, Stranger>> {
    // The kernel walks its whole table to list it, however few sockets there are.
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let in_the_way = conflicts(wanted, ours, &listeners()?);
    if in_the_way.is_empty() {
        return Ok(BTreeMap::new());
    }
    let holders = holders(in_the_way.values().map(|listener| listener.inode).collect());
    let strangers = in_the_way.into_iter().filter_map(|(address, listener)| {
        let process = holders.get(&listener.inode).cloned();
        let is_ours = process.as_ref().is_some_and(|(pid, _)| our_pids.contains(pid));
        (!is_ours).then_some((address, Stranger { listens_on: listener.address, process }))
    });
    Ok(strangers.collect())
}

/// Finds everybody else who listens on this host, wherever: what a later wish may meet.
pub fn others(ours: &BTreeSet<SocketAddr>, our_pids: &BTreeSet<u32>) -> io::Result<Vec<Stranger>> {
    let theirs: Vec<Listener> = listeners()?.into_iter().filter(|it| !ours.contains(&it.address)).collect();
    let holders = holders(theirs.iter().map(|listener| listener.inode).collect());
    let strangers = theirs
        .into_iter()
        .map(|listener| Stranger { listens_on: listener.address, process: holders.get(&listener.inode).cloned() });
    let is_ours = |it: &Stranger| it.process.as_ref().is_some_and(|(pid, _)| our_pids.contains(pid));
    Ok(strangers.filter(|stranger| !is_ours(stranger)).collect())
}

/// Pairs the wanted addresses with the listeners that keep them from being bound.
fn conflicts(
    wanted: &BTreeSet<SocketAddr>,
    ours: &BTreeSet<SocketAddr>,
    listeners: &[Listener],
) -> BTreeMap<SocketAddr, Listener> {
    let stands_in_the_way = |wanted: &SocketAddr, listener: &&Listener| {
        !ours.contains(&listener.address) && overlap(*wanted, listener.address)
    };
    let found = wanted.iter().filter_map(|wanted| {
        let listener = listeners.iter().find(|listener| stands_in_the_way(wanted, listener))?;
        Some((*wanted, listener.clone()))
    });
    found.collect()
}

/// Reads all listening TCP sockets of this network namespace.
fn listeners() -> io::Result<Vec<Listener>> {
    let mut found = parse(&fs::read_to_string("/proc/net/tcp")?);
    match fs::read_to_string("/proc/net/tcp6") {
        Ok(table) => found.extend(parse(&table)),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

/// Reads a table of the form of `/proc/net/tcp` (proc_net_tcp(5)).
fn parse(table: &str) -> Vec<Listener> {
    let listener = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let is_listening = *state == LISTEN;
        is_listening.then_some(Listener { address: address(local)?, inode: inode.parse().ok()? })
    };
    table.lines().skip(1).filter_map(listener).collect()
}

/// Reads `0100007F:1F90`: the address as 32-bit numbers in the machine's order, the port as it is.
fn address(text: &str) -> Option<SocketAddr> {
    let (digits, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for start in (0..digits.len()).step_by(8) {
        let word = u32::from_str_radix(digits.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// Finds the processes that hold these sockets, as far as they may be looked into.
fn holders(inodes: BTreeSet<u64>) -> BTreeMap<u64, (u32, String)> {
    let mut found = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for (pid, path) in processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))) {
        let held = sockets_of(&path);
        for inode in inodes.intersection(&held) {
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default().trim_end().to_owned();
            found.insert(*inode, (pid, name));
        }
    }
    found
}

/// The inodes of the sockets that a process holds.
fn sockets_of(process: &Path) -> BTreeSet<u64> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let socket = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    descriptors.filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn set(addresses: &[&str]) -> BTreeSet<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn a_listener_of_somebody_else_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let wanted = BTreeSet::from([address]);
        let pid = std::process::id();
        let found = strangers(&wanted, &BTreeSet::new(), &BTreeSet::new()).unwrap();
        assert_eq!(found[&address].listens_on, address);
        assert_eq!(found[&address].process.as_ref().unwrap().0, pid);
        assert!(strangers(&wanted, &BTreeSet::new(), &[pid].into()).unwrap().is_empty());
        assert!(strangers(&wanted, &wanted, &BTreeSet::new()).unwrap().is_empty());
        let is_other = |ours: &BTreeSet<SocketAddr>, pids: &BTreeSet<u32>| {
            others(ours, pids).unwrap().iter().any(|other| other == &found[&address])
        };
        assert!(is_other(&BTreeSet::new(), &BTreeSet::new()));
        assert!(!is_other(&wanted, &BTreeSet::new()) && !is_other(&BTreeSet::new(), &[pid].into()));
        drop(listener);
        assert!(strangers(&wanted, &BTreeSet::new(), &BTreeSet::new()).unwrap().is_empty());
    }

    #[test]
    fn wildcards_are_in_the_way_of_the_addresses_they_cover() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        for (left, right, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "192.0.2.1:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("[::1]:1", "0.0.0.0:1", false),
            ("[::1]:1", "[::]:1", true),
        ] {
            assert_eq!(overlap(at(left), at(right)), expected, "{left} {right}");
        }
    }

    #[test]
    fn only_listening_sockets_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 00000000:7530 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0\n\
            1: 00000000:7531 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0 100 0\n";
        let found = parse(table);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].address, found[0].inode), ("0.0.0.0:30000".parse().unwrap(), 4242));
        assert!(conflicts(&set(&["127.0.0.1:30000"]), &set(&["0.0.0.0:30000"]), &found).is_empty());
    }
}
