//! The namespaces, the addresses inside, and the link between the pool and its clients.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde_json::Value;
use tokio::process::Command;

use super::estate::{self, Record};
use super::layout::Layout;
use super::programs::{Programs, aside, run};
use super::{Error, Peer};

/// The /24s of 198.18.0.0/15, the range that is kept for benchmarks: nobody's real network is there.
const RANGES: u16 = 512;
/// The most addresses that clients have.
const MOST_CLIENTS: u8 = 200;

/// The link between the pool and its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The pool's address.
    pub server: IpAddr,
    /// The clients' addresses.
    pub clients: Vec<IpAddr>,
    /// The range that they are in.
    range: Ipv4Net,
}

impl Link {
    /// Numbers the ends of a link.
    fn new(range: Ipv4Net, clients: u8) -> Self {
        let [a, b, c, _] = range.network().octets();
        let address = |last| IpAddr::from([a, b, c, last]);
        Self { server: address(1), clients: (2..2 + clients).map(address).collect(), range }
    }
}

/// Makes the namespaces and connects them.
pub async fn build(programs: &Programs, record: &Record, layout: &Layout, peer: Peer) -> Result<Link, Error> {
    let clients = peer.addresses();
    if clients == 0 || clients > MOST_CLIENTS {
        return Err(Error::Addresses { wanted: clients, most: MOST_CLIENTS });
    }
    add_namespace(programs, &record.pool_namespace()).await?;
    let link = match peer {
        Peer::Host { .. } => connect_to_host(programs, record, clients).await?,
        Peer::Namespace { .. } => connect_to_namespace(programs, record, clients).await?,
    };
    let inside = pool_side(record, layout, &link);
    in_namespace(programs, &record.pool_namespace(), &inside).await?;
    Ok(link)
}

/// Makes a namespace.
async fn add_namespace(programs: &Programs, name: &str) -> Result<(), Error> {
    let made = run(Command::new(&programs.ip).args(["netns", "add", name]), "").await;
    made.map(drop).map_err(|error| match error {
        Error::Command { said, .. } => Error::Namespaces { said },
        other => other,
    })
}

/// Connects the pool's namespace with the host, by a range that the host does not use.
async fn connect_to_host(programs: &Programs, record: &Record, clients: u8) -> Result<Link, Error> {
    // Two networks that start at once would both find the same range free.
    let _lock = aside(estate::lock).await?;
    let used = used_ranges(programs).await?;
    let range = free_range(&used).ok_or(Error::NoRange)?;
    let link = Link::new(range, clients);
    batch(Command::new(&programs.ip), &client_side(record, &link)).await?;
    Ok(link)
}

/// Connects the pool's namespace with one for clients; the host sees nothing of it.
async fn connect_to_namespace(programs: &Programs, record: &Record, clients: u8) -> Result<Link, Error> {
    let namespace = record.client_namespace();
    add_namespace(programs, &namespace).await?;
    let link = Link::new(nth_range(0), clients);
    let mut lines = client_side(record, &link);
    lines.push("link set lo up".to_owned());
    in_namespace(programs, &namespace, &lines).await?;
    Ok(link)
}

/// What is done on the clients' side: the link, and its addresses there.
fn client_side(record: &Record, link: &Link) -> Vec<String> {
    let (name, end, pool) = (record.link('c'), record.link('s'), record.pool_namespace());
    let mut lines = vec![format!("link add {name} type veth peer name {end} netns {pool}")];
    lines.extend(link.clients.iter().map(|address| format!("address add {address}/24 dev {name}")));
    lines.push(format!("link set {name} up"));
    lines
}

/// What is done on the pool's side: the addresses of relays, and the link's.
fn pool_side(record: &Record, layout: &Layout, link: &Link) -> Vec<String> {
    let end = record.link('s');
    let mut lines = vec!["link set lo up".to_owned()];
    lines.extend(layout.addresses().map(|address| format!("address add {address}/32 dev lo")));
    lines.push(format!("address add {}/24 dev {end}", link.server));
    lines.push(format!("link set {end} up"));
    lines
}

/// Runs lines of `ip` in a namespace.
async fn in_namespace(programs: &Programs, namespace: &str, lines: &[String]) -> Result<(), Error> {
    let mut command = Command::new(&programs.ip);
    command.args(["-netns", namespace]);
    batch(command, lines).await
}

/// Runs lines of `ip` in one process.
async fn batch(mut command: Command, lines: &[String]) -> Result<(), Error> {
    let input = lines.join("\n") + "\n";
    run(command.args(["-batch", "-"]), &input).await.map(drop)
}

/// Lists the ranges that the host has addresses in or routes to.
async fn used_ranges(programs: &Programs) -> Result<Vec<Ipv4Net>, Error> {
    let arguments = ["-json", "-4", "route", "show", "table", "all"];
    let text = run(Command::new(&programs.ip).args(arguments), "").await?;
    parse_routes(&text).ok_or_else(|| Error::Unreadable { what: "the routes that `ip` lists".to_owned(), text })
}

/// Reads the destinations out of `ip -json route`; an address is a route to itself.
fn parse_routes(text: &str) -> Option<Vec<Ipv4Net>> {
    let routes: Vec<Value> = serde_json::from_str(text.trim()).ok()?;
    let destinations = routes.iter().filter_map(|route| route["dst"].as_str());
    let range = |text: &str| text.parse().ok().or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from));
    Some(destinations.filter_map(range).collect())
}

/// Finds a range that none of these overlaps; the default route overlaps nothing.
fn free_range(used: &[Ipv4Net]) -> Option<Ipv4Net> {
    let overlaps = |a: &Ipv4Net, b: &Ipv4Net| a.contains(b) || b.contains(a);
    (0..RANGES).map(nth_range).find(|range| !used.iter().any(|used| used.prefix_len() > 0 && overlaps(used, range)))
}

/// The nth /24 of 198.18.0.0/15.
fn nth_range(number: u16) -> Ipv4Net {
    let [high, low] = number.to_be_bytes();
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18 + high, low, 0), 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_free_when_no_route_touches_it() {
        let routes = r#"[{"dst":"default","gateway":"192.0.2.1"},{"dst":"198.18.0.0/24"},{"dst":"198.18.1.7"},
                         {"type":"local","dst":"198.18.2.0/23"}]"#;
        let used = parse_routes(routes).unwrap();
        assert_eq!(used.len(), 3);
        assert_eq!(free_range(&used).unwrap().to_string(), "198.18.4.0/24");
        assert_eq!(free_range(&["198.18.0.0/16".parse().unwrap()]).unwrap().to_string(), "198.19.0.0/24");
        assert_eq!(free_range(&["198.18.0.0/15".parse().unwrap()]), None);
    }

    #[test]
    fn the_addresses_of_a_link_are_all_different() {
        let link = Link::new(nth_range(511), MOST_CLIENTS);
        assert_eq!(link.server.to_string(), "198.19.255.1");
        assert_eq!(link.clients.len(), 200);
        assert_eq!(link.clients.last().unwrap().to_string(), "198.19.255.201");
    }
}
