//! Whitelists: what a document and its lists say together, as networks, and what somebody should know about it.
//!
//! Everything that is wrong is reported, in the document or in the list where it stands. The time it takes grows with the
//! number of entries and no faster, but for sorting them.

mod remarks;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::document::{AccessDocument, Allowed};
use super::findings::Findings;
use super::lists::{Lists, MAX_LISTS};
use super::values::{ListPath, Peer, SshPeer};
use remarks::{At, Entry};
use text::Text;

/// As many entries as one whitelist has at most, its lists counted in; the tools of the firewall take seconds for these.
pub const MAX_ENTRIES: usize = 100_000;

/// The whitelists of a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Whitelists {
    /// Who may reach the SOCKS ports.
    pub socks: BTreeSet<IpNet>,
    /// Who may reach the status page.
    pub panel: BTreeSet<IpNet>,
    /// Who may reach SSH; `None` where it is left alone, since nothing is said of it or anybody may come.
    pub ssh: Option<BTreeSet<IpNet>>,
}

/// Says what the whitelists of a document mean, and reports what is wrong or remarkable.
pub fn resolve(findings: &mut Findings<'_>, access: &AccessDocument, lists: &Lists) -> Whitelists {
    let texts = read(findings, lists);
    let mut resolver = Resolver { findings, lists, texts: &texts, told: BTreeSet::new() };
    let plain = |allowed: &Allowed<Peer>| match allowed {
        Allowed::Entry(peer) => Some(Item::Peer(*peer)),
        Allowed::File(path) => Some(Item::List(path.clone())),
    };
    let of_ssh = |allowed: &Allowed<SshPeer>| match allowed {
        Allowed::Entry(SshPeer::Any) => None,
        Allowed::Entry(SshPeer::Peer(peer)) => Some(Item::Peer(*peer)),
        Allowed::File(path) => Some(Item::List(path.clone())),
    };
    let socks = resolver.resolve("access.socks", access.socks.iter().map(plain));
    let panel = resolver.resolve("access.panel", access.panel.iter().map(plain));
    let ssh = access.ssh.as_ref().and_then(|ssh| {
        let networks = resolver.resolve("access.ssh.allow", ssh.allow.iter().map(of_ssh));
        let is_open = ssh.allow.contains(&Allowed::Entry(SshPeer::Any));
        (!is_open).then_some(networks)
    });
    Whitelists { socks, panel, ssh }
}

/// Warns about what is remarkable in a list of addresses that takes no files.
pub fn remark(findings: &mut Findings<'_>, path: &str, peers: &[Peer]) {
    let entry = |(at, peer): (usize, &Peer)| Entry { peer: *peer, at: At::Document(format!("{path}[{at}]")) };
    let entries: Vec<Entry<'_>> = peers.iter().enumerate().map(entry).collect();
    remarks::remark(findings, &entries);
}

/// An item of a whitelist, whatever it is a whitelist of.
enum Item {
    Peer(Peer),
    List(ListPath),
}

/// Reads the lists that could be had as text. What is no text is reported here, once.
fn read<'l>(findings: &mut Findings<'_>, lists: &'l Lists) -> BTreeMap<&'l ListPath, Text<'l>> {
    let mut texts = BTreeMap::new();
    for (path, content) in lists.iter() {
        let Ok(bytes) = content else { continue };
        match Text::read(path.beside(findings.file()), bytes) {
            Ok(text) => _ = texts.insert(path, text),
            Err(diagnostic) => findings.take(vec![*diagnostic]),
        }
    }
    texts
}

struct Resolver<'a, 'f, 't> {
    findings: &'a mut Findings<'f>,
    lists: &'t Lists,
    texts: &'t BTreeMap<&'t ListPath, Text<'t>>,
    /// The lists whose errors have been told: a list may stand in two whitelists.
    told: BTreeSet<ListPath>,
}

impl<'t> Resolver<'_, '_, 't> {
    fn resolve(&mut self, whitelist: &str, items: impl Iterator<Item = Option<Item>>) -> BTreeSet<IpNet> {
        let mut entries = Vec::new();
        let mut named = BTreeSet::new();
        for (at, item) in items.enumerate() {
            let path = format!("{whitelist}[{at}]");
            match item {
                None => {}
                Some(Item::Peer(peer)) => entries.push(Entry { peer, at: At::Document(path) }),
                Some(Item::List(list)) if named.insert(list.clone()) => entries.extend(self.entries(&path, &list)),
                Some(Item::List(list)) => {
                    let node = self.findings.find(&path);
                    self.findings.warn(node, format!("`{list}` is named twice here"), "remove one of the two");
                }
            }
        }
        self.limit(whitelist, entries.len());
        remarks::remark(self.findings, &entries);
        entries.iter().map(|entry| entry.peer.network()).collect()
    }

    fn limit(&mut self, whitelist: &str, entries: usize) {
        if entries > MAX_ENTRIES {
            let node = self.findings.find(whitelist);
            let message = format!("the whitelist has {entries} entries; at most {MAX_ENTRIES} are taken");
            self.findings.error_at_key(node, message, "write networks in place of addresses");
        }
    }

    /// The entries of a list; what is wrong with it is reported where it is named, or where it stands in the list.
    fn entries(&mut self, path: &str, list: &ListPath) -> Vec<Entry<'t>> {
        let node = self.findings.find(&format!("{path}.file"));
        let name = list.beside(self.findings.file());
        match self.lists.get(list) {
            Some(Ok(_)) => {}
            Some(Err(problem)) => {
                self.findings.error(node, format!("the list `{name}` {problem}"), problem.help());
                return Vec::new();
            }
            None => {
                let message = format!("the list `{name}` was not read: a desired state names at most {MAX_LISTS}");
                self.findings.error(node, message, "put several lists into one file");
                return Vec::new();
            }
        }
        let Some(text) = self.texts.get(list) else { return Vec::new() };
        let (entries, faults) = text.entries();
        if self.told.insert(list.clone()) {
            self.findings.take(faults.iter().map(|fault| fault.diagnostic(path)).collect());
            if entries.is_empty() && faults.is_empty() {
                self.findings.warn(
                    node,
                    format!("the list `{name}` names nobody"),
                    "add an entry, or remove this line",
                );
            }
        }
        let path = std::rc::Rc::<str>::from(path);
        entries.into_iter().map(|(peer, line)| Entry { peer, at: At::List(line, path.clone()) }).collect()
    }
}

#[cfg(test)]
mod tests;
