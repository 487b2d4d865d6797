//! tor's options as values: what an instance should run with, what it runs with, and how the two differ.
//!
//! Pure. Values are compared in a canonical form, since tor writes many of them in another way than they were given:
//! `256 MB` comes back as `268435456`.
//!
//! # What is compared
//!
//! - Everything that the torrc says. The driver asks for the running value of each of its options by name, so that one
//!   that happens to be tor's default is compared as well.
//! - `ExitNodes`, `SocksPort` and `SocksPolicy`, which are never in a torrc. While the exits are not known, the first
//!   two are left as they are: nothing is opened, and nothing that works is closed.
//! - `ExcludeExitNodes`, by which an instance avoids the exit that it has left: short, so that the long `ExitNodes` is the
//!   same for all nodes with one wish.
//! - Values that may be secret, by their digests: a running option may be known by nothing else.
//! - Whatever else differs from the defaults (tor's own and those of a torrc-defaults file): nobody wants it, so it is
//!   reset. tor itself adds nothing to `config-text` (measured on 0.4.9.11; also under `TestingTorNetwork`), except
//!   `{??}` beside an excluded country.

mod canonical;
pub mod digest;
mod entrances;
mod exits;
mod shared;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::{Fingerprint, Instance};
use ipnet::IpNet;

pub use entrances::{Entrance, entrances};
pub use exits::{ExitChoice, ExitNodes};
pub use shared::Values;
pub use text::{quote, torrc_value};

/// The options an instance runs with that differ from tor's defaults, in canonical form, by tor's own spelling of
/// their names; an option that is given several times has several values, in tor's order.
///
/// An option without a value is one that is unset, the same as one that isn't named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunningOptions(pub BTreeMap<String, Values>);

/// One option to be set on a running instance; no values resets it to tor's default.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OptionChange {
    /// The option's name, in tor's spelling.
    pub name: String,
    /// What it was; digests where it may be secret.
    pub from: Vec<String>,
    /// What it becomes.
    pub to: Vec<String>,
}

/// The option that opens SOCKS ports.
pub const SOCKS_PORT: &str = "SocksPort";
/// The option that says who may use them.
pub const SOCKS_POLICY: &str = "SocksPolicy";
/// The option that names the exits.
pub const EXIT_NODES: &str = "ExitNodes";
/// The option that takes some of them away.
pub const EXCLUDE_EXIT_NODES: &str = "ExcludeExitNodes";

impl OptionChange {
    /// The exits that an instance used so far, where this change gives it others.
    pub fn exits_before(&self) -> Option<BTreeSet<Fingerprint>> {
        if self.name != EXIT_NODES || self.from.is_empty() || self.to.is_empty() {
            return None;
        }
        self.from.iter().flat_map(|list| list.split(',')).map(|exit| exit.parse().ok()).collect()
    }

    /// Whether this change says which exits are avoided, and nothing else.
    pub fn avoids(&self) -> bool {
        self.name == EXCLUDE_EXIT_NODES
    }

    /// Whether this change opens SOCKS ports, or moves them.
    pub fn opens_socks(&self) -> bool {
        self.name == SOCKS_PORT && !self.to.is_empty() && self.to != [CLOSED]
    }

    /// Whether it is of an option that the pool's own `torrc` sets, and not one of ours that is never in a torrc.
    pub fn is_of_torrc(&self) -> bool {
        ![SOCKS_PORT, SOCKS_POLICY, EXIT_NODES, EXCLUDE_EXIT_NODES].contains(&self.name.as_str())
    }

    /// The change that closes all SOCKS ports.
    pub fn closing() -> Self {
        Self { name: SOCKS_PORT.to_owned(), from: vec![], to: vec![CLOSED.to_owned()] }
    }

    /// Whether this change closes all SOCKS ports.
    pub fn closes_socks(&self) -> bool {
        self.name == SOCKS_PORT && self.to == [CLOSED]
    }
}

/// The value of `SocksPort` that opens none.
pub const CLOSED: &str = "0";

/// Whether a running tor takes a change of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settable {
    /// By SETCONF.
    AtRuntime,
    /// Only at a start.
    AtStart,
}

/// Options whose change a running tor refuses (553, measured on 0.4.9.11), in lower case; `ConnLimit` only in its sandbox.
const AT_START: &[&str] = &[
    "accelname",
    "cachedirectory",
    "connlimit",
    "datadirectory",
    "disableallswap",
    "disabledebuggerattachment",
    "hardwareaccel",
    "keepbindcapabilities",
    "keydirectory",
    "noexec",
    "pidfile",
    "runasdaemon",
    "sandbox",
    "syslogidentitytag",
    "tokenbucketrefillinterval",
    "user",
];

