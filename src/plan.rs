//! The decision: what has to be done so that the world is what desired says. Pure: no I/O, no clock.
//!
//! [`plan()`] is total: the same desired and observed give the same plan, and a plan on a converged world
//! is empty. It imports the types of desired and observed, and nothing that can act.

pub mod applied;
pub mod care;
pub mod decide;
pub mod draw;
pub mod hold;
pub mod lockout;
pub mod paced;
pub mod step;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::desired::{Confirmation, Country, InstanceName, PoolName};

pub use applied::Applied;
pub use care::{Care, HeldDown, Repair, Rung};
pub use decide::{Wish, plan};
pub use hold::{Deletions, Held, HoldReason, Mandate, OnTrial, Suspended, TakeBack, TakenBack};
pub use paced::Paced;
pub use step::{Action, Cause, Mark, Object, ObjectKind, Step};

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
    /// The steps that an operator's word keeps, or has to set free; none of them is carried out.
    pub held: Vec<Held>,
}

impl Plan {
    /// Whether nothing is left to do, to wait for or to be sorry for.
    pub fn is_converged(&self) -> bool {
        self.held.is_empty() && self.steps.is_empty() && self.waiting.is_empty() && self.blocked.is_empty()
    }

    /// Whether nothing can go on before an operator says so.
    pub fn needs_an_operator(&self) -> bool {
        !self.held.is_empty() && self.steps.is_empty() && self.waiting.is_empty()
    }

    /// Whether an object has a step, a wait or a block.
    pub fn concerns(&self, object: &Object) -> bool {
        self.decided().any(|step| &step.object == object)
            || self.waiting.iter().any(|wait| &wait.object == object)
            || self.blocked.iter().any(|block| &block.object == object)
    }

    /// The objects that have a step, a wait or a block.
    pub fn objects(&self) -> BTreeSet<&Object> {
        let steps = self.decided().map(|step| &step.object);
        let waiting = self.waiting.iter().map(|wait| &wait.object);
        steps.chain(waiting).chain(self.blocked.iter().map(|block| &block.object)).collect()
    }

    /// Every step that is decided, held or not.
    pub fn decided(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(self.held.iter().map(|held| &held.step))
    }

    /// The steps that remove drift.
    pub fn drift(&self) -> impl Iterator<Item = &Step> {
        self.decided().filter(|step| step.cause == Cause::Drift)
    }

    /// Counts the objects to add, to change and to destroy; a replacement is both added and destroyed.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let mut changed: Vec<&Object> = Vec::new();
        for step in &self.steps {
            match step.mark() {
                Mark::Create => counts.add += 1,
                Mark::Replace => {
                    counts.add += 1;
                    counts.destroy += 1;
                }
                Mark::Destroy => counts.destroy += 1,
                // An instance whose torrc is written and whose options are set changes once.
                Mark::Update if changed.contains(&&step.object) => {}
                Mark::Update => {
                    changed.push(&step.object);
                    counts.change += 1;
                }
            }
        }
        counts
    }
}

/// How many objects a plan adds, changes and destroys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Objects that will be created, or created again.
    pub add: usize,
    /// Objects that will be updated in place.
    pub change: usize,
    /// Objects that will be destroyed, or destroyed before they are created again.
    pub destroy: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan: {} to add, {} to change, {} to destroy.", self.add, self.change, self.destroy)
    }
}

/// Something that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What is waited for.
    pub object: Object,
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
    /// A change of the guard is on trial.
    OnTrial(OnTrial),
    /// Its turn comes when more of its pool is ready again.
    MaxUnavailable,
    /// Another instance of ours still has an address that it is to have.
    Address {
        /// The address.
        address: SocketAddr,
        /// The instance that has it.
        holder: InstanceName,
    },
    /// Its nodes go to other instances, which cannot take them yet.
    Successors,
    /// The exit that it is to have for itself is still another one's.
    Exit,
    /// It takes no new connections, and goes when those that it has have ended or had their time.
    Draining {
        /// How many it has.
        connections: usize,
    },
    /// It ends over and over, and is not started again for now.
    HeldDown {
        /// How often it was started again in a short time.
        restarts: u32,
        /// Until when.
        until: Timestamp,
    },
    /// It was told to use new circuits, and tor puts that off.
    NewCircuits,
    /// A step of it begins circuits, and a guard relay would take them for too many.
    GuardRelay(Paced),
}

