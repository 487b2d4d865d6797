//! `exitpool doctor`: what on this host would keep the pool from being as desired. Changes nothing.
//!
//! Facts are gathered here and in the modules below; what they mean is said by functions that look at nothing else. A check
//! that cannot be made says why, and is no failure.

mod firewall;
mod host;
mod programs;

use clap::Args;

use crate::desired::Desired;
use crate::desired::load::load;
use crate::error::{Kind, chain};
use crate::reconcile::Look;
use crate::reconcile::memory::Memory;
use crate::source::settings::SourceSettings;
use crate::source::{Location, Source, SourceSpec};

use super::arguments::{Format, Host, Output};
use super::documents::{CheckDocument, DoctorDocument};
use super::{Exit, Told, look, output};

/// Check this host for what would keep the pool from running, and say what to do about it
///
/// Give the options as the daemon has them, and run it as the daemon's user with the daemon's capabilities: docs/runbook.md
/// shows how. Without --source, the desired state in force is looked at, where there is one. Opens nothing for writing; one
/// check makes a network namespace that ends with it. Exits with 0 where nothing failed, warnings or not, and with 1
/// otherwise.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The desired-state file, or the Git repository that has it
    #[arg(long, env = "EXITPOOL_SOURCE", value_name = "PATH|URL")]
    source: Option<String>,
    /// The branch, where it is a repository
    #[arg(long, env = "EXITPOOL_BRANCH", default_value = "main")]
    branch: String,
    /// The file within the repository
    #[arg(long, env = "EXITPOOL_PATH", default_value = "pool.yaml", value_name = "PATH")]
    path: String,
    #[command(flatten)]
    host: Host,
    #[command(flatten)]
    output: Output,
}

/// What every check may need to know.
struct Facts<'a> {
    host: &'a Host,
    /// The remote repository that is followed, where it is one.
    remote: Option<&'a Location>,
    desired: &'a Desired,
    look: &'a Look,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let host = &arguments.host;
    let spec = match &arguments.source {
        Some(source) => Some(SourceSpec::from_options(source, &arguments.branch, &arguments.path)?),
        None => None,
    };
    let (read, desired) = desired(host, spec.as_ref());
    // What is looked at is the host: its source decides nothing here.
    let anything = spec.clone().unwrap_or(SourceSpec::File("pool.yaml".into()));
    let settings = host.settings(SourceSettings::of(anything, host.state_dir.clone()));
    let look = look::reconciler(&settings, &desired).await.look(&desired).await;
    let remote = match &spec {
        Some(SourceSpec::Remote(place)) => Some(&place.location),
        _ => None,
    };
    let facts = Facts { host, remote, desired: &desired, look: &look };
    let mut checks = vec![read, host::rights()];
    checks.extend(firewall::checks(&facts).await);
    checks.extend(programs::checks(&facts).await);
    checks.extend(host::checks(&facts));
    tell(DoctorDocument::of(checks), arguments.output.output)
}

/// Reads the desired state, or takes the defaults for it; says what became of that.
fn desired(host: &Host, spec: Option<&SourceSpec>) -> (CheckDocument, Desired) {
    const NAME: &str = "desired state";
    let given = match spec {
        Some(spec @ (SourceSpec::File(_) | SourceSpec::Git { .. })) => Source::new(spec.clone()).candidate(),
        _ => match Memory::new(&host.state_dir).accepted() {
            Some(accepted) => Ok(look::candidate(accepted)),
            None => {
                let why = "no desired state is in force, and none on this host was named: its ports are not looked at";
                return (CheckDocument::skipped(NAME, why), Desired::default());
            }
        },
    };
    let candidate = match given {
        Ok(candidate) => candidate,
        Err(error) => {
            return (CheckDocument::failed(NAME, &chain(&error), "name it with --source"), Desired::default());
        }
    };
    match load(&candidate.file, candidate.given()) {
        Ok(loaded) => {
            let message = format!("{} is valid: {} nodes", candidate.file, loaded.desired.size());
            (CheckDocument::ok(NAME, &message), loaded.desired)
        }
        Err(invalid) => {
            (CheckDocument::failed(NAME, &invalid.to_string(), "see `exitpool validate`"), Desired::default())
        }
    }
}

fn tell(document: DoctorDocument, format: Format) -> anyhow::Result<Exit> {
    match format {
        Format::Json => output::json(&document)?,
        Format::Text => output::data(&document.checks.iter().map(lines).collect::<String>()),
    }
    let (failed, all) = (document.failed, document.checks.len());
    match failed {
        0 => Ok(Exit::Done),
        failed => Err(Told { kind: Kind::Host, message: format!("{failed} of {all} checks failed") }.into()),
    }
}

fn lines(check: &CheckDocument) -> String {
    let CheckDocument { name, verdict, message, advice } = check;
    let first = format!("{:<8} {name}: {message}\n", verdict.word());
    if advice.is_empty() { first } else { format!("{first}         {advice}\n") }
}
