//! Which guard relays a pool's own options name. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use crate::desired::Fingerprint;

/// Where circuits begin, as far as an option says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entrance {
    /// A relay, or a bridge whose line has its fingerprint.
    Relay(Fingerprint),
    /// A bridge whose line has its address alone.
    Bridge(SocketAddr),
}

/// The guard relays that options name: the bridges where these are used, and else `EntryNodes`.
///
/// It is none where a value names relays in another way, as by country or by name: which these are is tor's to say.
pub fn entrances(options: &BTreeMap<String, Vec<String>>) -> Vec<Entrance> {
    let values = |name: &'static str| {
        let named = options.iter().filter(move |(key, _)| super::canonical::name(key).eq_ignore_ascii_case(name));
        named.flat_map(|(_, values)| values.iter().map(|value| value.trim()))
    };
    let uses_bridges = values("UseBridges").any(|value| value == "1");
    let mut named: Option<Vec<Entrance>> = if uses_bridges {
        values("Bridge").map(bridge).collect()
    } else {
        let items = values("EntryNodes").flat_map(|value| value.split(','));
        items.map(|item| relay(item.trim())).collect()
    };
    named.iter_mut().for_each(|named| {
        named.sort_unstable();
        named.dedup();
    });
    named.unwrap_or_default()
}

/// Reads `[transport] address[:port] [fingerprint] [key=value …]`, as the lines of `Bridge` are.
fn bridge(line: &str) -> Option<Entrance> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let at = words.iter().take(2).position(|word| address(word).is_some())?;
    let fingerprint = words.get(at + 1).and_then(|word| word.parse().ok());
    fingerprint.map(Entrance::Relay).or_else(|| address(words[at]).map(Entrance::Bridge))
}

/// Reads an address; tor takes port 443 where none stands there.
fn address(word: &str) -> Option<SocketAddr> {
    word.parse().ok().or_else(|| Some(SocketAddr::new(word.parse().ok()?, 443)))
}

/// Reads `$fingerprint`, with or without the dollar sign, and with or without `=name` or `~name` behind it.
fn relay(item: &str) -> Option<Entrance> {
    let fingerprint = item.split(['=', '~']).next().unwrap_or(item);
    fingerprint.parse().ok().map(Entrance::Relay)
}

impl fmt::Display for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relay(fingerprint) => fingerprint.fmt(f),
            Self::Bridge(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

    fn of(options: &[(&str, &[&str])]) -> Vec<String> {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let options = options.iter().map(|(name, values)| ((*name).to_owned(), owned(values))).collect();
        entrances(&options).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn relays_are_read_in_each_of_their_forms() {
        let both = format!("${A}, {}~name", B.to_lowercase());
        assert_eq!(of(&[("EntryNodes", &[&both])]), [A, B]);
        assert_eq!(of(&[("entrynode", &[&format!("${B}=name"), A])]), [A, B], "tor takes that name as well");
        for unknown in ["{de}", "name", "10.0.0.0/8"] {
            assert_eq!(of(&[("EntryNodes", &[&format!("${A},{unknown}")])]), [""; 0], "it may be any of them");
        }
        assert_eq!(of(&[("ExitNodes", &[A])]), [""; 0]);
    }

    #[test]
    fn bridges_are_known_by_fingerprint_or_address_where_they_are_used() {
        let obfs4 = format!("obfs4 192.0.2.1:9001 {B} cert=abc iat-mode=0");
        let plain = format!("192.0.2.2 {A}");
        let lines: &[&str] = &[&obfs4, &plain, "192.0.2.3", "snowflake [2001:db8::1]:80", "192.0.2.3:443"];
        let found = of(&[("UseBridges", &["1"]), ("Bridge", lines), ("EntryNodes", &[A])]);
        assert_eq!(found, [A, B, "192.0.2.3:443", "[2001:db8::1]:80"]);
        assert_eq!(of(&[("Bridge", lines)]), [""; 0], "they are not used");
        assert_eq!(of(&[("UseBridges", &["1"]), ("Bridge", &["obfs4 somewhere"])]), [""; 0]);
    }
}
