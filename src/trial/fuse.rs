//! The process that takes a change back unless it is kept: lit before the change, and independent of who lit it.

mod start;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::error::chain;
use crate::firewall::{self, Firewall};
use crate::sys::notify::{ServiceManager, Word};

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

/// Starts the process, and waits until it burns: as a unit where a service manager can start it, or else by ourselves.
pub(super) async fn light(place: &Place, id: u64) -> Result<(), TrialError> {
    let runtime_dir =
        std::path::absolute(place.runtime_dir()).map_err(|error| TrialError::Unarmed(error.to_string()))?;
    let wanted = start::Wanted { runtime_dir, id };
    if start::has_a_service_manager() {
        match ended_well(start::as_a_unit(&wanted)).await {
            Ok(()) => return Ok(()),
            Err(why) => tracing::warn!(
                why,
                "systemd-run does not start the process that takes a change of the firewall back: it is the daemon's child now, and whatever kills all of the daemon's control group ends it"
            ),
        }
    }
    burning(start::as_a_process(&wanted)).await.map_err(TrialError::Unarmed)
}

/// Waits until what asks the service manager has ended.
async fn ended_well(started: io::Result<Child>) -> Result<(), String> {
    let child = started.map_err(|error| error.to_string())?;
    match tokio::time::timeout(LIGHTING, child.wait_with_output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not end within {} s", LIGHTING.as_secs())),
    }
}

/// Waits until what was started says that it burns, and then leaves it alone. What does not say so is ended.
async fn burning(started: io::Result<Child>) -> Result<(), String> {
    let mut child = started.map_err(|error| error.to_string())?;
    let stdout = child.stdout.take();
    let mut line = String::new();
    let said = async {
        match stdout {
            Some(stdout) => BufReader::new(stdout).read_line(&mut line).await,
            None => Ok(0),
        }
    };
    match tokio::time::timeout(LIGHTING, said).await {
        Ok(Ok(_)) if line.trim_end() == BURNS => {
            tokio::spawn(async move {
                // What became of it is written down; here it is only taken off the process table.
                let _ = child.wait().await;
            });
            Ok(())
        }
        Ok(Ok(_)) => Err("it ended at once, see its message in the log".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not say within {} s that it burns", LIGHTING.as_secs())),
    }
}

/// Waits until the change is kept, or its time is over; then takes it back.
pub async fn burn(place: &Place, id: u64, say: impl FnOnce()) -> Result<(), TrialError> {
    let _burning = place.burn(id)?;
    let trial = place.pending(id).ok_or(TrialError::Gone)?;
    let firewall = firewall::select(trial.driver).await?;
    say();
    if let Err(error) = ServiceManager::of_this_process().and_then(|manager| manager.tell(&[Word::Ready])) {
        tracing::warn!(%error, "the service manager cannot be told that this process burns");
    }
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
