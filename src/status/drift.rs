//! Drift: what is not as it was left, since when, and what was brought back.

use jiff::Timestamp;

use super::totals::is_new_pass;
use super::{Inputs, Status};
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
}

impl Drift {
    /// The drift after a pass.
    pub(super) fn after(inputs: &Inputs<'_>) -> Self {
        let repaired = items(inputs, inputs.pass.map_or(&[][..], |pass| &pass.applied).iter());
        let lately = lately(inputs, &repaired);
        Self { items: items(inputs, inputs.plan.decided()), repaired, lately }
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
fn items<'a>(inputs: &Inputs<'_>, steps: impl Iterator<Item = &'a Step>) -> Vec<DriftItem> {
    let item = |step: &Step| DriftItem {
        object: step.object.clone(),
        sentence: step.to_string(),
        since: inputs.previous.and_then(|previous| since(previous, &step.object)).unwrap_or(inputs.now),
    };
    steps.filter(|step| step.cause == Cause::Drift).map(item).collect()
}

/// When an object's drift was first seen, where it was there before.
fn since(previous: &Status, object: &Object) -> Option<Timestamp> {
    previous.drift.items.iter().find(|item| &item.object == object).map(|item| item.since)
}
