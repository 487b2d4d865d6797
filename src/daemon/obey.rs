//! What an operator asks of the running daemon, and its answer. How a revision is read or a step carried out does not
//! belong here: an order changes what the next pass may do, and the pass does it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Unit};

use crate::desired::load::load;
use crate::desired::{InstanceName, PoolName, Revision};
use crate::error::chain;
use crate::plan::{Deletions, HoldReason, Object};
use crate::reconcile::history::{Entry, Kept};
use crate::reconcile::memory::MemoryError;
use crate::rollout::{self, Mark, Orders, Suspension};
use crate::status::Status;

use super::revisions::Revisions;
use super::socket::Verb;

/// Why an order is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The source does not offer the revision that was named.
    #[error("{wanted} is not what the source offers: {offered}")]
    NotOffered { wanted: String, offered: String },
    /// The revision that was named could not be put in force.
    #[error("{wanted} was not put in force: {why}")]
    NotTaken { wanted: String, why: String },
    /// Another revision is in force than was named.
    #[error("{wanted} is not in force, {in_force} is: look at `exitpool status` again")]
    NotInForce { wanted: String, in_force: Revision },
    /// No revision is in force.
    #[error("no revision is in force yet")]
    Nothing,
    /// Nothing waits for confirmation.
    #[error("nothing waits for confirmation")]
    NothingToConfirm,
    /// There is no such pool.
    #[error("there is no pool `{pool}` in {revision}; its pools are: {pools}")]
    NoPool { pool: PoolName, revision: Revision, pools: String },
    /// What should be resumed is not suspended.
    #[error("{what} is not suspended; {others}")]
    NotSuspended { what: String, others: String },
    /// A suspension that makes no sense.
    #[error("cannot suspend: {0}")]
    Suspension(String),
    /// There is nothing to go back to.
    #[error("no earlier revision is kept that was not rolled back: `exitpool history` lists them")]
    NoEarlier,
    /// The named revision was never in force, or is not kept any more.
    #[error("{wanted} is not in the history: `exitpool history` lists what can be gone back to")]
    NotKept { wanted: String },
    /// It is in force already.
    #[error("{0} is in force already")]
    InForce(Revision),
    /// The kept document is not valid any more.
    #[error("{revision} is not valid for this exitpool any more: {why}")]
    Invalid { revision: Revision, why: String },
    /// The order would be forgotten by a restart.
    #[error("the order is not taken, since a restart would forget it")]
    Forgettable(#[from] MemoryError),
}

/// What was done.
type Obeyed = Result<Vec<String>, Refused>;

/// Takes an order of `by`; `published` is what operators see now.
pub(super) fn obey(revisions: &mut Revisions, published: &Status, verb: &Verb, by: &str) -> Obeyed {
    match verb {
        Verb::Apply { revision, deletions } => apply(revisions, revision.as_deref(), *deletions),
        Verb::Confirm { revision } => confirm(revisions, published, revision.as_deref()),
        Verb::Suspend { pool, reason, seconds } => {
            let suspension = suspension(reason, Duration::from_secs(*seconds), by)?;
            suspend(revisions, pool.as_ref(), suspension)
        }
        Verb::Resume { pool } => resume(revisions, pool.as_ref()),
        Verb::Rollback { revision } => rollback(revisions, revision.as_deref(), by),
        // Rotations, lockouts and alerts are not the revisions' business, and some orders are done already.
        Verb::Status
        | Verb::Watch
        | Verb::Reconcile
        | Verb::Reset
        | Verb::Rotate { .. }
        | Verb::Unlock { .. }
        | Verb::Alerts
        | Verb::TryChannel { .. }
        | Verb::EraseAddress { .. }
        | Verb::LogLevel { .. }
        | Verb::Down => Ok(Vec::new()),
    }
}

fn apply(revisions: &mut Revisions, wanted: Option<&str>, deletions: Deletions) -> Obeyed {
    let mut said = Vec::new();
    revisions.read(None);
    if let Some(wanted) = wanted {
        said.push(take_up(revisions, wanted)?);
    }
    if deletions == Deletions::Allowed {
        let revision = in_force(revisions)?;
        let orders = revisions.records.orders().clone();
        revisions.records.order(Orders { may_delete: Some(revision.clone()), ..orders })?;
        said.push(format!("{revision} may destroy more nodes than reconcile.max_delete"));
    }
    Ok(said)
}

fn take_up(revisions: &mut Revisions, wanted: &str) -> Result<String, Refused> {
    let is_wanted = |revision: &Revision| rollout::is_named(revision, wanted);
    let offered = revisions.seen().offered.clone().filter(is_wanted);
    let in_force = |revisions: &Revisions| revisions.in_force().is_some_and(|in_force| is_wanted(&in_force.revision));
    if in_force(revisions) {
        return Ok(format!("{wanted} is in force"));
    }
    let Some(offered) = offered else {
        let seen = revisions.seen();
        let offered = seen.offered.as_ref().map(|offered| format!("it offers {offered}"));
        let error = seen.error.as_ref().map(|error| error.message.clone());
        let offered = offered.or(error).unwrap_or_else(|| "it has not been read yet".to_owned());
        return Err(Refused::NotOffered { wanted: wanted.to_owned(), offered });
    };
    revisions.read(Some(&offered));
    if in_force(revisions) {
        return Ok(format!("{offered} is put in force"));
    }
    let seen = revisions.seen();
    let why = seen.withheld.map(|why| why.to_string()).or(seen.error.as_ref().map(|error| error.message.clone()));
    let why = why.unwrap_or_else(|| "the source has changed meanwhile".to_owned());
    Err(Refused::NotTaken { wanted: wanted.to_owned(), why })
}

