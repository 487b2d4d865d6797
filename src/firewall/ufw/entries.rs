//! Our entries in ufw: what is wanted, what ufw lists, and what is in force in the kernel. Pure.

use std::collections::BTreeSet;

use crate::firewall::model::{Guard, Ports};

/// What an entry is for; its comment says so, and marks it as ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Consumers reach nodes.
    Socks,
    /// Readers reach the page.
    Panel,
}

/// An entry that allows everybody to some ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The ports.
    pub ports: Ports,
    /// What for.
    pub purpose: Purpose,
}

/// What there is, for both address families.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entries {
    /// IPv4.
    pub v4: Side,
    /// IPv6; ufw may be told to leave it alone.
    pub v6: Side,
}

/// What there is for one address family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Side {
    /// Entries that are marked as ours.
    ours: BTreeSet<Entry>,
    /// The ports of the operator's own entries that do the same: they are neither doubled nor marked.
    theirs: BTreeSet<Ports>,
    /// The ports that the kernel lets pass; none where ufw is not in force.
    in_force: Option<BTreeSet<Ports>>,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Socks, Self::Panel];

    /// The mark.
    pub fn comment(self) -> &'static str {
        match self {
            Self::Socks => "exitpool:socks",
            Self::Panel => "exitpool:panel",
        }
    }
}

impl Entry {
    /// The ports as ufw takes them.
    pub fn ports_argument(self) -> String {
        let Ports { first, last } = self.ports;
        if first == last { first.to_string() } else { format!("{first}:{last}") }
    }
}

/// The entries that a guard needs in front of it.
pub fn wanted(guard: &Guard) -> BTreeSet<Entry> {
    let socks = guard.socks_ports.iter().map(|&ports| Entry { ports, purpose: Purpose::Socks });
    let panel = guard.panel_port.map(Ports::one);
    socks.chain(panel.map(|ports| Entry { ports, purpose: Purpose::Panel })).collect()
}

impl Entries {
    /// All that are marked as ours.
    pub fn ours(&self) -> impl Iterator<Item = Entry> + use<> {
        let both: BTreeSet<Entry> = self.v4.ours.union(&self.v6.ours).copied().collect();
        both.into_iter()
    }

    /// Whether ufw is in force.
    pub fn are_in_force(&self) -> bool {
        self.v4.in_force.is_some() || self.v6.in_force.is_some()
    }

    /// What is ours and not wanted.
    pub fn unwanted(&self, wanted: &BTreeSet<Entry>) -> Vec<Entry> {
        self.ours().filter(|entry| !wanted.contains(entry)).collect()
    }

    /// What ufw does not list.
    pub fn missing(&self, wanted: &BTreeSet<Entry>) -> Vec<Entry> {
        let lacks = |entry: &&Entry| self.sides().any(|side| !side.lists(entry));
        wanted.iter().filter(lacks).copied().collect()
    }

    /// What ufw lists as ours, and the kernel does not know.
    pub fn without_effect(&self, wanted: &BTreeSet<Entry>) -> Vec<Entry> {
        let lost = |entry: &&Entry| self.sides().any(|side| side.ours.contains(entry) && !side.lets_pass(entry));
        wanted.iter().filter(lost).copied().collect()
    }

    /// One sentence each.
    pub fn differences(&self, wanted: &BTreeSet<Entry>) -> Vec<String> {
        let say = |entry: Entry, verdict: &str| {
            format!("ufw: allow {}/tcp ({}) {verdict}", entry.ports_argument(), entry.purpose.comment())
        };
        let missing = self.missing(wanted).into_iter().map(|entry| say(entry, "is missing"));
        let lost = self.without_effect(wanted).into_iter();
        let lost = lost.map(|entry| say(entry, "is listed, but not in force in the kernel"));
        let more = self.unwanted(wanted).into_iter().map(|entry| say(entry, "should not be there"));
        missing.chain(lost).chain(more).collect()
    }

    /// The families that count: v6 only where ufw keeps it in force.
    fn sides(&self) -> impl Iterator<Item = &Side> {
        [Some(&self.v4), self.v6.in_force.is_some().then_some(&self.v6)].into_iter().flatten()
    }
}

impl Side {
    /// Reads a rules file of ufw's; `in_force` is what the kernel has of it.
    pub fn read(rules: &str, in_force: Option<BTreeSet<Ports>>) -> Self {
        let mut side = Self { in_force, ..Self::default() };
        for line in rules.lines().filter_map(|line| line.strip_prefix("### tuple ### ")) {
            match tuple(line) {
                Some((ports, Some(purpose))) => {
                    side.ours.insert(Entry { ports, purpose });
                }
                Some((ports, None)) => {
                    side.theirs.insert(ports);
                }
                None => {}
            }
        }
        side
    }

    fn lists(&self, entry: &Entry) -> bool {
        self.ours.contains(entry) || self.theirs.contains(&entry.ports)
    }

    fn lets_pass(&self, entry: &Entry) -> bool {
        self.in_force.as_ref().is_none_or(|ports| ports.contains(&entry.ports))
    }
}

