//! The instances whose `torrc` was changed while they ran: whether they serve with it, and from when on that is known.
//!
//! What a tor had before goes on as it was, circuits and connections, and carries consumers for minutes. So an instance counts
//! as proven once it has built a circuit after the change, or passed a probe, and not before a while is over. Where it has
//! built none by then, its health says so.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::desired::{HealthPolicy, InstanceName};
use crate::health::Probes;
use crate::observe::Observed;

/// A change may have no effect before the next circuit; so long it counts as not proven at least.
const SETTLES_AFTER: Duration = Duration::from_secs(15);
/// The same where instances are probed: the next probe tells, and is not waited for longer than this.
const LONGEST_SETTLING: Duration = Duration::from_secs(60);

/// The instances that are not proven yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Settling(BTreeMap<InstanceName, Change>);

/// A change that is not proven yet.
#[derive(Debug, Clone, Copy)]
struct Change {
    at: Timestamp,
    /// By when it should be.
    by: Timestamp,
}

impl Settling {
    /// An instance was changed.
    pub fn begin(&mut self, name: &InstanceName, health: &HealthPolicy, now: Timestamp) {
        let probed = health.probe.as_ref().map(|probe| probe.every + probe.timeout);
        let within = probed.map_or(SETTLES_AFTER, |time| time.clamp(SETTLES_AFTER, LONGEST_SETTLING));
        self.0.insert(name.clone(), Change { at: now, by: now + within });
    }

    /// An instance has another process: what it needs before it serves is seen as with any other.
    pub fn forget(&mut self, name: &InstanceName) {
        self.0.remove(name);
    }

    /// Lets those go that are proven, and those that are not there any more.
    pub fn follow(&mut self, observed: &Observed, probes: &Probes, now: Timestamp) {
        self.0.retain(|name, change| {
            let Some(instance) = observed.instances.get(name).filter(|seen| seen.process.present().is_some()) else {
                return false;
            };
            let has_built = instance.control.present().is_some_and(|control| control.begun.built > 0);
            let has_passed = probes.get(name).is_some_and(|probed| probed.outcome.is_ok() && probed.at > change.at);
            now < change.by || !(has_built || has_passed)
        });
    }

    /// All of them, each with the time by which it should be proven.
    pub fn all(&self) -> BTreeMap<InstanceName, Timestamp> {
        self.0.iter().map(|(name, change)| (name.clone(), change.by)).collect()
    }

    /// Who they are.
    pub fn names(&self) -> impl Iterator<Item = &InstanceName> {
        self.0.keys()
    }

    /// When one of them may be proven, or is late.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.values().map(|change| change.by).filter(|by| *by > now).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::health::{Answer, Failed, Probed, Suspect};
    use crate::observe::{Begun, Control, Instance, Observation, Process};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn world(begun: Begun) -> Observed {
        let control = Observation::Present(Arc::new(Control { begun, ..Control::default() }));
        let process = Observation::Present(Process { pid: 7, started: 1 });
        let instance = Instance { process, control, ..Instance::default() };
        Observed { instances: [("eu-0".parse().unwrap(), instance)].into(), ..Observed::default() }
    }

    fn changed() -> Settling {
        let mut settling = Settling::default();
        settling.begin(&"eu-0".parse().unwrap(), &HealthPolicy::default(), at(100));
        settling
    }

    #[test]
    fn an_instance_is_proven_by_a_circuit_and_never_by_time_alone() {
        let (none, one) = (world(Begun { built: 0, failed: 3 }), world(Begun { built: 1, failed: 0 }));
        let mut settling = changed();
        settling.follow(&one, &Probes::new(), at(114));
        assert_eq!((settling.all().len(), settling.next(at(114))), (1, Some(at(115))), "it was changed just now");
        settling.follow(&none, &Probes::new(), at(100_000));
        assert_eq!((settling.all().len(), settling.next(at(100_000))), (1, None));
        settling.follow(&one, &Probes::new(), at(100_001));
        assert!(settling.all().is_empty());
    }

    #[test]
    fn a_probe_that_has_passed_since_proves_as_well() {
        let failed = Failed { why: "no answer".to_owned(), suspect: Suspect::Node };
        let passed = Ok(Answer { latency_ms: 7, address: None });
        let mut settling = changed();
        for (when, outcome, left) in [(99, passed.clone(), 1), (110, Err(failed), 1), (111, passed, 0)] {
            let probes = [("eu-0".parse().unwrap(), Probed { at: at(when), outcome })].into();
            settling.follow(&world(Begun::default()), &probes, at(200));
            assert_eq!(settling.all().len(), left, "a probe at {when}");
        }
    }

    #[test]
    fn who_is_gone_or_has_another_process_is_not_waited_for() {
        let mut settling = changed();
        settling.follow(&Observed::default(), &Probes::new(), at(101));
        assert!(settling.all().is_empty());
        let mut settling = changed();
        settling.forget(&"eu-0".parse().unwrap());
        assert!(settling.all().is_empty());
    }
}