fn in_force(revisions: &Revisions) -> Result<Revision, Refused> {
    revisions.in_force().map(|in_force| in_force.revision.clone()).ok_or(Refused::Nothing)
}

/// Confirms exactly what is published as waiting for it.
fn confirm(revisions: &mut Revisions, published: &Status, wanted: Option<&str>) -> Obeyed {
    let revision = in_force(revisions)?;
    if let Some(wanted) = wanted.filter(|wanted| !rollout::is_named(&revision, wanted)) {
        return Err(Refused::NotInForce { wanted: wanted.to_owned(), in_force: revision });
    }
    let of_this_revision = published.revision.as_ref() == Some(&revision);
    let held = published.held.iter().filter(|held| of_this_revision && held.reason == HoldReason::Unconfirmed);
    let instances: BTreeSet<InstanceName> = held
        .filter_map(|held| match &held.step.object {
            Object::Instance(name) => Some(name.clone()),
            Object::Guard => None,
        })
        .collect();
    if instances.is_empty() {
        return Err(Refused::NothingToConfirm);
    }
    let said = instances.iter().map(|name| format!("node {name} may be destroyed")).collect();
    let mut orders = revisions.records.orders().clone();
    orders.confirm(&revision, instances);
    revisions.records.order(orders)?;
    Ok(said)
}

fn suspension(reason: &str, length: Duration, by: &str) -> Result<Suspension, Refused> {
    let reason = rollout::orders::reason(reason).map_err(Refused::Suspension)?;
    let since = Timestamp::now();
    let length = SignedDuration::try_from(length).ok().filter(|length| length.is_positive());
    let until = length.and_then(|length| since.checked_add(length).ok()?.round(Unit::Second).ok());
    let until = until
        .ok_or_else(|| Refused::Suspension("it has to be for longer than nothing, and to end some day".to_owned()))?;
    Ok(Suspension { reason, by: by.to_owned(), since, until })
}

fn suspend(revisions: &mut Revisions, pool: Option<&PoolName>, suspension: Suspension) -> Obeyed {
    let mut orders = revisions.records.orders().clone();
    let said = format!("{} is suspended until {}", what(pool), suspension.until);
    match pool {
        None => orders.host = Some(suspension),
        Some(pool) => {
            let in_force = revisions.in_force().ok_or(Refused::Nothing)?;
            let pools = &in_force.desired.pools;
            if !pools.iter().any(|known| known.name == *pool) {
                let names: Vec<String> = pools.iter().map(|pool| pool.name.to_string()).collect();
                let (pool, revision) = (pool.clone(), in_force.revision.clone());
                return Err(Refused::NoPool { pool, revision, pools: names.join(", ") });
            }
            orders.pools.insert(pool.clone(), suspension);
        }
    }
    revisions.records.order(orders)?;
    Ok(vec![said])
}

fn resume(revisions: &mut Revisions, pool: Option<&PoolName>) -> Obeyed {
    let mut orders = revisions.records.orders().clone();
    let ended = match pool {
        None => orders.host.take(),
        Some(pool) => orders.pools.remove(pool),
    };
    if ended.is_none() {
        return Err(Refused::NotSuspended { what: what(pool), others: others(&orders) });
    }
    revisions.records.order(orders)?;
    Ok(vec![format!("{} is resumed", what(pool))])
}

fn what(pool: Option<&PoolName>) -> String {
    pool.map_or_else(|| "the host".to_owned(), |pool| format!("pool {pool}"))
}

/// What else is suspended, for somebody who meant that.
fn others(orders: &Orders) -> String {
    let host = orders.host.as_ref().map(|_| what(None));
    let all: Vec<String> = host.into_iter().chain(orders.pools.keys().map(|pool| what(Some(pool)))).collect();
    if all.is_empty() { "nothing is".to_owned() } else { format!("what is: {}", all.join(", ")) }
}

/// Goes back to an earlier revision, and marks the one that is left.
fn rollback(revisions: &mut Revisions, wanted: Option<&str>, by: &str) -> Obeyed {
    let left = in_force(revisions)?;
    let target = target(revisions, &left, wanted)?;
    let revision = target.entry.revision.clone();
    let loaded = load("an earlier revision", target.given());
    let desired =
        loaded.map_err(|invalid| Refused::Invalid { revision: revision.clone(), why: chain(&invalid) })?.desired;
    let mut orders = revisions.records.orders().clone();
    orders.forgive(&revision);
    orders.mark(Mark { revision: left.clone(), by: by.to_owned(), at: Timestamp::now() });
    revisions.records.order(orders)?;
    revisions.go_back(target, desired);
    Ok(vec![format!("{revision} is in force again"), format!("{left} is marked as bad: it is not taken up again")])
}

fn target(revisions: &Revisions, left: &Revision, wanted: Option<&str>) -> Result<Kept, Refused> {
    let mut kept = revisions.records.history().list();
    kept.sort_by_key(|kept| kept.entry.taken_up);
    let named = |wanted: &str| {
        let found = kept.iter().map(|kept| &kept.entry.revision).find(|revision| rollout::is_named(revision, wanted));
        found.cloned().ok_or_else(|| Refused::NotKept { wanted: wanted.to_owned() })
    };
    let in_order: Vec<Revision> =
        kept.iter().map(|Kept { entry: Entry { revision, .. }, .. }| revision.clone()).collect();
    let earlier = || rollout::before(&in_order, left, revisions.records.orders()).cloned();
    let revision = match wanted {
        Some(wanted) => named(wanted)?,
        None => earlier().ok_or(Refused::NoEarlier)?,
    };
    if revision == *left {
        return Err(Refused::InForce(revision));
    }
    kept.into_iter().find(|kept| kept.entry.revision == revision).ok_or(Refused::NoEarlier)
}
