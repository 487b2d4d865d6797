//! The firewall: the rule model, which is pure, and the drivers, which speak to the host.
//!
//! Closing is done by our own object alone, the guard. A driver compiles a [`model::Guard`] into its own language,
//! puts it in place in one transaction, reads it back and says in which ways it differs. It never touches what is
//! not ours, and it never takes a crash or a parse error of a tool for an empty answer.

mod compare;
pub mod early;
pub mod firewalld;
pub mod front;
pub mod helper;
mod interval;
pub mod iptables;
pub mod model;
mod netlink;
pub mod nftables;
pub mod none;
mod parts;
pub mod select;
mod takeover;
mod tool;
pub mod ufw;
pub mod unavailable;

use async_trait::async_trait;

use crate::error::{Classify, Kind};
use crate::observe::{Author, Observation, ObservedGuard};
use model::Guard;

pub use select::select;

/// Speaks to one firewall.
#[async_trait]
pub trait Firewall: Send + Sync {
    /// The driver's name, as in the desired state.
    fn name(&self) -> &'static str;

    /// Reads the guard back and compares it with `wanted`, in canonical form.
    ///
    /// `Exact` names the guard that stands there: `wanted` itself, or another one that this driver would compile to
    /// exactly what was read. Anything else of ours is `Altered`, with one sentence a difference, in the words that
    /// an operator reads: what stands there and should not, what should and does not.
    ///
    /// A driver that hears of every change may give what it read before, until it is told to [forget](Self::forget).
    async fn observe(&self, wanted: &Guard) -> Observation<ObservedGuard>;

    /// Forgets what was read, so that the next look reads everything.
    fn forget(&self) {
        // Most drivers read each time.
    }

    /// Who of others has changed ours since it was last read as wanted, the latest of them; `None` where that is not
    /// known. A driver that is told of no change never knows.
    fn changed_by(&self) -> Option<Author> {
        None
    }

    /// Puts the guard in place, in one transaction, without a moment in which a blocked packet passes.
    async fn apply(&self, guard: &Guard) -> Result<(), FirewallError>;

    /// Removes everything of ours.
    async fn remove(&self) -> Result<(), FirewallError>;

    /// Waits until somebody has changed the firewall's rules.
    ///
    /// A hint to look again, with no promise about what has changed: a driver without such news waits for ever.
    async fn changed(&self);
}

/// Why a driver could not do something.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The tool could not be started.
    #[error("cannot run {tool}: install it, or choose another firewall.driver")]
    Missing {
        /// The program.
        tool: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The tool was started, and could not be talked to.
    #[error("cannot talk to {tool}")]
    Talk {
        /// The program.
        tool: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// This process may not touch the firewall.
    #[error(
        "{tool} may not touch the firewall ({stderr}): run exitpool as root or with CAP_NET_ADMIN; iptables takes CAP_NET_RAW as well"
    )]
    Forbidden {
        /// The program.
        tool: &'static str,
        /// What it wrote on its standard error, shortened.
        stderr: String,
    },
    /// The tool was ended by a signal; nft does this when it reads what a newer nft wrote.
    #[error("{tool} crashed ({status}): is there only one version of it on this host?")]
    Crashed {
        /// The program.
        tool: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// The tool ran and refused.
    #[error("{tool} refused: {stderr}")]
    Refused {
        /// The program.
        tool: &'static str,
        /// What it wrote on its standard error, shortened.
        stderr: String,
    },
    /// The tool did not end in time and was stopped.
    #[error("{tool} did not end within {seconds} s")]
    Deadline {
        /// The program.
        tool: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// The tool's answer was not understood.
    #[error("cannot understand the answer of {tool}: {what}")]
    Unreadable {
        /// The program.
        tool: &'static str,
        /// What was wrong with it.
        what: String,
    },
    /// No driver stands there to do it.
    #[error("{0}")]
    NotChosen(String),
    /// It is not running, and is not ours to start.
    #[error("{0} is not running: start it, or choose another firewall.driver")]
    NotRunning(&'static str),
    /// It rules over another network namespace than ours.
    #[error("{0} is running in another network namespace than exitpool: choose another firewall.driver")]
    Elsewhere(&'static str),
    /// There is no system bus to speak over.
    #[error("cannot reach the system bus, over which firewalld speaks: start D-Bus, or choose another firewall.driver")]
    NoBus(#[source] std::io::Error),
    /// It takes root, and the helper that would do it cannot be asked.
    #[error(
        "{refused}; or start the firewall helper, which does it for a daemon that is not root ({helper}; see docs/firewall.md)"
    )]
    Unhelped {
        /// What the firewall said.
        refused: String,
        /// Why the helper cannot be asked.
        helper: String,
    },
    /// The helper tried, and could not do it.
    #[error("{message}")]
    Helper {
        /// What the firewall said to it.
        message: String,
        /// Whether it was late, rather than something else.
        late: bool,
    },
    /// It takes orders from root alone.
    #[error("{tool} obeys root alone ({said}): run exitpool as root, or choose firewall.driver: nftables")]
    RootOnly {
        /// The program.
        tool: &'static str,
        /// What it answered.
        said: String,
    },
    /// The operator has an object of the name that ours would have.
    #[error(
        "{tool} has an `{name}` that exitpool did not make: rename or delete it, or choose another firewall.driver"
    )]
    Taken {
        /// The program.
        tool: &'static str,
        /// The object.
        name: &'static str,
    },
    /// It writes its rules in a way that is not read here.
    #[error(
        "{tool} writes its rules with {written_with}: set FirewallBackend=nftables in its settings, or choose another firewall.driver"
    )]
    Unread {
        /// The program.
        tool: &'static str,
        /// What it writes them with.
        written_with: String,
    },
}

impl Classify for FirewallError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotChosen(_) | Self::Missing { .. } | Self::Talk { .. } | Self::Forbidden { .. } => Kind::Host,
            Self::NotRunning(_) | Self::Elsewhere(_) | Self::NoBus(_) => Kind::Host,
            Self::RootOnly { .. } | Self::Unread { .. } | Self::Unhelped { .. } => Kind::Host,
            Self::Deadline { .. } | Self::Helper { late: true, .. } => Kind::Timeout,
            Self::Helper { late: false, .. } => Kind::Firewall,
            Self::Taken { .. } | Self::Refused { .. } | Self::Crashed { .. } | Self::Unreadable { .. } => {
                Kind::Firewall
            }
        }
    }
}

#[cfg(test)]
mod tests;
