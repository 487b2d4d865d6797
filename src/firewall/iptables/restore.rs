//! The documents that put chains and sets in place, change them and remove them.
//!
//! `iptables-restore --noflush` carries a document out as a whole or not at all, one address family at a time. A set is
//! filled aside and swapped in at once. So the order between them matters: sets first, then the rules that use them.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::canonical::{Call, Set, Sets, TABLE, Table};
use super::compile;

/// Where a set is filled before it is swapped in.
const ASIDE: &str = "exitpool-aside";

/// Turns what was `seen` into what is `wanted`; `None` when it is that.
pub fn table(wanted: &Table, seen: &Table) -> Option<String> {
    (wanted != seen).then(|| {
        // Of two that are the same, the first would be deleted: all go, and the wanted ones come again.
        let calls_differ = wanted.calls != seen.calls;
        let (old, new): (&[Call], &[Call]) = if calls_differ { (&seen.calls, &wanted.calls) } else { (&[], &[]) };
        let mut lines: Vec<String> = old.iter().map(delete).collect();
        // Naming a chain empties it, or makes it.
        let gone = seen.chains.keys().filter(|name| !wanted.chains.contains_key(*name));
        lines.extend(wanted.chains.keys().chain(gone.clone()).map(|name| format!(":{name} - [0:0]")));
        let rules = wanted.chains.iter().flat_map(|(name, rules)| rules.iter().map(move |rule| (name, rule)));
        lines.extend(rules.map(|(name, rule)| format!("-A {name} {rule}")));
        lines.extend(gone.map(|name| format!("-X {name}")));
        lines.extend(new.iter().map(|call| format!("-I {} 1 {}", call.chain, call.rule)));
        document(&lines)
    })
}

fn delete(call: &Call) -> String {
    format!("-D {} {}", call.chain, call.rule)
}

fn document(lines: &[String]) -> String {
    format!("*{TABLE}\n{}\nCOMMIT\n", lines.join("\n"))
}

/// The sets of the right kind whose content is not right, and those that are not there.
pub fn sets(wanted: &Sets, seen: &Sets) -> String {
    let mut document = String::new();
    for (name, set) in wanted {
        match seen.get(name) {
            Some(same) if same == set => {}
            Some(_) => {
                let aside = format!("{ASIDE}{}", &name[name.len() - 1..]);
                fill(&mut document, &aside, set);
                let _ = writeln!(document, "swap {aside} {name}\ndestroy {aside}");
            }
            None => fill(&mut document, name, set),
        }
    }
    document
}

fn fill(document: &mut String, name: &str, set: &Set) {
    let _ = writeln!(document, "create {name} {}", compile::creation(&set.properties));
    for network in set.members.networks().into_iter().flat_map(holdable) {
        let _ = writeln!(document, "add {name} {network}");
    }
}

/// An ipset holds no network of all addresses, but both halves of it.
fn holdable(network: IpNet) -> Vec<IpNet> {
    if network.prefix_len() > 0 {
        return vec![network];
    }
    network.subnets(1).map(Iterator::collect).unwrap_or_default()
}

/// The names of the sets that stand in the way: of another kind than wanted, or left over from filling one.
pub fn unusable<'a>(wanted: &'a Sets, seen: &'a Sets) -> impl Iterator<Item = &'a String> {
    let is_unusable = |(name, set): &(&String, &Set)| match wanted.get(*name) {
        Some(wanted) => wanted.properties != set.properties,
        None => name.starts_with(ASIDE),
    };
    seen.iter().filter(is_unusable).map(|(name, _)| name)
}

/// The names of the sets that nothing needs once the rules are the wanted ones.
pub fn surplus(wanted: &Sets, seen: &Sets) -> Vec<String> {
    seen.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect()
}
