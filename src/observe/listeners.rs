//! Listening TCP sockets of others, at the addresses that nodes want; and who is connected to SSH.
//!
//! The kernel's tables name addresses and inodes, and that is all that is read while nobody is in the way. Only then the
//! descriptors of all processes are searched for the one who is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::{Door, Stranger, Visitor, overlap};

/// The state of a listening socket in the kernel's tables.
const LISTEN: &str = "0A";

/// The state of a connection that stands.
const ESTABLISHED: &str = "01";
/// How sshd calls a process of a connection whose user is not known yet.
const BEFORE_LOGIN: [&str; 3] = ["[accepted]", "[net]", "[preauth]"];

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

/// Finds who is connected from outside to the ports of SSH: those given, and those of an sshd, as far as it can be seen.
///
/// Somebody who has not logged in is no session, where that can be seen: it takes a look into sshd's processes.
pub fn sessions(is_ssh: impl Fn(u16) -> bool) -> io::Result<BTreeSet<Visitor>> {
    let tables = tables()?;
    let servers = ssh_ports(&parse(&tables));
    let connected = |connection: &Connection| {
        let port = connection.local.port();
        (is_ssh(port) || servers.contains(&port))
            && connection.remote.ip() != connection.local.ip()
            && !connection.remote.ip().is_loopback()
    };
    let connections: Vec<Connection> = connections(&tables).into_iter().filter(connected).collect();
    if connections.is_empty() {
        return Ok(BTreeSet::new());
    }
    let strangers = before_login(&connections.iter().map(|connection| connection.inode).collect());
    let sessions = connections.into_iter().filter(|connection| !strangers.contains(&connection.inode));
    Ok(sessions.map(|it| Visitor { address: it.remote.ip(), door: Door::Ssh(it.local.port()) }).collect())
}

/// The ports on which an SSH server listens, as far as it can be seen.
fn ssh_ports(listeners: &[Listener]) -> BTreeSet<u16> {
    let holders = holders(listeners.iter().map(|listener| listener.inode).collect());
    let is_ssh = |it: &&Listener| holders.get(&it.inode).is_some_and(|(_, name)| name == "sshd");
    listeners.iter().filter(is_ssh).map(|listener| listener.address.port()).collect()
}

/// The connections that a process of sshd holds which waits for a login.
fn before_login(inodes: &BTreeSet<u64>) -> BTreeSet<u64> {
    let waits = |process: &Path| {
        let title = fs::read(process.join("cmdline")).unwrap_or_default();
        let title = String::from_utf8_lossy(&title).into_owned();
        title.starts_with("sshd") && BEFORE_LOGIN.iter().any(|word| title.contains(word))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let waiting = processes.filter(|path| waits(path)).flat_map(|path| sockets_of(&path));
    waiting.filter(|inode| inodes.contains(inode)).collect()
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

/// A connection that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
    inode: u64,
}

/// Reads all listening TCP sockets of this network namespace.
fn listeners() -> io::Result<Vec<Listener>> {
    Ok(parse(&tables()?))
}

/// Reads the connections of tables that stand.
fn connections(tables: &str) -> Vec<Connection> {
    let connection = |line: &str| {
        let (fields, inode) = of_state(line, ESTABLISHED)?;
        Some(Connection { local: address(fields[1])?, remote: address(fields[2])?, inode })
    };
    tables.lines().filter_map(connection).collect()
}

/// The tables of IPv4 and of IPv6.
fn tables() -> io::Result<String> {
    let mut tables = fs::read_to_string("/proc/net/tcp")?;
    match fs::read_to_string("/proc/net/tcp6") {
        Ok(table) => tables.push_str(&table),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(tables)
}

/// Reads the listening sockets of tables of the form of `/proc/net/tcp` (proc_net_tcp(5)).
fn parse(tables: &str) -> Vec<Listener> {
    let listener = |line: &str| {
        let (fields, inode) = of_state(line, LISTEN)?;
        Some(Listener { address: address(fields[1])?, inode })
    };
    tables.lines().filter_map(listener).collect()
}

/// The fields of a line with that state, up to the state, and its inode; a heading has another word there.
fn of_state<'a>(line: &'a str, state: &str) -> Option<([&'a str; 4], u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let first = <[&str; 4]>::try_from(fields.get(..4)?).ok()?;
    (first[3] == state).then_some(())?;
    Some((first, fields.get(9)?.parse().ok()?))
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
    fn a_connection_from_outside_to_its_port_is_a_session() {
        assert_eq!(
            Visitor::of_ssh("2001:db8::7 50000 192.0.2.1 2222"),
            Some(Visitor { address: "2001:db8::7".parse().unwrap(), door: Door::Ssh(2_222) })
        );
        let short = Visitor::of_ssh("::ffff:198.51.100.7 50000 22").unwrap();
        assert_eq!((short.address.to_string().as_str(), short.door), ("198.51.100.7", Door::Ssh(22)));
        assert_eq!((Visitor::of_ssh("198.51.100.7 50000"), Visitor::of_ssh("")), (None, None));
        let line = "0: 0100000A:0016 0200000A:C350 01 00000000:00000000 00:00000000 00000000 0 0 77 1 0 100 0\n";
        let (fields, inode) = of_state(line, ESTABLISHED).unwrap();
        assert_eq!((address(fields[1]), inode), ("10.0.0.1:22".parse().ok(), 77));
        assert_eq!(of_state(line, LISTEN), None);
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
