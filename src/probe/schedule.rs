//! When each node is probed: few at once, a little apart, and sooner where one fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::ask;
use crate::desired::{InstanceName, Probe};
use crate::health::{Probed, Probes};
use crate::sys::clock;

/// So many probes are under way at once: each builds a circuit, and all of them go through few guard relays.
const AT_ONCE: usize = 4;

/// Two probes begin at least so far apart: relays refuse clients that build more than three circuits a second for long,
/// and all nodes of a host are one client to them.
const GAP: Duration = Duration::from_millis(500);

/// So long a node waits that may not be probed yet.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A node whose probe has failed is probed again after this, where that is sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(20);

/// What is to be probed: an instance that serves, by its first node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The instance.
    pub name: InstanceName,
    /// Where its first node listens.
    pub socks: SocketAddr,
}

/// Probes instances, and keeps how the latest probe of each went.
pub struct Prober {
    probe: Option<Probe>,
    running: BTreeMap<InstanceName, (Target, AbortOnDropHandle<()>)>,
    shared: Arc<Shared>,
}

/// What the tasks of a prober share.
struct Shared {
    probes: Mutex<Probes>,
    turns: Semaphore,
    gate: tokio::sync::Mutex<()>,
    /// Where one fails, another one is asked whether it does as well: the oldest of those that passed.
    witness: Notify,
    news: Box<dyn Fn() + Send + Sync>,
    /// Whether an instance may be probed now.
    may_begin: Box<dyn Fn(&InstanceName) -> bool + Send + Sync>,
}

impl Prober {
    /// Makes a prober that probes nothing yet; `news` is told when a node has begun to fail, fails again, or is well again,
    /// and `may_begin` is asked before each probe, which builds a circuit.
    pub fn new(
        news: impl Fn() + Send + Sync + 'static,
        may_begin: impl Fn(&InstanceName) -> bool + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            probes: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            gate: tokio::sync::Mutex::default(),
            witness: Notify::new(),
            news: Box::new(news),
            may_begin: Box::new(may_begin),
        };
        Self { probe: None, running: BTreeMap::new(), shared: Arc::new(shared) }
    }

    /// How the latest probe through each instance went.
    pub fn probes(&self) -> Probes {
        self.shared.probes().clone()
    }

    /// Goes on with these instances, and with no others.
    pub fn follow(&mut self, probe: Option<&Probe>, targets: &[Target]) {
        if self.probe.as_ref() != probe {
            self.probe = probe.cloned();
            self.running.clear();
            self.shared.probes().clear();
        }
        let Some(probe) = &self.probe else { return };
        self.running.retain(|_, (target, _)| targets.contains(target));
        self.shared.probes().retain(|name, _| targets.iter().any(|target| target.name == *name));
        for target in targets {
            if self.running.contains_key(&target.name) {
                continue;
            }
            let task = self.spawn(probe.clone(), target.clone());
            self.running.insert(target.name.clone(), (target.clone(), AbortOnDropHandle::new(task)));
        }
    }

    fn spawn(&self, probe: Probe, target: Target) -> JoinHandle<()> {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            loop {
                if shared.passes(&probe, &target).await {
                    tokio::select! {
                        () = tokio::time::sleep(probe.every) => {}
                        () = shared.witness.notified() => {}
                    }
                } else {
                    tokio::time::sleep(probe.every.min(AGAIN_AFTER)).await;
                }
            }
        })
    }
}

impl Shared {
    /// Probes once; says whether it passed.
    async fn passes(&self, probe: &Probe, target: &Target) -> bool {
        let Ok(turn) = self.turns.acquire().await else { return true };
        let gate = self.gate.lock().await;
        tokio::time::sleep(GAP).await;
        drop(gate);
        while !(self.may_begin)(&target.name) {
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let begun = Timestamp::now();
        let password = format!("{}-{}", target.name, begun.as_nanosecond());
        let outcome = ask(target.socks, probe, &password).await;
        drop(turn);
        let fails = outcome.is_err();
        let before = self.probes().insert(target.name.clone(), Probed { at: clock::steady(), outcome });
        if fails || before.is_none_or(|before| before.outcome.is_err()) {
            (self.news)();
        }
        if fails {
            self.witness.notify_one();
        }
        !fails
    }

    fn probes(&self) -> MutexGuard<'_, Probes> {
        // The map is whole between any two statements, so a panic elsewhere spoils nothing.
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
