//! Which starts wait: the first instance downloads alone, and the others start from what it has. Pure.

use std::collections::BTreeSet;

use crate::desired::InstanceName;
use crate::observe::{Instance, Observed};
use crate::plan::{Action, Object, Step};

/// So many instances for each core may be starting at once: a start is half waiting.
pub const STARTING_PER_CORE: usize = 4;

/// Takes the starts away whose turn has not come.
///
/// - While no instance has a directory cache that others could start from, one starts alone. The Tor network serves one
///   download then instead of a hundred.
/// - No more than `at_once` instances bootstrap at once.
/// - Nobody waits for an instance that is `stuck`: there the others start as if there were something to start from.
pub fn pace(steps: Vec<Step>, observed: &Observed, stuck: &BTreeSet<&InstanceName>, at_once: usize) -> Vec<Step> {
    let instances = &observed.instances;
    let mut under_way =
        instances.iter().filter(|(name, instance)| is_under_way(instance) && !stuck.contains(name)).count();
    let has_source = instances.values().any(|instance| instance.has_cache || has_bootstrapped(instance));
    let has_source = has_source || !stuck.is_empty();
    let limit = if has_source { at_once.max(1) } else { 1 };
    let mut turn = |step: &Step| {
        let (Action::StartInstance { .. }, Object::Instance(_)) = (&step.action, &step.object) else { return true };
        let is_next = under_way < limit;
        under_way += usize::from(is_next);
        is_next
    };
    steps.into_iter().filter(|step| turn(step)).collect()
}

fn has_bootstrapped(instance: &Instance) -> bool {
    instance.control.present().is_some_and(|control| control.bootstrap.is_done())
}

/// Whether it has a process and is not up yet. One that nobody can ask is not waited for.
pub(super) fn is_under_way(instance: &Instance) -> bool {
    instance.process.present().is_some() && instance.control.unknown().is_none() && !has_bootstrapped(instance)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::observe::{Bootstrap, Control, Observation, Process};
    use crate::plan::Cause;

    fn name(text: &str) -> InstanceName {
        text.parse().unwrap()
    }

    fn starts(names: &[&str]) -> Vec<Step> {
        let start = |text: &&str| Step {
            object: Object::Instance(name(text)),
            cause: Cause::Change,
            action: Action::StartInstance { torrc: String::new(), fresh: true },
        };
        let destroy =
            Step { object: Object::Instance(name("us-9")), cause: Cause::Change, action: Action::DestroyInstance };
        std::iter::once(destroy).chain(names.iter().map(start)).collect()
    }

    fn running(progress: u8) -> Instance {
        let bootstrap = Bootstrap { progress, ..Bootstrap::default() };
        Instance {
            process: Observation::Present(Process { pid: 7, started: 1 }),
            control: Observation::Present(Arc::new(Control { bootstrap, ..Control::default() })),
            ..Instance::default()
        }
    }

    /// How many of three starts go on, beside these instances.
    fn allowed(instances: &[(&str, Instance)], stuck: &[&str]) -> usize {
        let stuck: Vec<InstanceName> = stuck.iter().map(|text| name(text)).collect();
        let instances = instances.iter().map(|(text, instance)| (name(text), instance.clone())).collect();
        let observed = Observed { instances, ..Observed::default() };
        let steps = pace(starts(&["eu-1", "eu-2", "eu-3"]), &observed, &stuck.iter().collect(), 2);
        assert_eq!(steps[0].action, Action::DestroyInstance, "only starts wait");
        steps.len() - 1
    }

    #[test]
    fn the_first_starts_alone_and_the_others_from_what_it_has() {
        assert_eq!(allowed(&[], &[]), 1);
        assert_eq!(allowed(&[("eu-0", running(50))], &[]), 0);
        assert_eq!(allowed(&[("eu-0", running(100))], &[]), 2, "as many as bootstrap at once");
        assert_eq!(allowed(&[("eu-0", running(100)), ("eu-1", running(50))], &[]), 1);
    }

    #[test]
    fn a_cache_that_is_there_is_waited_for_by_nobody() {
        let stopped = Instance { has_cache: true, ..Instance::default() };
        assert_eq!(allowed(&[("eu-1", stopped)], &[]), 2);
    }

    #[test]
    fn nobody_waits_for_one_that_makes_no_progress() {
        assert_eq!(allowed(&[("eu-0", running(5))], &["eu-0"]), 2);
        let hangs = Instance { control: Observation::Unknown("no answer".to_owned()), ..running(5) };
        assert_eq!(allowed(&[("eu-0", hangs)], &[]), 1);
    }
}
