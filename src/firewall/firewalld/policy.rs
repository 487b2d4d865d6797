//! Our policy in firewalld: what is wanted, and in which ways another one differs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::firewall::model::{Guard, Ports};

/// What it is called.
pub const NAME: &str = "exitpool";
/// Its description, and how a policy of ours is told from somebody else's of the same name.
pub const MARK: &str = "Kept by exitpool, which undoes changes: docs/firewall.md. Its guard decides who comes in.";
/// The setting that holds the rules; it alone can be changed without a reload.
pub const RULES: &str = "rich_rules";
/// The setting that holds the mark.
const DESCRIPTION: &str = "description";
/// What is the same for all guards: it looks at what comes to this host, before any zone does, and then lets the zone
/// decide.
const FRAME: [(&str, &str); 5] = [
    (DESCRIPTION, MARK),
    ("target", "CONTINUE"),
    (PRIORITY, "-100"),
    ("ingress_zones", "ANY"),
    ("egress_zones", "HOST"),
];
/// The one setting that is a number.
pub const PRIORITY: &str = "priority";

/// The settings of a policy, each with its values, as texts; what is empty or switched off is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy(pub BTreeMap<String, BTreeSet<String>>);

/// The ports that a guard needs open in front of it.
pub fn wanted(guard: &Guard) -> BTreeSet<Ports> {
    guard.reached_ports().collect()
}

impl Policy {
    /// The policy that lets everybody reach these ports.
    pub fn of(ports: &BTreeSet<Ports>) -> Self {
        let one = |(setting, value): (&str, &str)| (setting.to_owned(), BTreeSet::from([value.to_owned()]));
        let mut settings: BTreeMap<_, _> = FRAME.into_iter().map(one).collect();
        if !ports.is_empty() {
            settings.insert(RULES.to_owned(), ports.iter().map(rule).collect());
        }
        Self(settings)
    }

    /// Whether it is ours, and not somebody else's that has the same name.
    pub fn is_ours(&self) -> bool {
        self.0.get(DESCRIPTION).is_some_and(|description| description.contains(MARK))
    }

    /// Its rules.
    pub fn rules(&self) -> BTreeSet<String> {
        self.0.get(RULES).cloned().unwrap_or_default()
    }

    /// Whether everybody can reach these ports by it.
    pub fn allows(&self, ports: &Ports) -> bool {
        self.0.get(RULES).is_some_and(|rules| rules.contains(&rule(ports)))
    }

    /// Whether it says anything that the other one does not.
    pub fn exceeds(&self, other: &Self) -> bool {
        self.values().iter().any(|value| !other.values().contains(value))
    }

    /// Whether everything but the rules is the same.
    pub fn has_the_frame_of(&self, other: &Self) -> bool {
        let frame = |policy: &Self| {
            let settings = policy.0.iter().filter(|(setting, _)| *setting != RULES);
            settings.map(|(setting, values)| (setting.clone(), values.clone())).collect::<Vec<_>>()
        };
        frame(self) == frame(other)
    }

    /// Says in which ways `seen`, which was found at `place`, is not this one, one sentence each.
    pub fn differences(&self, seen: Option<&Self>, place: &str) -> Vec<String> {
        let Some(seen) = seen else { return vec![format!("{place}: policy {NAME} is missing")] };
        let (wanted, seen) = (self.values(), seen.values());
        let say = |(setting, value): &(&str, &str), verdict: &str| {
            format!("{place}: policy {NAME}: {setting}: {value} {verdict}")
        };
        let missing = wanted.difference(&seen).map(|it| say(it, "is missing"));
        let more = seen.difference(&wanted).map(|it| say(it, "should not be there"));
        missing.chain(more).collect()
    }

    fn values(&self) -> BTreeSet<(&str, &str)> {
        self.0
            .iter()
            .flat_map(|(setting, values)| values.iter().map(|value| (setting.as_str(), value.as_str())))
            .collect()
    }
}

/// Writes a rule as firewalld itself does. Its priority puts it before whatever else somebody adds to the policy.
fn rule(ports: &Ports) -> String {
    format!(r#"rule priority="-200" port port="{ports}" protocol="tcp" accept"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(pairs: &[(u16, u16)]) -> Policy {
        Policy::of(&pairs.iter().map(|&(first, last)| Ports { first, last }).collect())
    }

    #[test]
    fn it_lets_everybody_reach_what_the_guard_closes_to_some() {
        let guard = Guard {
            socks_ports: vec![Ports { first: 30_000, last: 30_004 }],
            panel_port: Some(8080),
            ..Guard::default()
        };
        let policy = Policy::of(&wanted(&guard));
        assert_eq!(
            policy.rules().into_iter().collect::<Vec<_>>(),
            [
                r#"rule priority="-200" port port="30000-30004" protocol="tcp" accept"#,
                r#"rule priority="-200" port port="8080" protocol="tcp" accept"#,
            ]
        );
        assert!(policy.is_ours());
        assert!(!Policy::default().is_ours());
    }

    #[test]
    fn every_difference_is_a_sentence() {
        let wanted = policy(&[(1, 2), (7, 7)]);
        let mut seen = policy(&[(1, 2), (9, 9)]);
        seen.0.insert(PRIORITY.to_owned(), BTreeSet::from(["5".to_owned()]));
        seen.0.insert("services".to_owned(), BTreeSet::from(["ssh".to_owned()]));
        assert_eq!(
            wanted.differences(Some(&seen), "firewalld"),
            [
                "firewalld: policy exitpool: priority: -100 is missing",
                "firewalld: policy exitpool: rich_rules: rule priority=\"-200\" port port=\"7\" protocol=\"tcp\" accept is missing",
                "firewalld: policy exitpool: priority: 5 should not be there",
                "firewalld: policy exitpool: rich_rules: rule priority=\"-200\" port port=\"9\" protocol=\"tcp\" accept should not be there",
                "firewalld: policy exitpool: services: ssh should not be there",
            ]
        );
        assert_eq!(wanted.differences(None, "firewalld"), ["firewalld: policy exitpool is missing"]);
        assert_eq!(wanted.differences(Some(&wanted), "firewalld"), [""; 0]);
    }

    #[test]
    fn what_is_more_than_wanted_is_found() {
        let (wanted, seen) = (policy(&[(1, 2), (7, 7)]), policy(&[(1, 2)]));
        assert!(wanted.exceeds(&seen) && !seen.exceeds(&wanted) && !wanted.exceeds(&wanted));
        assert!(seen.allows(&Ports { first: 1, last: 2 }) && !seen.allows(&Ports { first: 7, last: 7 }));
        assert!(wanted.has_the_frame_of(&seen) && !wanted.has_the_frame_of(&Policy::default()));
    }
}
