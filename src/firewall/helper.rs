//! The root helper: it keeps what only root may, for a daemon that is not root.
//!
//! ```text
//! daemon, as its own user ──► one line of JSON ──► helper, as root ──► ufw, firewalld's bus, iptables-legacy
//! ```
//!
//! # Guarantees
//!
//! - What can be asked is a closed set: a verb, a firewall, a guard. No command, path or free text is taken.
//! - One user is obeyed, as the kernel names the peer; everybody else is told so, and nothing is done.
//! - What is not understood, too long or unfinished is answered and changes nothing; no question ends the helper.
//! - A guard that no daemon would make is refused before anything is touched.
//!
//! A helper that does not answer is an error of the one who asks: what it keeps is then unknown, and never taken for gone.

mod client;
mod server;

use serde::{Deserialize, Serialize};

use super::FirewallError;
use super::model::Guard;
use crate::error::{Classify, Kind};
use crate::observe::{Observation, ObservedGuard};

pub use client::{Helped, Helper};
pub use server::{Asked, inherited, listen, serve};

/// Where the helper is found, unless [`VARIABLE`] says otherwise.
pub const SOCKET: &str = "/run/exitpool-helper/socket";
/// Says where the helper is found.
pub const VARIABLE: &str = "EXITPOOL_FIREWALL_HELPER";

/// The longest question: a guard with some 100,000 networks.
pub const LONGEST_QUESTION_BYTES: u64 = 8 << 20;

/// A firewall that takes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Managed {
    /// What stands in ufw in front of a guard.
    Ufw,
    /// What stands in firewalld in front of a guard.
    Firewalld,
    /// A guard in iptables-legacy.
    IptablesLegacy,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// Of which firewall.
    firewall: Managed,
    /// What.
    verb: Verb,
}

/// What can be asked of a firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verb {
    /// Whether something of ours stands there.
    Stands,
    /// Compare what stands there with what a guard needs.
    Observe(Guard),
    /// Take out what a guard does not need.
    Narrow(Guard),
    /// Make it what a guard needs.
    Apply(Guard),
    /// Remove everything of ours.
    Remove,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// It is done.
    Done,
    /// Whether something of ours stands there.
    Stands(bool),
    /// In which ways what stands in front of a guard is not what it needs.
    Differences(Vec<String>),
    /// What was seen of a guard.
    Seen(Observation<ObservedGuard>),
    /// The firewall could not do it.
    Failed {
        /// Why.
        message: String,
        /// Whether it was late, rather than something else.
        late: bool,
    },
    /// The question was not taken.
    Refused(String),
}

impl Verb {
    fn guard(&self) -> Option<&Guard> {
        match self {
            Self::Observe(guard) | Self::Narrow(guard) | Self::Apply(guard) => Some(guard),
            Self::Stands | Self::Remove => None,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Stands => "stands",
            Self::Observe(_) => "observe",
            Self::Narrow(_) => "narrow",
            Self::Apply(_) => "apply",
            Self::Remove => "remove",
        }
    }
}

impl Answer {
    /// Tells an error of a firewall.
    fn failed(error: &FirewallError) -> Self {
        Self::Failed { message: crate::error::chain(error), late: error.kind() == Kind::Timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_closed_set_is_a_question() {
        let parse = |text: &str| serde_json::from_str::<Question>(text);
        let whole = r#"{"firewall":"ufw","verb":{"apply":{"socks_ports":[{"first":1,"last":2}]}}}"#;
        assert_eq!(parse(whole).unwrap().verb.word(), "apply");
        assert_eq!(parse(r#"{"firewall":"firewalld","verb":"remove"}"#).unwrap().verb, Verb::Remove);
        for foreign in [
            r#"{"firewall":"nftables","verb":"remove"}"#,
            r#"{"firewall":"ufw","verb":"reset"}"#,
            r#"{"firewall":"ufw","verb":"remove","path":"/etc"}"#,
            r#"{"firewall":"ufw","verb":{"apply":{"socks_ports":[{"first":1,"last":2,"comment":"x"}]}}}"#,
            r#"{"firewall":"ufw","verb":{"apply":{"command":"sh"}}}"#,
            r#"{"firewall":"ufw","verb":{"apply":{"socks_allow":["10.0.0.0/8; sh"]}}}"#,
            r#"{"firewall":"ufw"}"#,
            "[]",
        ] {
            assert!(parse(foreign).is_err(), "{foreign}");
        }
    }
}
