//! What the guard is made of, whichever driver makes it: the comments by which its rules are told, its whitelists, and
//! how a guard is recovered from both. Pure.
//!
//! How a rule or a set is written is each driver's own.

use ipnet::IpNet;

use super::interval::Intervals;
use super::model::{Guard, Ports};

pub const CONTROL: &str = "exitpool:control";
pub const SOCKS: &str = "exitpool:socks";
pub const PANEL: &str = "exitpool:panel";
pub const SSH: &str = "exitpool:ssh";
pub const ICMP_V4: &str = "exitpool:icmp4";
pub const ICMP_V6: &str = "exitpool:icmp6";

/// A chain that lets through whom its sets name, and nobody else.
#[derive(Clone, Copy)]
pub struct Whitelist {
    pub chain: &'static str,
    pub v4: &'static str,
    pub v6: &'static str,
    /// The comment of the rule that drops.
    pub comment: &'static str,
    pub flows: Flows,
}

/// What becomes of the connections that stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flows {
    /// Each packet of them is judged: who leaves the list is cut off at once.
    Judged,
    /// They go on: an operator who has made a mistake still has a session to mend it in.
    Kept,
}

/// The whitelists by the names that a driver gives them.
pub struct Whitelists {
    pub socks: Whitelist,
    pub panel: Whitelist,
    /// Only there where SSH is not left alone.
    pub ssh: Whitelist,
}

impl Whitelists {
    /// All that there can be.
    pub fn all(&self) -> [Whitelist; 3] {
        [self.socks, self.panel, self.ssh]
    }

    /// Those of a guard, and who is on them.
    pub fn of<'g>(&self, guard: &'g Guard) -> impl Iterator<Item = (Whitelist, &'g Vec<IpNet>)> + use<'g> {
        let ssh = (!guard.ssh_ports.is_empty()).then_some((self.ssh, &guard.ssh_allow));
        [(self.socks, &guard.socks_allow), (self.panel, &guard.panel_allow)].into_iter().chain(ssh)
    }

    /// Recovers a guard: from the ports that the rules with a comment name, the members of the sets, and the rate.
    ///
    /// Only what a guard says is looked at; who compares compiles the result, so that what has any other shape is found
    /// out there.
    pub fn guard<'s>(
        &self,
        ports: impl Fn(&'static str) -> Option<Vec<Ports>>,
        members: impl Fn(&'static str) -> Option<&'s Intervals>,
        icmp_per_second: u32,
    ) -> Option<Guard> {
        let allowed = |list: Whitelist| {
            let (v4, v6) = (members(list.v4)?, members(list.v6)?);
            Some(v4.networks().into_iter().chain(v6.networks()).collect())
        };
        let first = |comment| Some(ports(comment)?.first().copied());
        let ssh_ports = ports(SSH)?;
        Some(Guard {
            socks_ports: ports(SOCKS)?,
            socks_allow: allowed(self.socks)?,
            panel_port: first(PANEL)?.map(|ports| ports.first),
            panel_allow: allowed(self.panel)?,
            ssh_allow: if ssh_ports.is_empty() { Vec::new() } else { allowed(self.ssh)? },
            ssh_ports,
            control_ports: first(CONTROL)?,
            icmp_per_second,
        })
    }
}
