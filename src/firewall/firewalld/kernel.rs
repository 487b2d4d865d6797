//! What of our policy is in force in the kernel, read out of firewalld's own table. Pure.
//!
//! firewalld does not look there again: it goes on showing what somebody has flushed. How its chains are linked is its
//! own affair and changes between its versions, so it is only asked whether a packet to this host can come to ours.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::firewall::compare;
use crate::firewall::model::Ports;

/// The chains of our policy for packets to this host: this one, and those that it calls.
const CHAIN: &str = "filter_IN_policy_exitpool";

/// firewalld's table; the default is that of a kernel that has none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kernel {
    there: bool,
    dormant: bool,
    /// The chains at which packets to this host begin.
    inputs: BTreeSet<String>,
    /// Which chains a chain calls; what is called by way of a map is called by every input.
    calls: BTreeMap<String, BTreeSet<String>>,
    /// The rules of our own chains that do more than call one of them.
    rules: Vec<(String, Rule)>,
}

/// A rule of our own chains.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    /// It lets everybody reach these ports.
    Allow(Ports),
    /// It does something else.
    Other(String),
}

impl Kernel {
    /// Reads nft's listing of the table; `None` if it is none.
    pub fn read(listing: &Value) -> Option<Self> {
        let mut kernel = Self::default();
        for object in listing.get("nftables")?.as_array()? {
            let (kind, content) = object.as_object()?.iter().next()?;
            match kind.as_str() {
                "table" => kernel.table(content),
                "chain" => kernel.chain(content)?,
                "rule" => kernel.rule(content)?,
                "map" => kernel.calls.entry(String::new()).or_default().extend(targets(content)),
                _ => {}
            }
        }
        kernel.there.then_some(kernel)
    }

    fn table(&mut self, table: &Value) {
        self.there = true;
        // nft 1.0.6 calls a dormant table's flag by the name of the family, or of the table. The others do no harm.
        self.dormant = words(&table["flags"]).any(|flag| !["owner", "persist"].contains(&flag));
    }

    fn chain(&mut self, chain: &Value) -> Option<()> {
        let name = chain["name"].as_str()?;
        if chain["hook"] == "input" {
            self.inputs.insert(name.to_owned());
        }
        Some(())
    }

    fn rule(&mut self, rule: &Value) -> Option<()> {
        let (chain, statements) = (rule["chain"].as_str()?, rule["expr"].as_array()?);
        let called = targets(&rule["expr"]);
        let calls_ours = statements.len() == 1 && called.iter().any(|target| is_ours(target));
        if is_ours(chain) && !calls_ours {
            let rule = allows(statements).map_or_else(|| Rule::Other(rule["expr"].to_string()), Rule::Allow);
            self.rules.push((chain.to_owned(), rule));
        }
        self.calls.entry(chain.to_owned()).or_default().extend(called);
        Some(())
    }

    /// Whether firewalld has no table at all.
    pub fn is_missing(&self) -> bool {
        !self.there
    }

    /// Says what of these ports is not open as our policy would have it, and what else it does, one sentence each.
    pub fn differences(&self, wanted: &BTreeSet<Ports>) -> Vec<String> {
        if !self.there {
            return vec!["kernel: firewalld's table is missing".to_owned()];
        }
        if self.dormant {
            return vec!["kernel: firewalld's table is dormant: none of its rules is in force".to_owned()];
        }
        let mut differences: Vec<String> =
            wanted.difference(&self.open()).map(|ports| format!("allow {ports}/tcp is not in force")).collect();
        let more = self.rules.iter().filter_map(|(chain, rule)| match rule {
            Rule::Allow(ports) if wanted.contains(ports) => None,
            Rule::Allow(ports) => Some(format!("chain {chain}: allow {ports}/tcp should not be there")),
            Rule::Other(rule) => Some(format!("chain {chain}: rule {rule} is not ours")),
        });
        differences.extend(more);
        compare::capped("kernel", differences)
    }

    /// The ports that packets to this host find open in our chains.
    fn open(&self) -> BTreeSet<Ports> {
        let reached = self.reached();
        let mut open = BTreeSet::new();
        for (chain, rule) in &self.rules {
            if let Rule::Allow(ports) = rule
                && reached.contains(chain)
            {
                open.insert(*ports);
            }
        }
        open
    }

    /// The chains to which a packet to this host can come.
    fn reached(&self) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut ahead: Vec<String> = self.inputs.iter().cloned().chain([String::new()]).collect();
        while let Some(chain) = ahead.pop() {
            let calls = self.calls.get(&chain).into_iter().flatten().cloned();
            if reached.insert(chain) {
                ahead.extend(calls);
            }
        }
        reached
    }
}

