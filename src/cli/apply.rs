//! `exitpool apply`: make this host as desired, once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;

use crate::apply::Outcome;
use crate::daemon::lock::{LockError, RuntimeLock};
use crate::daemon::records::kept;
use crate::daemon::socket::{self, Verb};
use crate::desired::load::load;
use crate::plan::{Deletions, HoldReason, Mark, Plan};
use crate::reconcile::Reconciler;
use crate::reconcile::history::History;
use crate::reconcile::memory::{Accepted, Memory};
use crate::rollout::{self, Decision, Orders, Situation, Version};
use crate::source::Candidate;
use crate::state;

use super::arguments::{Format, Host, Output, SourceArguments, revision};
use super::look::{self, Wished};
use super::{Exit, output, reconcile};

/// How long a pass waits for news from tor before it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Make this host as the newest revision says, and wait until it is
///
/// A running daemon is asked to do it; otherwise this command does it itself.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    host: Host,
    #[command(flatten)]
    output: Output,
    /// Put this revision in force, which has to be the newest: in full, or the 40 digits of its commit
    ///
    /// Needed where reconcile.new_commits is `manual`, and for a revision that was rolled back.
    #[arg(long, value_name = "REVISION|COMMIT", value_parser = revision)]
    revision: Option<String>,
    /// Let this one revision destroy more nodes than reconcile.max_delete
    #[arg(long)]
    allow_delete: bool,
    /// How long to wait for the nodes, in seconds
    #[arg(long, default_value = "600", value_name = "SECONDS")]
    timeout: u64,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let lock = match RuntimeLock::take(&arguments.host.runtime_dir) {
        Ok(lock) => lock,
        Err(LockError::Held(_)) => {
            let source = arguments.host.open(&arguments.source)?;
            if source.remote().is_none() {
                look::wished(source.candidate()?)?;
            }
            output::talk("a daemon is running: it applies");
            let verb = Verb::Apply { revision: arguments.revision.clone(), deletions: arguments.deletions() };
            let report = socket::ask(&arguments.host.runtime_dir, verb).await?;
            return reconcile::tell(&report, arguments.output.output);
        }
        Err(error) => return Err(error.into()),
    };
    let state = state::admit(&arguments.host.state_dir)?;
    let wished = accept(arguments).await?;
    let applied = converge(arguments, &wished).await;
    drop((lock, state));
    let outcomes = applied?;
    match arguments.output.output {
        Format::Json => output::json(&outcomes.iter().map(|done| done.step.to_string()).collect::<Vec<_>>())?,
        Format::Text => output::data(&summary(&outcomes)),
    }
    Ok(Exit::Done)
}

impl Arguments {
    fn deletions(&self) -> Deletions {
        if self.allow_delete { Deletions::Allowed } else { Deletions::Limited }
    }
}

/// Takes the newest revision of the source up, fetched now where it is remote; as the daemon would, and no other.
async fn accept(arguments: &Arguments) -> anyhow::Result<Wished> {
    let source = arguments.host.open(&arguments.source)?;
    if let Some(remote) = source.remote() {
        remote.fetch().await?;
    }
    let candidate = source.candidate()?;
    let wished = look::wished(candidate.clone())?;
    let memory = Memory::new(&arguments.host.state_dir);
    let mut orders = memory.orders()?;
    orders.expire(Timestamp::now());
    if may_be_taken_up(arguments, &wished, &memory, &orders)? == Decision::TakeUp {
        source.accept(&candidate)?;
        orders.forgive(&wished.revision);
        let Candidate { revision, bytes, lists, .. } = candidate.clone();
        let accepted = Accepted { revision, bytes, lists };
        memory.remember_accepted(&accepted)?;
        History::of(&arguments.host.state_dir).put(&kept(&candidate)).context("cannot write the history")?;
    }
    if arguments.allow_delete {
        orders.may_delete = Some(wished.revision.clone());
    }
    memory.remember_orders(&orders)?;
    Ok(wished)
}

