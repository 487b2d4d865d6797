//! New circuits for a running instance.
//!
//! NEWNYM alone closes nothing: an idle circuit that nobody has used yet is used by the next connection, and while one
//! stands tor builds no other. So what is idle and from before is closed, and tor is asked to build one circuit, since one
//! that nobody uses builds none by itself.

use std::time::Duration;

use super::TorDriver;
use super::line::{Line, refusable};
use crate::observe::RenewalStage;
use crate::tor::control::answers::{Answers, CIRCUITS};
use crate::tor::control::circuits;
use crate::tor::{InstanceName, TorError};

/// How long tor may take to say that it has done what it does at once; else it has put it off.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Has an instance use new circuits, or goes on with that where tor had put it off.
pub(super) async fn new_circuits(driver: &TorDriver, name: &InstanceName) -> Result<(), TorError> {
    let line = Line::of(driver, name).await?;
    let renewals = line.session.control.renewals();
    if renewals.observed().stage == RenewalStage::Idle {
        renewals.ask();
        line.ask("SIGNAL", "SIGNAL NEWNYM".to_owned()).await.inspect_err(|_| renewals.lose())?;
        renewals.said_within(AT_ONCE).await;
    }
    if renewals.observed().stage == RenewalStage::Said {
        replace_idle(&line).await?;
        renewals.finish();
    }
    Ok(())
}

/// Closes the idle circuits from before, and sees that there is a new one.
async fn replace_idle(line: &Line<'_>) -> Result<(), TorError> {
    let Some(since) = line.session.control.renewals().since() else { return Ok(()) };
    let reply = line.ask("GETINFO", CIRCUITS.to_owned()).await?;
    let answers = Answers::of(&reply);
    let (circuit_status, stream_status) = (answers.get("circuit-status"), answers.get("stream-status"));
    for id in circuits::idle_before(circuit_status, stream_status, &since) {
        // tor itself spares it where a stream has come meanwhile. One that is gone meanwhile is what was wanted.
        refusable(line.ask("CLOSECIRCUIT", format!("CLOSECIRCUIT {id} IfUnused")).await)?;
    }
    if !circuits::has_one_since(circuit_status, &since) {
        // Where tor cannot build one now, it does with the next connection.
        refusable(line.ask("EXTENDCIRCUIT", "EXTENDCIRCUIT 0".to_owned()).await)?;
    }
    Ok(())
}