fn is_ours(chain: &str) -> bool {
    chain.strip_prefix(CHAIN).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// The chains that anything within calls.
fn targets(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(targets).collect(),
        Value::Object(fields) => {
            let own = ["jump", "goto"].into_iter().filter_map(|verb| fields.get(verb)?["target"].as_str());
            own.map(str::to_owned).chain(fields.values().flat_map(targets)).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// Reads `tcp dport PORTS accept`; some versions look for new connections alone, and count.
fn allows(statements: &[Value]) -> Option<Ports> {
    let mut open = None;
    let (last, conditions) = statements.split_last()?;
    for condition in conditions {
        let matched = &condition["match"];
        let (key, payload) = (&matched["left"]["ct"]["key"], &matched["left"]["payload"]);
        match () {
            () if condition.get("counter").is_some() || key == "state" => {}
            () if matched["op"] == "==" && payload["protocol"] == "tcp" && payload["field"] == "dport" => {
                open = Some(ports(&matched["right"])?);
            }
            () => return None,
        }
    }
    last.get("accept").and(open)
}

fn ports(value: &Value) -> Option<Ports> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    match value["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => Some(Ports { first: port(first)?, last: port(last)? }),
        _ => port(value).map(Ports::one),
    }
}

/// One word or a list of them.
fn words(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    value.as_str().into_iter().chain(list)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chain(name: &str) -> Value {
        json!({"chain": {"family": "inet", "table": "firewalld", "name": name}})
    }

    fn rule(chain: &str, expr: Value) -> Value {
        json!({"rule": {"family": "inet", "table": "firewalld", "chain": chain, "expr": expr}})
    }

    fn jump(from: &str, to: &str) -> Value {
        rule(from, json!([{"jump": {"target": to}}]))
    }

    fn dport(right: Value) -> Value {
        json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": right}})
    }

    /// What firewalld 1.3 makes, shortened.
    fn listing() -> Vec<Value> {
        vec![
            json!({"metainfo": {"version": "1.0.6"}}),
            json!({"table": {"family": "inet", "name": "firewalld"}}),
            json!({"chain": {"name": "filter_INPUT", "type": "filter", "hook": "input", "prio": 10}}),
            chain("filter_IN_public"),
            chain("filter_IN_policy_exitpool"),
            chain("filter_IN_policy_exitpool_pre"),
            jump("filter_INPUT", "filter_IN_public"),
            jump("filter_IN_public", "filter_IN_policy_exitpool"),
            jump("filter_IN_policy_exitpool", "filter_IN_policy_exitpool_pre"),
            rule(
                "filter_IN_policy_exitpool_pre",
                json!([dport(json!({"range": [30000, 30004]})), {"counter": null}, {"accept": null}]),
            ),
            rule("filter_IN_policy_exitpool_pre", json!([dport(json!(8080)), {"accept": null}])),
        ]
    }

    fn said(listing: Vec<Value>) -> Vec<String> {
        let wanted = BTreeSet::from([Ports { first: 30_000, last: 30_004 }, Ports { first: 8080, last: 8080 }]);
        Kernel::read(&json!({ "nftables": listing })).unwrap().differences(&wanted)
    }

    #[test]
    fn what_firewalld_makes_is_right() {
        assert_eq!(said(listing()), [""; 0]);
    }

    #[test]
    fn a_way_by_a_map_is_a_way() {
        let mut by_map = listing();
        by_map[7] =
            json!({"map": {"name": "zones", "elem": [["eth0", {"goto": {"target": "filter_IN_policy_exitpool"}}]]}});
        assert_eq!(said(by_map), [""; 0]);
    }

    #[test]
    fn a_cut_link_and_a_lost_rule_are_told() {
        for link in [6, 7, 8] {
            let mut cut = listing();
            cut.remove(link);
            let lost = ["kernel: allow 8080/tcp is not in force", "kernel: allow 30000-30004/tcp is not in force"];
            assert_eq!(said(cut), lost, "{link}");
        }
        let mut lost = listing();
        lost.pop();
        assert_eq!(said(lost), ["kernel: allow 8080/tcp is not in force"]);
    }

    #[test]
    fn what_is_not_ours_in_our_chains_is_told() {
        let mut more = listing();
        more.push(rule("filter_IN_policy_exitpool_pre", json!([dport(json!(22)), {"accept": null}])));
        more.push(rule("filter_IN_policy_exitpool_deny", json!([dport(json!(8080)), {"drop": null}])));
        more.push(rule("filter_IN_policy_exitpool2", json!([{"drop": null}])));
        let said = said(more);
        assert_eq!(said[0], "kernel: chain filter_IN_policy_exitpool_pre: allow 22/tcp should not be there");
        assert!(said[1].starts_with("kernel: chain filter_IN_policy_exitpool_deny: rule [{\"match\""), "{said:?}");
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn a_table_that_is_missing_or_dormant_is_told() {
        assert_eq!(Kernel::default().differences(&BTreeSet::new()), ["kernel: firewalld's table is missing"]);
        for flags in [json!("inet"), json!("firewalld"), json!(["dormant"])] {
            let mut dormant = listing();
            dormant[1]["table"]["flags"] = flags;
            assert_eq!(said(dormant), ["kernel: firewalld's table is dormant: none of its rules is in force"]);
        }
        let mut owned = listing();
        owned[1]["table"]["flags"] = json!(["owner", "persist"]);
        assert_eq!(said(owned), [""; 0]);
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        for document in
            [json!([]), json!({"nftables": []}), json!({"nftables": [7]}), json!({"nftables": [{"chain": {}}]})]
        {
            assert_eq!(Kernel::read(&document), None, "{document}");
        }
    }
}
