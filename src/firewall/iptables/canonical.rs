//! Our chains, the rules that call them, and our ipsets, in canonical form: the same whichever flavour wrote them.
//!
//! A rule is the words of its line in a save, without quotes. Counters are left out, and so is all that only says how
//! a set is stored. How a save is read stands in `save`, what a difference is called in `differences`.

use std::collections::BTreeMap;
use std::fmt;

use crate::firewall::interval::Intervals;

/// The table: its chain `PREROUTING` lies after conntrack and before destination NAT, like the guard of nftables.
pub const TABLE: &str = "mangle";
/// The chain of the kernel's from which ours is called.
pub const HOOK: &str = "PREROUTING";
/// The chain that sees every packet; the others' names begin with it and a dash.
pub const GUARD: &str = "EXITPOOL";
/// How the names of our sets begin.
const SET_PREFIX: &str = "exitpool-";

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4: iptables.
    V4,
    /// IPv6: ip6tables.
    V6,
}

/// Everything of ours.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Canonical {
    /// The table of iptables.
    pub v4: Table,
    /// The table of ip6tables.
    pub v6: Table,
    /// The ipsets.
    pub sets: Sets,
}

/// What is ours in one table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Our chains, by name, with their rules in order.
    pub chains: BTreeMap<String, Vec<Rule>>,
    /// The rules in other chains that call ours.
    pub calls: Vec<Call>,
}

/// A rule outside of our chains that calls one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The chain it stands in.
    pub chain: String,
    /// Where it stands there.
    pub place: Place,
    /// The rule.
    pub rule: Rule,
}

/// Where a rule stands among those of others, one of which may let a packet through before ours has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before all others.
    First,
    /// Behind another one.
    Later,
}

/// The ipsets, by name.
pub type Sets = BTreeMap<String, Set>;

/// An ipset.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Set {
    /// Its type and options.
    pub properties: BTreeMap<String, String>,
    /// The addresses in it.
    pub members: Intervals,
    /// Entries that are something else, or more, than addresses.
    pub strange: Vec<String>,
}

/// A rule: the words after its chain's name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule(pub Vec<String>);

/// Whether a chain of that name is ours.
pub fn is_our_chain(name: &str) -> bool {
    name.strip_prefix(GUARD).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether an ipset of that name is ours.
pub fn is_our_set(name: &str) -> bool {
    name.starts_with(SET_PREFIX)
}

impl Rule {
    /// Reads a rule as iptables writes it; `None` when a quote is left open.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (word, after) = if let Some(quoted) = rest.strip_prefix('"') { unquoted(quoted)? } else { plain(rest) };
            words.push(word);
            rest = after.trim_start();
        }
        Some(Self(words))
    }

    /// The word after an option.
    pub fn value(&self, option: &str) -> Option<&str> {
        let at = self.0.iter().position(|word| word == option)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// The chain or verdict that it ends in.
    pub fn target(&self) -> Option<&str> {
        self.value("-j").or_else(|| self.value("-g"))
    }
}

fn plain(text: &str) -> (String, &str) {
    let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    // Some versions write a unit out.
    let word = word.strip_suffix("/second").map_or_else(|| word.to_owned(), |rate| format!("{rate}/sec"));
    (word, rest)
}

/// Reads up to the closing quote; a backslash takes the next character as it is.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((word, &text[at + 1..])),
            '\\' => word.push(characters.next()?.1),
            other => word.push(other),
        }
    }
    None
}

impl fmt::Display for Rule {
    /// Writes the rule as iptables reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.0.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:,!@+=".contains(character);
            if !word.is_empty() && word.chars().all(is_plain) {
                write!(f, "{space}{word}")?;
            } else {
                write!(f, "{space}\"{}\"", word.replace('\\', r"\\").replace('"', r#"\""#))?;
            }
        }
        Ok(())
    }
}
