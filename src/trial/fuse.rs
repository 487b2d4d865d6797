//! The process that takes a change back unless it is kept: lit before the change, and independent of who lit it.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::error::chain;
use crate::firewall::{self, Firewall};

use super::place::Place;
use super::{State, Trial, TrialError};

/// The verb of the program that burns.
pub const VERB: &str = "guard-trial";
/// What it says when it does.
pub const BURNS: &str = "burns";
/// How long it may take to say so.
const LIGHTING: Duration = Duration::from_secs(10);
/// How often it looks whether the change was kept.
const POLL: Duration = Duration::from_millis(100);
/// How often it tries to put back what stood, and how long it waits in between.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the process, and waits until it burns.
pub(super) async fn light(place: &Place, id: u64) -> Result<(), TrialError> {
    let unarmed = |why: String| TrialError::Unarmed(why);
    let runtime_dir = std::path::absolute(place.runtime_dir()).map_err(|error| unarmed(error.to_string()))?;
    // This program itself, also when an upgrade has replaced its file.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("exitpool").arg(VERB).arg("--runtime-dir").arg(runtime_dir).args(["--id", &id.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).current_dir("/");
    let mut child = command.spawn().map_err(|error| unarmed(error.to_string()))?;
    let stdout = child.stdout.take();
    tokio::spawn(async move {
        // What became of it is written down; here it is only taken off the process table.
        let _ = child.wait().await;
    });
    let mut line = String::new();
    let said = async {
        match stdout {
            Some(stdout) => BufReader::new(stdout).read_line(&mut line).await,
            None => Ok(0),
        }
    };
    match tokio::time::timeout(LIGHTING, said).await {
        Ok(Ok(_)) if line.trim_end() == BURNS => Ok(()),
        Ok(Ok(_)) => Err(unarmed("it ended at once, see its message in the log".to_owned())),
        Ok(Err(error)) => Err(unarmed(error.to_string())),
        Err(_) => Err(unarmed(format!("it did not say within {} s that it burns", LIGHTING.as_secs()))),
    }
}

/// Waits until the change is kept, or its time is over; then takes it back.
pub async fn burn(place: &Place, id: u64, say: impl FnOnce()) -> Result<(), TrialError> {
    let _burning = place.burn(id)?;
    let trial = place.pending(id).ok_or(TrialError::Gone)?;
    let firewall = firewall::select(trial.driver).await?;
    say();
    while let Some(trial) = place.pending(id) {
        let left = trial.left();
        if left.is_zero() {
            return take_back(place, id, &*firewall).await;
        }
        tokio::time::sleep(left.min(POLL)).await;
    }
    Ok(())
}

/// Puts back what stood before a change, unless it was kept meanwhile.
pub async fn take_back(place: &Place, id: u64, firewall: &dyn Firewall) -> Result<(), TrialError> {
    let _lock = place.lock_at_last().await?;
    let Some(trial) = place.pending(id) else { return Ok(()) };
    tracing::warn!("the change of the firewall was not kept in time: the guard before it is put back");
    place.write(&Trial { state: State::TakingBack, ..trial.clone() })?;
    let state = match put_back(&trial, firewall).await {
        Ok(()) => State::TakenBack,
        Err(error) => {
            let error = chain(&error);
            tracing::error!(
                error,
                "the guard before the change could not be put back: docs/runbook.md says what to do"
            );
            State::Failed(error)
        }
    };
    place.write(&Trial { state, ..trial })
}

async fn put_back(trial: &Trial, firewall: &dyn Firewall) -> Result<(), TrialError> {
    for _ in 1..ATTEMPTS {
        if firewall.apply(&trial.fallback).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(firewall.apply(&trial.fallback).await?)
}