/// Something that desired asks for and that cannot be had as things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What it is about.
    pub object: Object,
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
        countries: Vec<Country>,
    },
    /// Fewer exits fit than nodes want one for themselves.
    TooFewExits {
        /// The pool.
        pool: PoolName,
        /// How many it wishes.
        wished: usize,
        /// The prefix of the subnets that they have to differ in; `None` where an address of their own is enough.
        subnet: Option<u8>,
        /// How many exist that fit, and differ so.
        exist: usize,
        /// How many of these have been given to other pools.
        elsewhere: usize,
        /// The countries wished; none means any.
        countries: Vec<Country>,
    },
    /// Somebody else listens where a node should.
    PortTaken {
        /// Where.
        address: SocketAddr,
        /// Who, as far as can be seen.
        holder: String,
    },
    /// The guard is not in place, so no port may open that others could reach.
    Unguarded,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrapping { progress, summary } => write!(f, "bootstrapping, {progress} %: {summary}"),
            Self::Relays => f.write_str("waiting for the list of relays"),
            Self::Circuit => f.write_str("building its first circuit"),
            Self::OnTrial(OnTrial { confirm: Confirmation::Manual, .. }) => f.write_str(
                "its change is on trial: `exitpool confirm` keeps it, or it is taken back (firewall.confirm_within)",
            ),
            Self::OnTrial(OnTrial { failing, .. }) => {
                let failing = failing.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                write!(
                    f,
                    "its change is on trial, until its probes pass or it is taken back (firewall.confirm_within){failing}"
                )
            }
            Self::Exit => f.write_str("waiting for an exit of its own that another node still uses"),
            Self::Draining { connections: 1 } => f.write_str("draining: 1 connection is left (reconcile.drain_for)"),
            Self::Draining { connections } => {
                write!(f, "draining: {connections} connections are left (reconcile.drain_for)")
            }
            Self::HeldDown { restarts, until } => HeldDown { restarts: *restarts, until: *until }.fmt(f),
            Self::GuardRelay(paced) => paced.fmt(f),
            Self::NewCircuits => f.write_str("waiting for new circuits: tor changes to some at most every 10 s"),
            Self::MaxUnavailable => f.write_str("waiting for more of its pool to be ready (reconcile.max_unavailable)"),
            Self::Address { address, holder } => {
                write!(f, "waiting for {address}, which the tor of {holder} serves until this one can")
            }
            Self::Successors => f.write_str("serving on until other tors can take its nodes over"),
        }
    }
}

impl fmt::Display for BlockReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => write!(f, "cannot be observed: {why}"),
            Self::Program(why) => f.write_str(why),
            Self::NoExits { countries } if countries.is_empty() => {
                f.write_str("no exit of the Tor network fits `exits`")
            }
            Self::NoExits { countries } => {
                write!(f, "the Tor network has no exit in {} that fits", listed(countries))
            }
            Self::TooFewExits { pool, wished, subnet, exist, elsewhere, countries } => {
                match subnet {
                    None => write!(f, "{pool}: {wished} distinct exits wished, {exist} exist")?,
                    Some(prefix) => {
                        write!(f, "{pool}: {wished} exits in /{prefix} subnets of their own wished, {exist} exist")?;
                    }
                }
                if !countries.is_empty() {
                    write!(f, " in {}", listed(countries))?;
                }
                if *elsewhere > 0 { write!(f, ", {elsewhere} of them used by other pools") } else { Ok(()) }
            }
            Self::PortTaken { address, holder } => {
                write!(f, "{address} is taken by {holder}: stop it, or move the pool's socks_port")
            }
            Self::Unguarded => f.write_str("not opened: the firewall guard is not known to be in place"),
        }
    }
}

fn listed(countries: &[Country]) -> String {
    let names: Vec<String> = countries.iter().map(ToString::to_string).collect();
    names.join(", ")
}
