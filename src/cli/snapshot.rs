//! `exitpool snapshot`: this host on paper, to plan for it elsewhere.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;

use crate::desired::Desired;
use crate::observe::collect;
use crate::observe::snapshot::{MAX_BYTES, Place, Snapshot, VERSION};
use crate::plan::{Mandate, Plan};

use super::arguments::{Host, SourceArguments};
use super::{Exit, look, output};

/// Print this host as JSON, without its secrets, so that `plan --observed` can plan for it elsewhere
///
/// Give the options as the daemon has them. What may be secret in a torrc is there by its digest alone; addresses of
/// clients and of this host's other services are there. Opens nothing for writing.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    host: Host,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let wished = look::in_force(&arguments.host, &arguments.source)?;
    let settings = arguments.host.following(&arguments.source)?;
    let mut reconciler = look::reconciler(&settings, &wished.desired).await;
    reconciler.visitors = look::visitors(&settings.runtime_dir).await;
    let mut look = reconciler.look(&wished.desired).await;
    look.observed.visitors.extend(reconciler.sessions(&wished.desired));
    let listeners = collect::others(&look.observed).context("cannot read the table of listening sockets")?;
    let Mandate { suspended, avoid, turns, .. } = look::mandate(&settings.state_dir, &wished.revision)?;
    let snapshot = Snapshot {
        version: VERSION,
        taken_at: Timestamp::now(),
        exitpool: env!("CARGO_PKG_VERSION").to_owned(),
        revision: wished.revision,
        driver: wished.desired.firewall.driver,
        host: Place {
            runtime_dir: settings.runtime_dir.clone(),
            state_dir: settings.state_dir.clone(),
            panel_port: settings.panel_port(),
        },
        applied: reconciler.applied,
        suspended,
        avoid,
        turns,
        listeners,
        observed: look.observed,
    };
    output::json(&snapshot.redacted())?;
    look::unknowns(&look.plan).iter().for_each(|unknown| output::talk(&format!("not in it: {unknown}")));
    Ok(Exit::Done)
}

/// Plans for the host of a snapshot, and says of which time it is.
pub fn plan(file: &Path, desired: &Desired) -> anyhow::Result<Plan> {
    let snapshot = read(file)?;
    let (taken_at, revision) = (snapshot.taken_at, snapshot.revision.short());
    output::talk(&format!("the host is that of {}, taken at {taken_at:.0} with {revision} in force", file.display()));
    if snapshot.driver != desired.firewall.driver {
        let (then, now) = (snapshot.driver.name(), desired.firewall.driver.name());
        output::talk(&format!("its firewall was read with the driver {then}, and {now} may see it in another way"));
    }
    Ok(snapshot.plan(desired))
}

/// Reads a snapshot; a pipe will do.
fn read(path: &Path) -> anyhow::Result<Snapshot> {
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    opened.with_context(|| format!("cannot read the snapshot {}", path.display()))?;
    Snapshot::read(&bytes).with_context(|| format!("cannot use the snapshot {}", path.display()))
}
