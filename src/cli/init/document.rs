//! The text of a first desired state. Pure.

use std::fmt::Display;

use crate::desired::values::{Peer, SshPeer};

use super::repository::SCHEMA;
use super::wish::{Ssh, Wish};

/// How wide a line is before its comment, where it is not longer.
const VALUES: usize = 33;

/// Writes the file, with a word on each line that somebody will want to change.
pub fn text(wish: &Wish) -> String {
    format!("{}\nversion: 1\n\n{}\n{}\n{}", head(), pool(wish), access(wish), firewall(wish))
}

fn head() -> String {
    format!(
        "# yaml-language-server: $schema={SCHEMA}\n\
         #\n\
         # The desired state of one host. To change the pool, change this file and commit it; to go back, revert the commit.\n\
         # `exitpool validate pool.yaml` says what is wrong with it, and the schema beside it has every field.\n"
    )
}

fn pool(wish: &Wish) -> String {
    let Wish { pool, size, listen, socks_port, .. } = wish;
    let (last, last_port) = (size - 1, u32::from(*socks_port) + u32::from(*size) - 1);
    let reach = if wish.is_for_this_host() { "this host alone" } else { "who may come is said in access.socks" };
    let countries = match wish.countries.as_slice() {
        [] => remark("    # countries: [de, nl]", "any; with this line, leave from these or not at all"),
        all => remark(&format!("    countries: {}", list(all.iter())), "leave from these or not at all"),
    };
    let lines = [
        "pools:\n".to_owned(),
        format!("  - name: {pool}\n"),
        remark(&format!("    size: {size}"), &format!("nodes {pool}-0 … {pool}-{last}")),
        countries,
        remark(&format!("    listen: {}", word(listen)), reach),
        remark(&format!("    socks_port: {socks_port}"), &format!("{socks_port} … {last_port}")),
    ];
    lines.concat()
}

fn access(wish: &Wish) -> String {
    let socks = remark(
        &format!("  socks: {}", peers(&wish.socks)),
        "who may use the nodes besides this host: addresses and networks",
    );
    let panel = remark(
        &format!("  panel: {}", peers(&wish.panel)),
        "who may look at the status page; the daemon's --listen says where it is",
    );
    let ssh = match &wish.ssh {
        None => "  # SSH is left alone. A whitelist for it is: ssh: {allow: [198.51.100.7]}\n".to_owned(),
        Some(Ssh { ports, allow }) => {
            let allow = allow.iter().map(|peer| match peer {
                SshPeer::Any => "any".to_owned(),
                SshPeer::Peer(peer) => network(peer),
            });
            let value = format!("  ssh: {{ports: {}, allow: {}}}", list(ports.iter()), list(allow));
            remark(&value, "who alone may reach SSH")
        }
    };
    format!("access:\n{socks}{panel}{ssh}")
}

fn firewall(wish: &Wish) -> String {
    let name = wish.driver.name();
    let meaning = match name {
        "auto" => "whichever this host has",
        "none" => "no firewall is kept: you guard the ports yourself",
        _ => "or auto, nftables, iptables, ufw, firewalld, none",
    };
    format!("firewall:\n{}", remark(&format!("  driver: {name}"), meaning))
}

fn remark(line: &str, comment: &str) -> String {
    format!("{line:<VALUES$} # {comment}\n")
}

fn peers(peers: &[Peer]) -> String {
    list(peers.iter().map(network))
}

/// A network, or an address alone.
fn network(peer: &Peer) -> String {
    let network = peer.network();
    match network.prefix_len() == network.max_prefix_len() {
        true => word(&network.addr()),
        false => word(&network),
    }
}

/// A colon within a word means something in YAML.
fn word(value: &impl Display) -> String {
    let text = value.to_string();
    if text.contains(':') { format!("\"{text}\"") } else { text }
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}
