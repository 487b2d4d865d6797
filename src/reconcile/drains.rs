//! Since when instances that go are drained: the clock that a plan does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::desired::InstanceName;
use crate::plan::{Object, Plan, WaitReason};

/// How often it is looked whether the last connection has ended: tor does not say so.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The instances that are drained, and since when.
#[derive(Debug, Clone, Default)]
pub struct Drains(BTreeMap<InstanceName, Timestamp>);

impl Drains {
    /// Takes in what a plan waits for.
    pub fn follow(&mut self, plan: &Plan, now: Timestamp) {
        let draining = plan.waiting.iter().filter_map(|wait| match (&wait.object, &wait.reason) {
            (Object::Instance(name), WaitReason::Draining { .. }) => Some(name.clone()),
            _ => None,
        });
        let before = std::mem::take(&mut self.0);
        self.0 = draining.map(|name| (name.clone(), before.get(&name).copied().unwrap_or(now))).collect();
    }

    /// The instances whose connections have had their time.
    pub fn over(&self, drain_for: Duration, now: Timestamp) -> BTreeSet<InstanceName> {
        self.0.iter().filter(|(_, since)| now >= **since + drain_for).map(|(name, _)| name.clone()).collect()
    }

    /// When to look again; `None` while nothing is drained.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.0.is_empty()).then(|| now + LOOK_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Wait;

    #[test]
    fn a_drain_ends_when_its_time_is_over_and_begins_anew_after_it_was_called_off() {
        let name: InstanceName = "eu-0".parse().unwrap();
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let wait = Wait { object: Object::Instance(name.clone()), reason: WaitReason::Draining { connections: 1 } };
        let draining = Plan { waiting: vec![wait], ..Plan::default() };
        let mut drains = Drains::default();
        assert_eq!(drains.next(at(0)), None);
        let half_a_minute = Duration::from_secs(30);
        drains.follow(&draining, at(0));
        drains.follow(&draining, at(20));
        assert!(drains.over(half_a_minute, at(29)).is_empty() && drains.next(at(29)).is_some());
        assert_eq!(drains.over(half_a_minute, at(30)), [name].into());
        drains.follow(&Plan::default(), at(30));
        drains.follow(&draining, at(40));
        assert!(drains.over(half_a_minute, at(60)).is_empty());
    }
}