/// Reads `allow tcp PORTS ANYWHERE any ANYWHERE in [comment=HEX]`; any other entry is of another kind.
fn tuple(line: &str) -> Option<(Ports, Option<Purpose>)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let anywhere = |word: &str| ["0.0.0.0/0", "::/0"].contains(&word);
    let (["allow", "tcp", port, to, "any", from, "in"], rest) = words.split_at_checked(7)? else { return None };
    if !anywhere(to) || !anywhere(from) || rest.len() > 1 {
        return None;
    }
    let comment = rest.first().and_then(|word| word.strip_prefix("comment="));
    let purpose = Purpose::ALL.into_iter().find(|purpose| comment == Some(&hexadecimal(purpose.comment())));
    Some((Ports::parse(port, ':')?, purpose))
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the ports that a chain of the kernel's lets pass for everybody; `None` where there is no such chain.
pub fn in_force(save: &str, chain: &str) -> Option<BTreeSet<Ports>> {
    let declaration = format!(":{chain} ");
    save.lines().any(|line| line.starts_with(&declaration)).then(|| {
        let rule = format!("-A {chain} -p tcp -m ");
        let rules = save.lines().filter_map(|line| line.strip_prefix(&rule)?.strip_suffix(" -j ACCEPT"));
        rules
            .filter_map(|rule| {
                let one = rule.strip_prefix("tcp --dport ").or_else(|| rule.strip_prefix("multiport --dports "));
                Ports::parse(one?, ':')
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "*filter
### RULES ###

### tuple ### allow tcp 30000:30004 0.0.0.0/0 any 0.0.0.0/0 in comment=65786974706f6f6c3a736f636b73
-A ufw-user-input -p tcp -m multiport --dports 30000:30004 -j ACCEPT

### tuple ### allow tcp 8080 0.0.0.0/0 any 0.0.0.0/0 in comment=6d696e65
### tuple ### allow tcp 30099 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### allow tcp 9 0.0.0.0/0 any 10.0.0.1 in comment=65786974706f6f6c3a736f636b73
### tuple ### deny tcp 7 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 Nginx - in
COMMIT
";
    const SAVE: &str = "*filter
:ufw-user-input - [0:0]
-A ufw-user-input -p tcp -m multiport --dports 30000:30004 -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 8080 -j ACCEPT
-A ufw-user-input -s 10.0.0.1/32 -p tcp -m tcp --dport 9 -j ACCEPT
COMMIT
";

    fn range(first: u16, last: u16) -> Ports {
        Ports { first, last }
    }

    fn entry(first: u16, last: u16, purpose: Purpose) -> Entry {
        Entry { ports: range(first, last), purpose }
    }

    fn entries(save: &str) -> Entries {
        Entries { v4: Side::read(RULES, in_force(save, "ufw-user-input")), v6: Side::default() }
    }

    #[test]
    fn only_what_is_marked_is_ours() {
        let seen = entries(SAVE);
        assert_eq!(seen.ours().collect::<Vec<_>>(), [entry(30_000, 30_004, Purpose::Socks)]);
        assert_eq!(seen.v4.theirs, BTreeSet::from([range(8080, 8080), range(30_099, 30_099)]));
        assert_eq!(seen.v4.in_force, Some(BTreeSet::from([range(30_000, 30_004), range(8080, 8080)])));
    }

    #[test]
    fn an_operators_own_entry_is_enough() {
        let guard = Guard {
            socks_ports: vec![range(30_000, 30_004), range(30_099, 30_099)],
            panel_port: Some(8080),
            ..Guard::default()
        };
        assert_eq!(entries(SAVE).differences(&wanted(&guard)), [""; 0]);
    }

    #[test]
    fn every_difference_is_a_sentence() {
        let wanted = BTreeSet::from([entry(30_000, 30_004, Purpose::Socks), entry(8081, 8081, Purpose::Panel)]);
        assert_eq!(
            entries("*filter\n:ufw-user-input - [0:0]\nCOMMIT\n").differences(&wanted),
            [
                "ufw: allow 8081/tcp (exitpool:panel) is missing",
                "ufw: allow 30000:30004/tcp (exitpool:socks) is listed, but not in force in the kernel",
            ]
        );
        assert_eq!(
            entries(SAVE).differences(&BTreeSet::new()),
            ["ufw: allow 30000:30004/tcp (exitpool:socks) should not be there"]
        );
    }

    #[test]
    fn a_ufw_that_is_not_in_force_lists_all_the_same() {
        let seen = entries("");
        assert_eq!(seen.differences(&BTreeSet::from([entry(30_000, 30_004, Purpose::Socks)])), [""; 0]);
    }

    #[test]
    fn v6_counts_where_ufw_keeps_it() {
        let wanted = BTreeSet::from([entry(30_000, 30_004, Purpose::Socks)]);
        let without = Entries { v6: Side::read("", None), ..entries(SAVE) };
        let with = Entries { v6: Side::read("", Some(BTreeSet::new())), ..entries(SAVE) };
        assert_eq!(without.missing(&wanted), []);
        assert_eq!(with.missing(&wanted), Vec::from_iter(wanted));
    }
}
