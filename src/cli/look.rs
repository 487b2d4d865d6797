//! Looking at the host without a daemon: what `plan`, `diff` and `drift` share. Nothing here opens a file for writing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::apply::Drivers;
use crate::daemon::settings::Settings;
use crate::daemon::socket::{self, Report, Verb};
use crate::desired::load::{self, Loaded};
use crate::desired::{Desired, Pool, PoolName, Revision};
use crate::error::{Kind, chain};
use crate::firewall;
use crate::observe::Visitor;
use crate::plan::{BlockReason, Counts, Mandate, Plan, Step};
use crate::reconcile::memory::{Accepted, Memory};
use crate::reconcile::{Look, Reconciler};
use crate::source::Candidate;
use crate::tor::driver::{TorDriver, TorSettings};

use super::arguments::{Host, SourceArguments};
use super::{Told, output};

/// A daemon answers what it has published at once.
const DAEMON_PATIENCE: Duration = Duration::from_secs(2);

/// A desired state with its revision.
#[derive(Debug, Clone)]
pub struct Wished {
    /// Its revision.
    pub revision: Revision,
    /// The desired state.
    pub desired: Desired,
}

/// Reads the newest revision of the source, of a remote one what the daemon fetched last; an invalid one is told in full.
pub fn newest(host: &Host, source: &SourceArguments) -> anyhow::Result<Wished> {
    let candidate = host.open(source)?.candidate()?;
    wished(candidate)
}

/// Reads the revision in force where the daemon left one, and the source's newest otherwise.
pub fn in_force(host: &Host, source: &SourceArguments) -> anyhow::Result<Wished> {
    let Some(accepted) = Memory::new(&host.state_dir).accepted() else {
        return newest(host, source);
    };
    wished(candidate(accepted))
}

/// The desired state in force, as if a source offered it.
pub fn candidate(accepted: Accepted) -> Candidate {
    let Accepted { revision, bytes, lists } = accepted;
    Candidate { revision, bytes, lists, file: "the desired state in force".to_owned(), verdict: None }
}

/// Understands a candidate; an invalid one is told in full.
pub fn wished(candidate: Candidate) -> anyhow::Result<Wished> {
    match load::load(&candidate.file, candidate.given()) {
        Ok(Loaded { desired, .. }) => Ok(Wished { revision: candidate.revision, desired }),
        Err(invalid) => {
            output::diagnostics(&invalid.diagnostics, &String::from_utf8_lossy(&candidate.bytes));
            let message = format!("{} is not a valid desired state; nothing was changed", candidate.file);
            Err(Told { kind: Kind::Desired, message }.into())
        }
    }
}

/// Makes a reconciler for this host.
pub async fn reconciler(settings: &Settings, desired: &Desired) -> Reconciler {
    let tor = TorDriver::new(TorSettings {
        tor: settings.tor.clone(),
        layout: settings.layout(),
        geoip: settings.geoip.clone(),
        geoip6: settings.geoip6.clone(),
    });
    let choice = desired.firewall.driver;
    let firewall = match firewall::select::select(choice).await {
        Ok(driver) => driver,
        Err(error) => firewall::select::unavailable(choice, chain(&error)),
    };
    Reconciler {
        drivers: Drivers { tor: std::sync::Arc::new(tor), firewall, trials: None },
        layout: settings.layout(),
        panel_port: settings.panel_port(),
        applied: Memory::new(&settings.state_dir).applied(),
        mandate: Default::default(),
        visitors: Default::default(),
        backoffs: Default::default(),
        wellbeing: Default::default(),
        efforts: None,
    }
}

/// Observes the host and plans.
pub async fn look(host: &Host, source: &SourceArguments, wished: &Wished) -> anyhow::Result<Look> {
    let settings = host.following(source)?;
    let mut reconciler = reconciler(&settings, &wished.desired).await;
    reconciler.mandate = mandate(&settings.state_dir, &wished.revision)?;
    reconciler.visitors = visitors(&settings.runtime_dir).await;
    Ok(reconciler.look(&wished.desired).await)
}

/// Who uses this host, beside SSH's sessions: whoever runs this, and those of whom a running daemon tells.
pub async fn visitors(runtime_dir: &Path) -> BTreeSet<Visitor> {
    let known = published(runtime_dir).await.map(|report| report.visitors).unwrap_or_default();
    known.into_iter().chain(socket::operator()).collect()
}