/// Says whether the newest revision is put in force, or why not.
fn may_be_taken_up(
    arguments: &Arguments,
    wished: &Wished,
    memory: &Memory,
    orders: &Orders,
) -> anyhow::Result<Decision> {
    let newest = &wished.revision;
    let asked = arguments.revision.as_ref();
    if let Some(wanted) = asked.filter(|wanted| !rollout::is_named(newest, wanted)) {
        bail!("{wanted} is not what the source offers: it offers {newest}");
    }
    let in_force = memory.accepted().and_then(|accepted| {
        let desired = load(&accepted.revision.to_string(), accepted.given()).ok()?.desired;
        Some((accepted.revision, desired))
    });
    let decision = rollout::decide(&Situation {
        offered: Version { revision: newest, desired: &wished.desired },
        in_force: in_force.as_ref().map(|(revision, desired)| Version { revision, desired }),
        asked: asked.map(|_| newest),
        orders,
    });
    match decision {
        Decision::Leave(why) => bail!("{newest} is not put in force: {why}"),
        decision => Ok(decision),
    }
}

/// Passes until nothing is left, or nothing more can be done.
async fn converge(arguments: &Arguments, wished: &Wished) -> anyhow::Result<Vec<Outcome>> {
    let settings = arguments.host.following(&arguments.source)?;
    let memory = Memory::new(&settings.state_dir);
    let mut reconciler = look::reconciler(&settings, &wished.desired).await;
    reconciler.mandate = look::mandate(&settings.state_dir, &wished.revision)?;
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout);
    let mut done = Vec::new();
    loop {
        let pass = reconciler.pass(&wished.desired).await;
        for outcome in pass.outcomes {
            tell(&outcome);
            if outcome.result.is_ok() {
                done.push(outcome);
            }
        }
        memory.remember_applied(&reconciler.applied)?;
        if pass.left.is_converged() {
            History::of(&settings.state_dir).converged(&wished.revision, Timestamp::now())?;
            return Ok(done);
        }
        let is_held = pass.left.needs_an_operator() && reconciler.backoffs.failures().is_empty();
        if is_held || pass.left.waiting.is_empty() && !can_go_on(&reconciler) || Instant::now() >= deadline {
            bail!("this host is not as desired:\n{}", rest(&pass.left, &reconciler));
        }
        let _ = tokio::time::timeout(LOOK_AGAIN, reconciler.drivers.tor.changed()).await;
    }
}

/// Whether a failed step will be tried again, or none has failed.
fn can_go_on(reconciler: &Reconciler) -> bool {
    reconciler.backoffs.failures().values().all(|failure| failure.attempts < 3 && failure.retry_at.is_some())
}

fn tell(outcome: &Outcome) {
    match &outcome.result {
        Ok(()) => output::talk(&format!("{}: done in {:.1} s", outcome.step, outcome.took.as_secs_f32())),
        Err(failed) => output::talk(&format!("{}: {}", outcome.step, failed.message)),
    }
}

/// What is left, one line each.
fn rest(left: &Plan, reconciler: &Reconciler) -> String {
    let steps = left.steps.iter().map(|step| format!("  {step}"));
    let waiting = left.waiting.iter().map(|wait| format!("  {}: {}", wait.object, wait.reason));
    let blocked = left.blocked.iter().map(|block| format!("  {}: {}", block.object, block.reason));
    let failures = reconciler.backoffs.failures();
    let failed = failures.iter().map(|(object, failure)| format!("  {object}: {}", failure.message));
    let held = left.held.iter().map(|held| format!("  {held}"));
    let advice: BTreeSet<String> = left.held.iter().map(|held| format!("  {}", advice(left, &held.reason))).collect();
    steps.chain(waiting).chain(blocked).chain(failed).chain(held).chain(advice).collect::<Vec<_>>().join("\n")
}

/// What can be done about the steps that are held for one reason.
fn advice(left: &Plan, reason: &HoldReason) -> String {
    reason.advice(left.held.iter().filter(|held| held.reason == *reason).count())
}

fn summary(outcomes: &[Outcome]) -> String {
    let count = |mark: Mark| outcomes.iter().filter(|outcome| outcome.step.mark() == mark).count();
    let replaced = count(Mark::Replace);
    let (added, destroyed) = (count(Mark::Create) + replaced, count(Mark::Destroy) + replaced);
    format!("Apply complete: {added} added, {} changed, {destroyed} destroyed.", count(Mark::Update))
}
