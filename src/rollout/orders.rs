//! What operators have said to the host itself: it stands until it ends, is taken back, or is used up.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::desired::{InstanceName, PoolName, Revision};
use crate::observe::Visitor;
use crate::plan::{Deletions, Mandate, Suspended, TakenBack};

/// How many marks of bad revisions are kept: more than revisions are kept to go back to.
const MOST_MARKS: usize = 50;

/// What operators have said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    /// The whole host is left alone.
    pub host: Option<Suspension>,
    /// These pools are.
    pub pools: BTreeMap<PoolName, Suspension>,
    /// The revision that may destroy more nodes than `reconcile.max_delete`.
    pub may_delete: Option<Revision>,
    /// What may be removed.
    pub confirmed: Option<Confirmed>,
    /// Whom a revision would have locked out.
    pub endangered: Option<Endangered>,
    /// The change of the guard that was taken back last.
    pub taken_back: Option<Retreat>,
    /// The revisions that were left by a rollback, oldest first.
    pub bad: Vec<Mark>,
}

/// A revision whose change of the guard was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retreat {
    /// The revision.
    pub revision: Revision,
    /// What became of it.
    pub taken_back: TakenBack,
}

/// Those whom a revision would have locked out: it stays held for their sake, also when they have left meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endangered {
    /// The revision.
    pub revision: Revision,
    /// They.
    pub visitors: BTreeSet<Visitor>,
}

/// An order to leave something alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// The longest reason, in characters: it stands on the page in one line.
const LONGEST_REASON: usize = 200;

/// Understands the reason of a suspension: one line that says something.
pub fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_line = !text.is_empty() && text.chars().count() <= LONGEST_REASON && !text.chars().any(char::is_control);
    is_line
        .then(|| text.to_owned())
        .ok_or_else(|| format!("a reason is one line of at most {LONGEST_REASON} characters"))
}

/// Removals that were confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The revision that does not want them any more.
    pub revision: Revision,
    /// The instances.
    pub instances: BTreeSet<InstanceName>,
}

/// The mark of a revision that was left by a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The revision.
    pub revision: Revision,
    /// Who went back.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Orders {
    /// Whether a revision was left by a rollback.
    pub fn is_bad(&self, revision: &Revision) -> bool {
        self.bad.iter().any(|mark| mark.revision == *revision)
    }

    /// Marks a revision as bad.
    pub fn mark(&mut self, mark: Mark) {
        self.forgive(&mark.revision.clone());
        self.bad.push(mark);
        self.bad.drain(..self.bad.len().saturating_sub(MOST_MARKS));
    }

    /// Takes the mark of a revision away.
    pub fn forgive(&mut self, revision: &Revision) {
        self.bad.retain(|mark| mark.revision != *revision);
    }

    /// Confirms removals for a revision, beside those confirmed for it before.
    pub fn confirm(&mut self, revision: &Revision, instances: BTreeSet<InstanceName>) {
        let before = self.confirmed.take().filter(|confirmed| confirmed.revision == *revision);
        let before = before.map(|confirmed| confirmed.instances).unwrap_or_default();
        self.confirmed =
            Some(Confirmed { revision: revision.clone(), instances: before.into_iter().chain(instances).collect() });
    }

    /// What the plan of a revision may do.
    pub fn mandate(&self, revision: &Revision) -> Mandate {
        let suspended = match (&self.host, self.pools.is_empty()) {
            (Some(_), _) => Suspended::Everything,
            (None, false) => Suspended::Pools(self.pools.keys().cloned().collect()),
            (None, true) => Suspended::Nothing,
        };
        let allowed = self.may_delete.as_ref() == Some(revision);
        let confirmed = self.confirmed.as_ref().filter(|confirmed| confirmed.revision == *revision);
        Mandate {
            suspended,
            deletions: if allowed { Deletions::Allowed } else { Deletions::Limited },
            confirmed: confirmed.map(|confirmed| confirmed.instances.clone()).unwrap_or_default(),
            endangered: self.endangered_by(revision).cloned().unwrap_or_default(),
            taken_back: self.retreat(revision).map(|retreat| retreat.taken_back.clone()),
            ..Mandate::default()
        }
    }

    fn retreat(&self, revision: &Revision) -> Option<&Retreat> {
        self.taken_back.as_ref().filter(|retreat| retreat.revision == *revision)
    }

    /// Whom a revision would have locked out, as far as that was seen.
    fn endangered_by(&self, revision: &Revision) -> Option<&BTreeSet<Visitor>> {
        self.endangered.as_ref().filter(|it| it.revision == *revision).map(|it| &it.visitors)
    }

    /// Takes in whom a revision would lock out now; says whether that is new.
    pub fn endanger(&mut self, revision: &Revision, visitors: BTreeSet<Visitor>) -> bool {
        let known = self.endangered_by(revision).cloned().unwrap_or_default();
        let is_new = !visitors.is_subset(&known);
        if is_new {
            let visitors = known.union(&visitors).copied().collect();
            self.endangered = Some(Endangered { revision: revision.clone(), visitors });
        }
        is_new
    }

    /// Ends the suspensions whose time is over; says which, one sentence each.
    pub fn expire(&mut self, now: Timestamp) -> Vec<String> {
        let mut ended = Vec::new();
        if self.host.take_if(|suspension| suspension.until <= now).is_some() {
            ended.push("the host".to_owned());
        }
        self.pools.retain(|pool, suspension| {
            let goes_on = suspension.until > now;
            if !goes_on {
                ended.push(format!("pool {pool}"));
            }
            goes_on
        });
        ended.into_iter().map(|what| format!("the time is over for which {what} was suspended")).collect()
    }

    /// When the first suspension ends.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.host.iter().chain(self.pools.values()).map(|suspension| suspension.until).min()
    }
}
