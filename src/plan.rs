//! The decision: what has to be done so that the world is what desired says. Pure: no I/O, no clock.
//!
//! `plan` is total: the same desired and observed give the same plan, and a plan on a converged world
//! is empty. It imports the types of desired and observed, and nothing that can act.

pub mod step;

use serde::{Deserialize, Serialize};

pub use step::{Cause, Step};

/// What has to be done, what has to be waited for, and what cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The steps, in the order in which they are carried out: it closes before it opens.
    pub steps: Vec<Step>,
    /// What is under way and needs nothing but time.
    pub waiting: Vec<Wait>,
    /// What desired asks for and cannot be had as things stand.
    pub blocked: Vec<Block>,
}

/// Something that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What is waited for.
    pub object: step::Object,
    /// Why.
    pub reason: WaitReason,
}

/// Why nothing can be done yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// tor is bootstrapping.
    Bootstrapping {
        /// In percent.
        progress: u8,
        /// tor's own sentence.
        summary: String,
    },
    /// The relays are not known yet, so the exits cannot be chosen.
    Relays,
    /// The instance has its exits and has not built a circuit yet.
    Circuit,
    /// Its turn comes when more of its pool is ready again.
    MaxUnavailable,
}

/// Something that desired asks for and that cannot be had as things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What it is about.
    pub object: step::Object,
    /// Why.
    pub reason: BlockReason,
}

/// Why something cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockReason {
    /// The object could not be observed.
    Unknown(String),
    /// The tor program is missing, unusable or too old.
    Program(String),
    /// No exit of the consensus fits the wish.
    NoExits {
        /// The countries wished.
        countries: Vec<crate::desired::Country>,
    },
    /// Somebody else listens where a node should.
    PortTaken {
        /// Where.
        address: std::net::SocketAddr,
        /// Who, as far as can be seen.
        holder: String,
    },
    /// The guard is not in place, so no port may open that others could reach.
    Unguarded,
}