/// What a running daemon has published; `None` where none answers.
pub async fn published(runtime_dir: &Path) -> Option<Report> {
    tokio::time::timeout(DAEMON_PATIENCE, socket::ask(runtime_dir, Verb::Status)).await.ok()?.ok()
}

/// What has to be heeded beyond a revision's file: what operators have said, and the exits that nodes have rotated away
/// from.
pub fn mandate(state_dir: &Path, revision: &Revision) -> anyhow::Result<Mandate> {
    let memory = Memory::new(state_dir);
    let mut orders = memory.orders()?;
    orders.expire(Timestamp::now());
    let mut mandate = orders.mandate(revision);
    memory.rotations().instruct(&mut mandate);
    Ok(mandate)
}

/// What could not be observed, one sentence each.
pub fn unknowns(plan: &Plan) -> Vec<String> {
    let unknown = plan.blocked.iter().filter(|block| matches!(block.reason, BlockReason::Unknown(_)));
    unknown.map(|block| format!("{} {}", block.object, block.reason)).collect()
}

/// A plan as JSON.
#[derive(Debug, Serialize)]
pub struct PlanDocument<'a> {
    /// The revision that is planned for.
    revision: &'a Revision,
    /// How the nodes of each pool are shared out among tor processes.
    pools: Vec<Sharing<'a>>,
    /// What happens to how many objects.
    counts: Counts,
    /// The steps, in order.
    steps: Vec<StepDocument<'a>>,
    /// What takes time, one sentence each.
    waiting: Vec<String>,
    /// What cannot be had, one sentence each.
    blocked: Vec<String>,
    /// The steps that wait for an operator's word, one sentence each.
    held: Vec<String>,
}

/// How the nodes of a pool are shared out, as JSON.
#[derive(Debug, Serialize)]
struct Sharing<'a> {
    name: &'a PoolName,
    nodes: u16,
    instances: u16,
}

/// A step as JSON.
#[derive(Debug, Serialize)]
pub struct StepDocument<'a> {
    sentence: String,
    #[serde(flatten)]
    step: &'a Step,
}

impl<'a> PlanDocument<'a> {
    /// Makes the document of a plan.
    pub fn of(wished: &'a Wished, plan: &'a Plan) -> Self {
        let sharing = |pool: &'a Pool| Sharing {
            name: &pool.name,
            nodes: pool.size,
            instances: pool.size.div_ceil(pool.nodes_per_instance.get()),
        };
        Self {
            revision: &wished.revision,
            pools: wished.desired.pools.iter().map(sharing).collect(),
            counts: plan.counts(),
            steps: plan.steps.iter().map(|step| StepDocument { sentence: step.to_string(), step }).collect(),
            waiting: plan.waiting.iter().map(|wait| format!("{}: {}", wait.object, wait.reason)).collect(),
            blocked: plan.blocked.iter().map(|block| format!("{}: {}", block.object, block.reason)).collect(),
            held: plan.held.iter().map(ToString::to_string).collect(),
        }
    }

    /// Writes the notes that stand under a plan.
    pub fn notes(&self) -> String {
        let waiting = self.waiting.iter().map(|note| format!("  waiting  {note}\n"));
        let blocked = self.blocked.iter().map(|note| format!("  blocked  {note}\n"));
        let held = self.held.iter().map(|note| format!("  held     {note}\n"));
        let shared =
            self.pools.iter().filter(|pool| pool.instances < pool.nodes).map(|pool| format!("  shared   {pool}\n"));
        waiting.chain(blocked).chain(held).chain(shared).collect()
    }
}

impl fmt::Display for Sharing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nodes, instances } = self;
        let processes = if *instances == 1 { "1 tor process".to_owned() } else { format!("{instances} tor processes") };
        write!(
            f,
            "pool {name}: {nodes} nodes in {processes}; the nodes of one share its guards, its exits and its rotation"
        )
    }
}

/// Writes steps as lines, indented; marks are padded so that the objects stand below each other.
pub fn lines<'a>(steps: impl IntoIterator<Item = &'a Step>) -> String {
    steps.into_iter().map(|step| format!("  {:>3} {} {}\n", step.mark(), step.object, step.action)).collect()
}
