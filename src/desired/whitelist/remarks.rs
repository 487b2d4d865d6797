//! What somebody should know about entries that are well formed: they may not be what they look like.

use std::rc::Rc;

use ipnet::IpNet;

use super::super::diagnostic::Severity;
use super::super::findings::Findings;
use super::super::values::Peer;
use super::text::Line;

/// An entry of a whitelist.
pub struct Entry<'l> {
    /// The entry, as it was written.
    pub peer: Peer,
    /// Where it stands.
    pub at: At<'l>,
}

/// Where an entry stands.
pub enum At<'l> {
    /// In the document, at this path.
    Document(String),
    /// On a line of a list that the document names at this path.
    List(Line<'l>, Rc<str>),
}

/// Warns about what is remarkable in one whitelist.
pub fn remark(findings: &mut Findings<'_>, entries: &[Entry<'_>]) {
    for entry in entries {
        host_bits(findings, entry);
        if entry.peer.0.prefix_len() == 0 {
            let message = format!("`{}` lets the whole world in", entry.peer.0);
            entry.warn(findings, &message, "name the networks that are meant");
        }
    }
    private(findings, entries);
    overlaps(findings, entries);
}

fn host_bits(findings: &mut Findings<'_>, entry: &Entry<'_>) {
    let peer = entry.peer;
    if peer.has_host_bits() {
        let message = format!("`{}` has host bits; it is read as `{}`", peer.0, peer.network());
        let help = format!("write `{}`, or `{}` if one address is meant", peer.network(), peer.0.addr());
        entry.warn(findings, &message, &help);
    }
}

/// Says once for a whitelist that it names addresses that nobody on the internet has.
fn private(findings: &mut Findings<'_>, entries: &[Entry<'_>]) {
    const HELP: &str = "right for a local network or a VPN; clients on the internet come from their public addresses";
    let mut private = entries.iter().filter(|entry| is_private(entry.peer.network()));
    let Some(first) = private.next() else { return };
    let network = first.peer.network();
    let message = match private.count() {
        0 => format!("`{network}` is a private network"),
        more => format!("`{network}` is a private network, and so are {more} more entries of this whitelist"),
    };
    first.warn(findings, &message, HELP);
}

/// Whether every address of a network is one that is not routed on the internet.
fn is_private(network: IpNet) -> bool {
    match network {
        IpNet::V4(network) => [network.network(), network.broadcast()].iter().all(|address| {
            let is_shared = address.octets()[0] == 100 && (64..128).contains(&address.octets()[1]);
            address.is_private() || address.is_link_local() || is_shared
        }),
        IpNet::V6(network) => [network.network(), network.broadcast()]
            .iter()
            .all(|address| address.is_unique_local() || address.is_unicast_link_local()),
    }
}

/// Warns about entries that another one of the whitelist makes needless.
///
/// Networks either hold one another or share nothing: once they are sorted, those that hold the present one lie on a
/// stack.
fn overlaps(findings: &mut Findings<'_>, entries: &[Entry<'_>]) {
    let mut sorted: Vec<(IpNet, &Entry<'_>)> = entries.iter().map(|entry| (entry.peer.network(), entry)).collect();
    // Stable: of two that are the same, the first stays the first.
    sorted.sort_by_key(|(network, _)| (network.network(), network.prefix_len()));
    let mut around: Vec<(IpNet, &Entry<'_>)> = Vec::new();
    for (network, entry) in sorted {
        while around.last().is_some_and(|(outer, _)| !outer.contains(&network)) {
            around.pop();
        }
        match around.last() {
            Some((outer, first)) if *outer == network => {
                let message = format!("`{network}` is there twice; the first time {}", first.place(findings));
                entry.warn(findings, &message, "remove one of the two");
            }
            Some((outer, holder)) => {
                let message = format!("`{network}` is within `{outer}`, {}", holder.place(findings));
                entry.warn(findings, &message, "remove the smaller one, or make the larger one smaller");
                around.push((network, entry));
            }
            None => around.push((network, entry)),
        }
    }
}

impl Entry<'_> {
    fn warn(&self, findings: &mut Findings<'_>, message: &str, help: &str) {
        match &self.at {
            At::Document(path) => findings.warn(findings.find(path), message, help),
            At::List(line, path) => {
                findings.take(vec![line.diagnostic(Severity::Warning, path, (message, help))]);
            }
        }
    }

    /// Where it stands, for people.
    fn place(&self, findings: &Findings<'_>) -> String {
        match &self.at {
            At::Document(path) => format!("on line {}", findings.tree().node(findings.find(path)).span.line),
            At::List(line, _) => line.to_string(),
        }
    }
}
