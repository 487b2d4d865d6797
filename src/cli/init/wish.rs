//! What the first desired state is to say: as options say it, and with everything settled.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use crate::desired::country::Country;
use crate::desired::values::{Peer, SshPeer};
use crate::desired::{DriverChoice, PoolName};
use crate::error::Kind;
use crate::observe::{Door, Visitor};

use super::super::Told;

/// How many nodes a first pool has.
pub const SIZE: u16 = 5;
/// The port of SSH where nothing else is known.
const SSH: u16 = 22;
const HEADING: &str = "The desired state";

/// What options say of it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = HEADING)]
pub struct Options {
    /// The pool's name; its nodes are called NAME-0, NAME-1 and so on
    #[arg(long, value_name = "NAME", default_value = "pool")]
    pub pool_name: PoolName,
    /// How many nodes it has [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub pool_size: Option<u16>,
    /// From which countries its nodes may leave the Tor network: codes as in `de,nl` [default: any]
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    pub countries: Option<Vec<Country>>,
    /// Where its nodes listen [default: 127.0.0.1; with --socks-allow every address of the host]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<IpAddr>,
    /// The first node's port; the others have those behind it
    #[arg(long, value_name = "PORT", default_value = "30000", value_parser = clap::value_parser!(u16).range(1..))]
    pub socks_port: u16,
    /// Who may use the nodes: addresses and networks [default: this host alone]
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',')]
    pub socks_allow: Option<Vec<Peer>>,
    /// Who may look at the status page: addresses and networks [default: this host alone]
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',')]
    pub panel_allow: Option<Vec<Peer>>,
    /// Who alone may reach SSH: addresses and networks, or `any` [default: SSH is left alone]
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', conflicts_with = "no_firewall")]
    pub ssh_allow: Option<Vec<SshPeer>>,
    /// The ports of SSH, for --ssh-allow [default: 22, and those of the sessions that run]
    #[arg(long, value_name = "PORTS", value_delimiter = ',', requires = "ssh_allow", value_parser = clap::value_parser!(u16).range(1..))]
    pub ssh_ports: Option<Vec<u16>>,
    /// Which driver keeps the firewall [default: auto]
    #[arg(long, value_name = "DRIVER", value_parser = PossibleValuesParser::new(DRIVERS.map(DriverChoice::name))
        .map(|name| DriverChoice::named(&name).unwrap_or_default()))]
    pub driver: Option<DriverChoice>,
    /// Keep no firewall: you guard the ports yourself; as --driver none
    #[arg(long, conflicts_with = "driver")]
    pub no_firewall: bool,
}

/// Every driver that can be chosen.
const DRIVERS: [DriverChoice; 6] = [
    DriverChoice::Auto,
    DriverChoice::Nftables,
    DriverChoice::Iptables,
    DriverChoice::Ufw,
    DriverChoice::Firewalld,
    DriverChoice::None,
];

/// What it says.
#[derive(Debug, Clone)]
pub struct Wish {
    pub pool: PoolName,
    pub size: u16,
    pub countries: Vec<Country>,
    pub listen: IpAddr,
    pub socks_port: u16,
    pub socks: Vec<Peer>,
    pub panel: Vec<Peer>,
    pub ssh: Option<Ssh>,
    pub driver: DriverChoice,
}

/// Who alone may reach SSH.
#[derive(Debug, Clone)]
pub struct Ssh {
    pub ports: BTreeSet<u16>,
    pub allow: Vec<SshPeer>,
}

impl Options {
    /// Settles what no option says. Refuses nodes that others could reach where nobody is named, and a whitelist of SSH
    /// that would lock out who is inside.
    pub fn settle(self, inside: &BTreeSet<Visitor>) -> Result<Wish, Told> {
        let socks = self.socks_allow.unwrap_or_default();
        let listen = self.listen.unwrap_or_else(|| everywhere_for(&socks));
        if !listen.is_loopback() && socks.is_empty() {
            return Err(usage(format!(
                "at {listen} the nodes would be reached by others, and nobody is named who may: \
                 name them with --socks-allow, or leave --listen away"
            )));
        }
        let ssh = match self.ssh_allow {
            Some(allow) => Some(Ssh::settle(allow, self.ssh_ports, inside)?),
            None => None,
        };
        let driver = if self.no_firewall { DriverChoice::None } else { self.driver.unwrap_or_default() };
        if ssh.is_some() && driver == DriverChoice::None {
            return Err(usage("--ssh-allow needs a firewall that is kept: take another --driver".to_owned()));
        }
        Ok(Wish {
            pool: self.pool_name,
            size: self.pool_size.unwrap_or(SIZE),
            countries: self.countries.unwrap_or_default(),
            listen,
            socks_port: self.socks_port,
            socks,
            panel: self.panel_allow.unwrap_or_default(),
            ssh,
            driver,
        })
    }
}

/// Where nodes listen for others: on every address of the host, of the family that the others have.
fn everywhere_for(socks: &[Peer]) -> IpAddr {
    match socks {
        [] => Ipv4Addr::LOCALHOST.into(),
        all if all.iter().all(|peer| peer.0.addr().is_ipv6()) => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

impl Ssh {
    fn settle(allow: Vec<SshPeer>, ports: Option<Vec<u16>>, inside: &BTreeSet<Visitor>) -> Result<Self, Told> {
        let used = inside.iter().filter_map(|visitor| match visitor.door {
            Door::Ssh(port) => Some((visitor.address, port)),
            Door::Panel => None,
        });
        let used: Vec<(IpAddr, u16)> = used.collect();
        let known = || used.iter().map(|(_, port)| *port).chain([SSH]).collect();
        let ports = ports.map_or_else(known, BTreeSet::from_iter);
        let lets_in = |address: IpAddr| {
            allow.iter().any(|peer| match peer {
                SshPeer::Any => true,
                SshPeer::Peer(peer) => peer.network().contains(&address.to_canonical()),
            })
        };
        match used.iter().find(|(address, port)| ports.contains(port) && !lets_in(*address)) {
            Some((address, port)) => Err(usage(format!(
                "{address} uses SSH (port {port}) now and would be locked out: add it to --ssh-allow, or leave that away; \
                 nothing was made"
            ))),
            None => Ok(Self { ports, allow }),
        }
    }
}

impl Wish {
    /// Whether nobody but this host can reach its nodes.
    pub fn is_for_this_host(&self) -> bool {
        self.listen.is_loopback()
    }

    /// What is allowed and may not be meant.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let is_other_family = |peer: &&Peer| peer.0.addr().is_ipv6() != self.listen.is_ipv6();
        if let Some(peer) = self.socks.iter().find(is_other_family).filter(|_| !self.is_for_this_host()) {
            remarks.push(format!(
                "{} cannot reach nodes that listen on {}: give those clients a pool of their own",
                peer.0, self.listen
            ));
        }
        if !self.socks.is_empty() && self.is_for_this_host() {
            remarks.push(format!("the nodes listen on {} alone, so access.socks lets nobody else in", self.listen));
        }
        remarks
    }
}

fn usage(message: String) -> Told {
    Told { kind: Kind::Usage, message }
}
