//! What a plan holds back: steps that are decided, and that an operator's word keeps or has to set free.
//!
//! The word comes in as a [`Mandate`]. Who gave it, and when it ends, does not belong here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::{Confirmation, Fingerprint, InstanceName, PoolName, Prune, ReconcilePolicy};
use crate::firewall::model::Guard;
use crate::observe::Visitor;

use super::care::Care;
use super::lockout::{self, Closing};
use super::step::{Object, Step};

/// What a plan has to heed beyond the file: what operators have said about the revision, and what is due by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mandate {
    /// What is left alone.
    pub suspended: Suspended,
    /// Whether `reconcile.max_delete` holds.
    pub deletions: Deletions,
    /// The instances whose removal was confirmed.
    pub confirmed: BTreeSet<InstanceName>,
    /// Whom the revision would have locked out when it was first looked at: that they have left since changes nothing.
    pub endangered: BTreeSet<Visitor>,
    /// The change of the guard that is on trial.
    pub on_trial: Option<OnTrial>,
    /// What became of the revision's change of the guard, where it was taken back.
    pub taken_back: Option<TakenBack>,
    /// What the health of the instances asks for.
    pub care: Care,
    /// The exits that an instance has to leave alone for now, by instance; one that is named with none had some before.
    pub avoid: BTreeMap<InstanceName, BTreeSet<Fingerprint>>,
    /// The instances that are to use new circuits, with how often each had done so before ([`Renewal::done`]): once it has
    /// done so more often, nothing is left to do.
    ///
    /// [`Renewal::done`]: crate::observe::Renewal::done
    pub renew: BTreeMap<InstanceName, u64>,
    /// How often an instance has been given another exit: it enters the draw of those that have one for themselves.
    pub turns: BTreeMap<InstanceName, u64>,
}

/// A change of the guard that is on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnTrial {
    /// Who may keep it.
    pub confirm: Confirmation,
    /// The probe that has not passed yet, where one has been asked.
    pub failing: Option<String>,
}

/// A change of the guard that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    /// What is in its place.
    pub fallback: Guard,
    /// Why.
    pub cause: TakeBack,
    /// Why that could not be put in its place, where it could not.
    pub failed: Option<String>,
}

/// Why a change was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakeBack {
    /// A probe did not pass in time.
    ProbeFailed(String),
    /// No operator confirmed it in time.
    Unconfirmed,
}

/// What is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Suspended {
    /// Nothing.
    #[default]
    Nothing,
    /// These pools.
    Pools(BTreeSet<PoolName>),
    /// The whole host.
    Everything,
}

/// Whether a plan may destroy as many nodes as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletions {
    /// Not more than `reconcile.max_delete`.
    #[default]
    Limited,
    /// An operator has allowed it.
    Allowed,
}

/// A step that is decided and not carried out for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The step.
    pub step: Step,
    /// Why.
    pub reason: HoldReason,
}

/// Why a step is not carried out for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// An operator has suspended the host, or the pool.
    Suspended,
    /// The removal has to be confirmed.
    Unconfirmed,
    /// Too many nodes would be destroyed at once.
    MaxDelete {
        /// How many would be.
        nodes: usize,
        /// How many exist.
        existing: usize,
        /// The limit.
        percent: u8,
    },
    /// Somebody would be locked out who is inside.
    Lockout {
        /// They.
        visitors: BTreeSet<Visitor>,
        /// What the first of them would be locked out by.
        by: Closing,
        /// The line of the file where that stands.
        line: Option<usize>,
    },
    /// The change was tried, and taken back.
    TakenBack {
        /// Why.
        cause: TakeBack,
        /// Why what stood before could not be put back, where it could not.
        failed: Option<String>,
    },
}

/// The mandate where no operator has said anything.
pub static BY_FILE_ALONE: Mandate = Mandate {
    suspended: Suspended::Nothing,
    deletions: Deletions::Limited,
    confirmed: BTreeSet::new(),
    endangered: BTreeSet::new(),
    on_trial: None,
    taken_back: None,
    care: Care::NONE,
    avoid: BTreeMap::new(),
    renew: BTreeMap::new(),
    turns: BTreeMap::new(),
};

impl Mandate {
    /// Why any step on an object is held, where it is.
    pub(super) fn hold(&self, object: &Object) -> Option<HoldReason> {
        let held = match object {
            Object::Guard => self.suspended == Suspended::Everything,
            Object::Instance(name) => self.suspended.covers(name.pool()),
        };
        held.then_some(HoldReason::Suspended)
    }
}

