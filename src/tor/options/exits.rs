//! Which exits an instance is to be given, as the options that name them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use super::shared::shared;
use super::{EXCLUDE_EXIT_NODES, EXIT_NODES, RunningOptions};
use crate::desired::Fingerprint;

/// Which exits an instance is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitChoice {
    /// Any exit: `ExitNodes` stays unset.
    Any,
    /// Only these.
    Only(ExitNodes),
    /// Not known yet: the SOCKS ports stay as they are, which is closed at a start.
    Unresolved,
    /// None exists that fits: the SOCKS ports close.
    Nothing,
}

/// A set of exits as the option that names them, which the instances of a pool share: it is long. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitNodes {
    option: Arc<RunningOptions>,
    exits: Arc<BTreeSet<Fingerprint>>,
}

impl ExitNodes {
    /// Writes exits down; `None` for an empty set, which tor takes for any exit.
    pub fn of(exits: BTreeSet<Fingerprint>) -> Option<Self> {
        (!exits.is_empty()).then(|| {
            let option = (EXIT_NODES.to_owned(), shared(vec![relay_list(&exits)]));
            Self { option: Arc::new(RunningOptions([option].into())), exits: Arc::new(exits) }
        })
    }

    /// The exit, where it is one.
    pub fn only(&self) -> Option<Fingerprint> {
        let mut exits = self.exits.iter();
        exits.next().copied().filter(|_| exits.next().is_none())
    }

    /// Whether none is left without these.
    fn is_within(&self, others: &BTreeSet<Fingerprint>) -> bool {
        self.exits.len() <= others.len() && self.exits.is_subset(others)
    }
}

/// Writes relays as tor's options do.
fn relay_list(relays: &BTreeSet<Fingerprint>) -> String {
    let names: Vec<String> = relays.iter().map(|fingerprint| format!("${fingerprint}")).collect();
    names.join(",")
}

impl ExitChoice {
    /// The option that names the exits; none where they are left as they are.
    pub fn exit_nodes(&self) -> &RunningOptions {
        static LEFT: RunningOptions = RunningOptions(BTreeMap::new());
        static ANY: LazyLock<RunningOptions> =
            LazyLock::new(|| RunningOptions([(EXIT_NODES.to_owned(), shared(vec![]))].into()));
        match self {
            // The exits of before stay: a request that has come in already must not leave from others.
            Self::Unresolved | Self::Nothing => &LEFT,
            Self::Any => &ANY,
            Self::Only(exits) => &exits.option,
        }
    }

    /// The option that takes exits away for now; none where there are none, or where none would be left.
    pub fn without(&self, avoided: &BTreeSet<Fingerprint>) -> RunningOptions {
        let leaves_none = matches!(self, Self::Only(exits) if exits.is_within(avoided));
        let mut options = RunningOptions::default();
        if !avoided.is_empty() && !leaves_none {
            options.0.insert(EXCLUDE_EXIT_NODES.to_owned(), shared(vec![relay_list(avoided)]));
        }
        options
    }
}