/// What the control socket is asked for by name, beside what the torrc says: `config-text` leaves out what begins with
/// an underscore.
pub const ASKED_BY_NAME: &[&str] = &["ExitNodes", "SocksPolicy", "SocksPort", "__ReloadTorrcOnSIGHUP"];

impl RunningOptions {
    /// Reads a torrc, or tor's `config-text`.
    pub fn parse(text: &str) -> Self {
        let mut written: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in text::lines(text) {
            written.entry(canonical::name(name)).or_default().push(value);
        }
        let mut options = Self::default();
        written.into_iter().for_each(|(name, values)| options.set(name, values.iter().map(String::as_str)));
        options
    }

    /// Sets an option to these values, in canonical form; no values say that it is unset.
    pub fn set<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a str>) {
        self.0.insert(name.to_owned(), shared::shared(canonical::values(name, values)));
    }

    /// The values of an option, however its name is spelled; none when it is unset.
    pub fn values(&self, name: &str) -> &[String] {
        self.entry(name).map_or(&[], |(_, values)| values)
    }

    /// Takes over what a GETCONF answered: lines of `Name=value`, or of a name alone that is unset.
    pub fn take_answers<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        let mut answered: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
            answered.entry(name).or_default().extend(value.map(text::unquote));
        }
        for (name, values) in answered {
            self.set(name, values.iter().map(String::as_str));
        }
        self.0.retain(|_, values| !values.is_empty());
    }

    /// Gives an option the name under which somebody else knows it: tor also takes names that are cut short.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(values) = self.0.remove(from) {
            self.0.insert(to.to_owned(), values);
        }
    }

    fn entry(&self, name: &str) -> Option<(&String, &Values)> {
        let exact = self.0.get_key_value(name);
        exact.or_else(|| self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)))
    }
}

/// Says what an instance that runs with this torrc and these exits should have set.
pub fn wanted(instance: &Instance, exits: &ExitChoice, torrc: &str) -> RunningOptions {
    let mut options = lasting(instance, torrc);
    options.0.extend(exits.exit_nodes().0.clone());
    options.0.append(&mut ports(instance, exits).0);
    options
}

/// Whether a value of `SocksPort` is about an address: it begins with it, and flags may follow.
pub fn is_at(port: &str, address: SocketAddr) -> bool {
    port.split(' ').next().and_then(|at| at.parse().ok()) == Some(address)
}

/// Says what an instance that runs with this torrc should have set for as long as its wish is the same.
pub fn lasting(instance: &Instance, torrc: &str) -> RunningOptions {
    let mut options = RunningOptions::parse(torrc);
    let policy = instance.socks_allow.as_deref().map(socks_policy);
    options.set("SocksPolicy", policy.as_deref());
    // The torrc opens no port; what is not named is left as it is.
    options.0.remove("SocksPort");
    options
}

/// Says where an instance should listen, given its exits, which come and go with the consensus.
pub fn ports(instance: &Instance, exits: &ExitChoice) -> RunningOptions {
    ports_at(instance.nodes.iter().map(|node| node.socks.to_string()), exits)
}

/// Says the same of some of its nodes, and of addresses that it is to keep until another instance takes them.
pub fn ports_at(ports: impl Iterator<Item = String>, exits: &ExitChoice) -> RunningOptions {
    let mut options = RunningOptions::default();
    match exits {
        ExitChoice::Unresolved => {}
        ExitChoice::Nothing => options.set(SOCKS_PORT, [CLOSED]),
        ExitChoice::Any | ExitChoice::Only(_) => {
            // No flags: ports are isolated from each other by default, and so are the SOCKS credentials on one port.
            let ports: Vec<String> = ports.collect();
            let closed = ports.is_empty().then_some(CLOSED);
            options.set(SOCKS_PORT, ports.iter().map(String::as_str).chain(closed));
        }
    }
    options
}

/// Writes who may use the SOCKS ports; this host always may.
fn socks_policy(allow: &BTreeSet<IpNet>) -> String {
    let mut entries = vec!["accept 127.0.0.0/8".to_owned(), "accept [::1]/128".to_owned()];
    entries.extend(allow.iter().map(|net| match net {
        IpNet::V4(net) => format!("accept {net}"),
        IpNet::V6(net) => format!("accept [{}]/{}", net.addr(), net.prefix_len()),
    }));
    entries.push("reject *:*".to_owned());
    entries.join(",")
}