impl Suspended {
    /// Whether a pool is left alone.
    pub fn covers(&self, pool: &PoolName) -> bool {
        match self {
            Self::Nothing => false,
            Self::Pools(pools) => pools.contains(pool),
            Self::Everything => true,
        }
    }
}

/// The instances that nobody wants any more, judged together.
pub(super) struct Leaving<'a> {
    policy: &'a ReconcilePolicy,
    mandate: &'a Mandate,
    limit: Option<HoldReason>,
}

impl<'a> Leaving<'a> {
    /// Judges the instances that would leave, each with so many nodes that nobody wants any more, where so many exist.
    pub(super) fn new(
        policy: &'a ReconcilePolicy,
        mandate: &'a Mandate,
        lost: Vec<(&InstanceName, usize)>,
        existing: usize,
    ) -> Self {
        let mut leaving = Self { policy, mandate, limit: None };
        let due = lost.into_iter().filter(|(name, _)| leaving.hold(name).is_none());
        let nodes = due.map(|(_, nodes)| nodes).sum::<usize>();
        let percent = policy.max_delete_percent;
        let too_many = nodes * 100 > existing * usize::from(percent);
        if too_many && mandate.deletions == Deletions::Limited {
            leaving.limit = Some(HoldReason::MaxDelete { nodes, existing, percent });
        }
        leaving
    }

    /// Why one of them stays for now, where it does.
    pub(super) fn hold(&self, name: &InstanceName) -> Option<HoldReason> {
        let unconfirmed = self.policy.prune == Prune::Confirm && !self.mandate.confirmed.contains(name);
        self.mandate
            .hold(&Object::Instance(name.clone()))
            .or(unconfirmed.then_some(HoldReason::Unconfirmed))
            .or_else(|| self.limit.clone())
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.step, self.reason)
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended => f.write_str("when it is resumed"),
            Self::Unconfirmed => f.write_str("when that is confirmed (reconcile.prune)"),
            Self::MaxDelete { .. } => f.write_str("when that is allowed (reconcile.max_delete)"),
            Self::Lockout { visitors, by, line } => {
                write!(f, "when it locks nobody out: {}", lockout::advice(visitors, *by, *line))
            }
            Self::TakenBack { cause, .. } => write!(f, "with a newer revision: it was taken back, because {cause}"),
        }
    }
}

impl fmt::Display for TakeBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProbeFailed(why) => f.write_str(why),
            Self::Unconfirmed => f.write_str("nobody confirmed it within firewall.confirm_within"),
        }
    }
}

impl HoldReason {
    /// The labels of all reasons, fit for a metric.
    pub const LABELS: [&'static str; 5] = ["suspended", "unconfirmed", "max_delete", "lockout", "taken_back"];

    /// The reason as a label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::Unconfirmed => "unconfirmed",
            Self::MaxDelete { .. } => "max_delete",
            Self::Lockout { .. } => "lockout",
            Self::TakenBack { .. } => "taken_back",
        }
    }

    /// What so many held steps mean, and what an operator can do about them.
    pub fn advice(&self, steps: usize) -> String {
        let nodes_wait =
            |one: &str, many: &str| if steps == 1 { format!("1 {one}") } else { format!("{steps} {many}") };
        match self {
            Self::Suspended => {
                format!("{}: `exitpool resume` goes on", nodes_wait("step is held", "steps are held"))
            }
            Self::Unconfirmed => {
                let wait = nodes_wait("node waits to be destroyed", "nodes wait to be destroyed");
                format!("{wait}: `exitpool confirm` does it (reconcile.prune)")
            }
            Self::MaxDelete { nodes, existing, percent } => format!(
                "{nodes} of {existing} nodes would be destroyed, and reconcile.max_delete is {percent}%: \
                 `exitpool apply --allow-delete` lets this revision through"
            ),
            Self::Lockout { visitors, by, line } => lockout::advice(visitors, *by, *line),
            Self::TakenBack { cause, failed } => {
                let failed = failed.as_ref().map(|why| format!("; the guard before it could not be put back: {why}"));
                format!(
                    "the change of the firewall was taken back, because {cause}: a newer revision is waited for{}",
                    failed.unwrap_or_default()
                )
            }
        }
    }
}
