//! `exitpool validate`: whether a desired state is valid. Needs no host.

use clap::Args;

use crate::desired::diagnostic::Diagnostic;
use crate::desired::load::{self, Loaded};
use crate::error::Kind;
use crate::source::{Source, SourceSpec};

use super::arguments::{Format, Output};
use super::{Exit, Told, output};

/// Check a desired state, and say everything that is wrong with it
#[derive(Debug, Args)]
pub struct Arguments {
    /// The file, or the local Git repository
    #[arg(value_name = "PATH", required_unless_present = "source")]
    file: Option<String>,
    /// The same, as the other verbs spell it; PATH counts more
    #[arg(long, env = "EXITPOOL_SOURCE", value_name = "PATH")]
    source: Option<String>,
    /// The branch, where it is a repository
    #[arg(long, env = "EXITPOOL_BRANCH", default_value = "main")]
    branch: String,
    /// The file within the repository
    #[arg(long, env = "EXITPOOL_PATH", default_value = "pool.yaml", value_name = "PATH")]
    path: String,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let place = arguments.file.as_ref().or(arguments.source.as_ref()).map_or("", String::as_str);
    let spec = SourceSpec::from_options(place, &arguments.branch, &arguments.path)?;
    let candidate = Source::new(spec).candidate()?;
    let text = String::from_utf8_lossy(&candidate.bytes);
    let (found, verdict) = match load::load(&candidate.file, candidate.given()) {
        Ok(Loaded { desired, warnings }) => {
            let nodes = desired.size();
            (warnings, Ok(format!("{} is valid: {} pools, {nodes} nodes", candidate.file, desired.pools.len())))
        }
        Err(invalid) => (invalid.diagnostics, Err(format!("{} is not a valid desired state", candidate.file))),
    };
    tell(&found, &text, arguments.output.output)?;
    match verdict {
        Ok(sentence) => {
            output::talk(&sentence);
            Ok(Exit::Done)
        }
        Err(message) => Err(Told { kind: Kind::Desired, message }.into()),
    }
}

fn tell(found: &[Diagnostic], text: &str, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&found);
    }
    output::diagnostics(found, text);
    Ok(())
}