/// Lists what has to be set so that an instance runs as wanted, in the order of the options' names.
pub fn difference(wanted: &RunningOptions, running: &RunningOptions) -> Vec<OptionChange> {
    difference_to_all(&[wanted], running)
}

/// The same, with what is wanted in several parts that name different options.
pub fn difference_to_all(wanted: &[&RunningOptions], running: &RunningOptions) -> Vec<OptionChange> {
    let entries = wanted.iter().flat_map(|part| &part.0);
    // Nearly always both are written alike, and then nothing has to be put into canonical form.
    let differs = entries.filter(|(name, to)| running.0.get(*name) != Some(to));
    let differs = differs.filter_map(|(name, to)| change(name, to, running));
    let unwanted = running.0.iter().filter(|(name, values)| !values.is_empty() && !is_wanted(name, wanted));
    let resets = unwanted.map(|(name, from)| OptionChange {
        name: name.clone(),
        from: digest::conceal(name, from.to_vec()),
        to: vec![],
    });
    let mut changes: Vec<OptionChange> = differs.chain(resets).collect();
    changes.sort_unstable();
    changes
}

/// How a running option has to change, if it has to.
fn change(name: &str, to: &[String], running: &RunningOptions) -> Option<OptionChange> {
    let name = canonical::name(name);
    let (spelled, from) = running.entry(name).map_or((name, &[][..]), |(known, from)| (known.as_str(), from));
    (!is_same(name, to, from)).then(|| OptionChange {
        name: spelled.to_owned(),
        from: digest::conceal(name, from.to_vec()),
        to: canonical::values(name, to.iter().map(String::as_str)),
    })
}

/// Whether a running option is left to what is wanted, or left alone.
fn is_wanted(name: &str, wanted: &[&RunningOptions]) -> bool {
    // Left alone while they are not wanted: the exits of an instance are not known yet.
    const UNDECIDED: [&str; 2] = [EXIT_NODES, SOCKS_PORT];
    let names = |known: &String| canonical::name(known).eq_ignore_ascii_case(name);
    wanted.iter().any(|part| part.0.contains_key(name))
        || UNDECIDED.iter().any(|held| held.eq_ignore_ascii_case(name))
        || wanted.iter().any(|part| part.0.keys().any(names))
}

/// Compares values in canonical form, and secret ones by their digests.
fn is_same(name: &str, left: &[String], right: &[String]) -> bool {
    let canonical =
        |values: &[String]| digest::conceal(name, canonical::values(name, values.iter().map(String::as_str)));
    left == right || canonical(left) == canonical(right)
}

/// Says whether a running tor takes a change of an option.
pub fn settable(name: &str) -> Settable {
    let lower = canonical::name(name).to_ascii_lowercase();
    if AT_START.contains(&lower.as_str()) { Settable::AtStart } else { Settable::AtRuntime }
}

/// Writes the one command that makes all changes, or none: RESETCONF, which both sets and resets.
///
/// tor resets to its own defaults and not to those of a torrc-defaults file, so `defaults` has what that file says.
pub fn set_command(changes: &[OptionChange], defaults: &RunningOptions) -> String {
    let mut command = "RESETCONF".to_owned();
    for change in changes {
        let values = if change.to.is_empty() { defaults.values(&change.name) } else { &change.to };
        match values {
            [] => command.extend([" ", &change.name]),
            many => many.iter().for_each(|value| command.extend([" ", &change.name, "=", &quote(value)])),
        }
    }
    command
}

impl fmt::Display for OptionChange {
    /// Says `Name: old → new`; long lists are counted instead of written out, and what may be secret is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hides = digest::may_be_secret(&self.name);
        let say = |values: &[String]| match values {
            [_, ..] if hides => "(not shown)".to_owned(),
            values => brief(values),
        };
        write!(f, "{}: {} → {}", self.name, say(&self.from), say(&self.to))
    }
}

/// Writes values for people.
fn brief(values: &[String]) -> String {
    const LONGEST_CHARS: usize = 60;
    match values {
        [] => "default".to_owned(),
        [one] if one.contains(',') => format!("{} entries", one.split(',').count()),
        [one] if one.chars().count() <= LONGEST_CHARS => one.clone(),
        [one] => format!("{}…", one.chars().take(LONGEST_CHARS).collect::<String>()),
        many => format!("{} lines", many.len()),
    }
}

#[cfg(test)]
mod tests;
