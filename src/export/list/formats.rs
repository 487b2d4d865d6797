//! The formats, one function each. What a client would take for leave to connect directly is never written.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::super::wire::ListDocument;
use super::{Host, List, Unwritable};

/// What a table has for what nobody knows.
const UNKNOWN: &str = "";

/// A URL a line.
pub(super) fn txt(list: &List) -> String {
    list.entries.iter().map(|entry| format!("{}\n", entry.url())).collect()
}

/// A table with a header. No value has a comma, a quote or a line end in it, so none is quoted.
pub(super) fn csv(list: &List) -> String {
    let mut text = "pool,node,url,host,port,country,exit,latency_ms,state\n".to_owned();
    for entry in &list.entries {
        let known = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
        let country = known(entry.country.map(|country| country.to_string()));
        let exit = known(entry.exit.map(|exit| exit.to_string()));
        let latency = known(entry.latency_ms.map(|latency| latency.to_string()));
        let (url, state) = (entry.url(), entry.state);
        let _ = writeln!(
            text,
            "{},{},{url},{},{},{country},{exit},{latency},{state}",
            entry.pool, entry.node, entry.host, entry.port
        );
    }
    text
}

/// The document of `schema/export.v1.schema.json`.
pub(super) fn json(list: &List) -> String {
    serde_json::to_string(&ListDocument::from(list)).unwrap_or_default()
}

/// A whole configuration of proxychains-ng (its `src/proxychains.conf` has the words): each connection takes one node,
/// by chance, and hands it the name. Nodes are addresses: it takes no name for a first proxy.
pub(super) fn proxychains(list: &List) -> Result<String, Unwritable> {
    let mut text = "# each connection through one of these nodes, by chance; names are resolved by the exit\n\
                    random_chain\nchain_len = 1\nproxy_dns\nremote_dns_subnet 224\n\
                    tcp_read_time_out 60000\ntcp_connect_time_out 30000\n\n[ProxyList]\n"
        .to_owned();
    for entry in &list.entries {
        match &entry.host {
            Host::Address(address) => drop(writeln!(text, "socks5 {address} {}", entry.port)),
            Host::Name(name) => return Err(Unwritable::Name(name.clone())),
        }
    }
    if list.entries.is_empty() { Err(empty("proxychains")) } else { Ok(text) }
}

/// A proxy auto-configuration file: a browser keeps to one node for a site, and takes the next where that one fails.
///
/// `SOCKS5` is what Chromium and Firefox call a proxy that resolves names; a bare `SOCKS` is another protocol to one of
/// them. There is no `DIRECT` in it.
pub(super) fn pac(list: &List) -> Result<String, Unwritable> {
    if list.entries.is_empty() {
        return Err(empty("a browser"));
    }
    let nodes: Vec<String> = list.entries.iter().map(|entry| format!("  \"SOCKS5 {}\"", entry.authority())).collect();
    let nodes = nodes.join(",\n");
    Ok(format!(
        "var nodes = [\n{nodes}\n];\n\n\
         function FindProxyForURL(url, host) {{\n\
         \x20 var sum = 0;\n\
         \x20 for (var at = 0; at < host.length; at++) {{\n\
         \x20   sum = (sum * 31 + host.charCodeAt(at)) % 65521;\n\
         \x20 }}\n\
         \x20 var first = sum % nodes.length;\n\
         \x20 return nodes.slice(first).concat(nodes.slice(0, first)).join(\"; \");\n\
         }}\n"
    ))
}

/// A configuration of curl (`curl --config`): the first node, for every host, whatever the environment says.
pub(super) fn curl(list: &List) -> Result<String, Unwritable> {
    let first = list.entries.first().ok_or_else(|| empty("curl"))?;
    Ok(format!("# {}\nproxy = \"{}\"\nnoproxy = \"\"\n", first.node, first.url()))
}

fn empty(client: &'static str) -> Unwritable {
    Unwritable::Empty(client)
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}
