//! Drift: what is not as it was left, since when, by whom where that is known, and what was brought back.

use jiff::Timestamp;

use super::describe::describe_fight;
use super::totals::is_new_pass;
use super::{Fight, Inputs, Status};
use crate::observe::Author;
use crate::plan::step::{Cause, Object, Step};

/// What drifted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drift {
    /// What is still drifted after the pass.
    pub items: Vec<DriftItem>,
    /// What the pass brought back.
    pub repaired: Vec<DriftItem>,
    /// What was brought back lately, newest first, at most [`KEPT_REPAIRS`].
    pub lately: Vec<Repair>,
}

/// How many repairs are remembered: an operator who looks an hour later still sees what happened.
pub const KEPT_REPAIRS: usize = 20;

/// A drift that was brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// What had drifted.
    pub item: DriftItem,
    /// When it was brought back.
    pub at: Timestamp,
}

/// One object that is not as it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftItem {
    /// The object.
    pub object: Object,
    /// The sentence of the step that removes it.
    pub sentence: String,
    /// When it was first seen.
    pub since: Timestamp,
    /// Who changed it last; `None` where nobody knows, as nobody does of an instance.
    pub author: Option<Author>,
    /// What is known of it where it needs the same repair over and over, and the next one waits.
    pub fight: Option<Fight>,
}

impl DriftItem {
    /// The sentence, with who did it, and with when it is repaired where that has to wait.
    pub fn told(&self) -> String {
        match (&self.fight, &self.object) {
            (Some(fight), object) => format!("{}; {}", self.sentence, describe_fight(object, fight)),
            (None, Object::Guard) => format!("{}; {}", self.sentence, Author::told(self.author.as_ref())),
            (None, Object::Instance(_)) => self.sentence.clone(),
        }
    }
}

impl Drift {
    /// The drift after a pass.
    pub(super) fn after(inputs: &Inputs<'_>) -> Self {
        let (pass, left) = (inputs.pass, inputs.observed.guard_author.as_ref());
        let before = pass.and_then(|pass| pass.guard_author.as_ref());
        let repaired = items(inputs, before, pass.map_or(&[][..], |pass| &pass.applied).iter());
        let lately = lately(inputs, &repaired);
        let mut items = items(inputs, left, inputs.plan.decided());
        items.iter_mut().for_each(|item| item.fight = inputs.fights.get(&item.object).cloned());
        Self { items, repaired, lately }
    }

    /// Who changed the guard last, of the changes that were found.
    pub(super) fn guard_author(&self) -> Option<&Author> {
        let items = self.items.iter().chain(self.lately.iter().map(|repair| &repair.item));
        let mut of_the_guard = items.filter(|item| item.object == Object::Guard);
        of_the_guard.next()?.author.as_ref()
    }

    /// Whether an object is known to have drifted.
    pub fn has(&self, object: &Object) -> bool {
        self.items.iter().any(|item| &item.object == object)
    }
}

/// Adds the repairs of a pass to those before it; a pass counts once.
fn lately(inputs: &Inputs<'_>, repaired: &[DriftItem]) -> Vec<Repair> {
    let fresh = if is_new_pass(inputs) { repaired } else { &[] };
    let fresh = fresh.iter().map(|item| Repair { item: item.clone(), at: inputs.now });
    let earlier = inputs.previous.map_or(&[][..], |previous| &previous.drift.lately);
    fresh.chain(earlier.iter().cloned()).take(KEPT_REPAIRS).collect()
}

/// Picks the steps that remove drift.
fn items<'a>(
    inputs: &Inputs<'_>,
    guard_author: Option<&Author>,
    steps: impl Iterator<Item = &'a Step>,
) -> Vec<DriftItem> {
    let item = |step: &Step| {
        let before = inputs.previous.and_then(|previous| known(previous, &step.object));
        let author = guard_author.filter(|_| step.object == Object::Guard).cloned();
        DriftItem {
            object: step.object.clone(),
            sentence: step.to_string(),
            since: before.map_or(inputs.now, |item| item.since),
            author: author.or_else(|| before.and_then(|item| item.author.clone())),
            fight: None,
        }
    };
    steps.filter(|step| step.cause == Cause::Drift).map(item).collect()
}

/// An object's drift, where it was there before.
fn known<'a>(previous: &'a Status, object: &Object) -> Option<&'a DriftItem> {
    previous.drift.items.iter().find(|item| &item.object == object)
}
