//! `exitpool apply`: make this host as desired, once.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;

use crate::apply::Outcome;
use crate::daemon::lock::{LockError, RuntimeLock};
use crate::daemon::socket::{self, Verb};
use crate::plan::{Mark, Plan};
use crate::reconcile::Reconciler;
use crate::reconcile::memory::{Accepted, Memory};

use super::arguments::{Format, Host, Output, SourceArguments};
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
            let report = socket::ask(&arguments.host.runtime_dir, Verb::Reconcile).await?;
            return reconcile::tell(&report, arguments.output.output);
        }
        Err(error) => return Err(error.into()),
    };
    let wished = accept(arguments).await?;
    let applied = converge(arguments, &wished).await;
    drop(lock);
    let outcomes = applied?;
    match arguments.output.output {
        Format::Json => output::json(&outcomes.iter().map(|done| done.step.to_string()).collect::<Vec<_>>())?,
        Format::Text => output::data(&summary(&outcomes)),
    }
    Ok(Exit::Done)
}

/// Takes the newest revision of the source up, fetched now where it is remote.
async fn accept(arguments: &Arguments) -> anyhow::Result<Wished> {
    let source = arguments.host.open(&arguments.source)?;
    if let Some(remote) = source.remote() {
        remote.fetch().await?;
    }
    let candidate = source.candidate()?;
    let wished = look::wished(candidate.clone())?;
    source.accept(&candidate)?;
    Ok(wished)
}

/// Passes until nothing is left, or nothing more can be done.
async fn converge(arguments: &Arguments, wished: &Wished) -> anyhow::Result<Vec<Outcome>> {
    let settings = arguments.host.following(&arguments.source)?;
    let memory = Memory::new(&settings.state_dir);
    memory.remember_accepted(&Accepted { revision: wished.revision.clone(), bytes: wished.bytes.clone() })?;
    let mut reconciler = look::reconciler(&settings, &wished.desired).await;
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
            return Ok(done);
        }
        if pass.left.waiting.is_empty() && !can_go_on(&reconciler) || Instant::now() >= deadline {
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
    steps.chain(waiting).chain(blocked).chain(failed).collect::<Vec<_>>().join("\n")
}

fn summary(outcomes: &[Outcome]) -> String {
    let count = |mark: Mark| outcomes.iter().filter(|outcome| outcome.step.mark() == mark).count();
    let replaced = count(Mark::Replace);
    let (added, destroyed) = (count(Mark::Create) + replaced, count(Mark::Destroy) + replaced);
    format!("Apply complete: {added} added, {} changed, {destroyed} destroyed.", count(Mark::Update))
}
