//! Changing options of a running tor.

use super::TorDriver;
use super::line::{Line, refusable};
use crate::tor::control::answers::{Answers, settings};
use crate::tor::options::{EXCLUDE_EXIT_NODES, EXIT_NODES, OptionChange, set_command};
use crate::tor::{InstanceName, TorError};

/// Whether tor believes that it can build circuits.
const ENOUGH: &str = "status/enough-dir-info";
/// An option whose change makes tor judge its directory anew, and does nothing else that lasts.
const NUDGE: &str = "FetchDirInfoEarly";

/// Sets options, all or none.
pub(super) async fn set_options(
    driver: &TorDriver,
    name: &InstanceName,
    changes: &[OptionChange],
) -> Result<(), TorError> {
    let command = set_command(changes, &driver.defaults()?);
    let line = Line::of(driver, name).await?;
    line.ask("RESETCONF", command).await?;
    if changes.iter().any(|change| [EXIT_NODES, EXCLUDE_EXIT_NODES].contains(&change.name.as_str())) {
        reconsider(&line).await?;
    }
    if changes.iter().any(OptionChange::is_of_torrc) {
        // Circuits from before go on as they were: whether it still builds any shows with the next one, which a tor that
        // nobody uses does not begin.
        refusable(line.ask("EXTENDCIRCUIT", "EXTENDCIRCUIT 0".to_owned()).await)?;
    }
    Ok(())
}

/// Switches the network off and on again: all connections are made anew, by the same process.
///
/// What stays off, where the second command fails, is an option that nobody wants, and is taken back as such.
pub(super) async fn reconnect(driver: &TorDriver, name: &InstanceName) -> Result<(), TorError> {
    let line = Line::of(driver, name).await?;
    line.ask("SETCONF", "SETCONF DisableNetwork=1".to_owned()).await?;
    line.ask("RESETCONF", "RESETCONF DisableNetwork".to_owned()).await.map(drop)
}

/// Makes a tor that had no usable exit see that it has some again.
///
/// tor judges whether it can build circuits when its directory changes, and not when `ExitNodes` does: where it was
/// once left without a known exit, it would build no circuit before the next consensus (seen with tor 0.4.9.11:
/// `enough-dir-info=0` with all descriptors there). Among the options it is a change of [`NUDGE`] that has it judge
/// anew, by `router_dir_info_changed` at the end of `options_act` in tor's src/app/config/config.c; so that option is
/// turned and turned back.
async fn reconsider(line: &Line<'_>) -> Result<(), TorError> {
    let judged = line.ask("GETINFO", format!("GETINFO {ENOUGH}")).await?;
    if Answers::of(&judged).get(ENOUGH) != "0" {
        return Ok(());
    }
    let setting = line.ask("GETCONF", format!("GETCONF {NUDGE}")).await?;
    let is_set = settings(&setting).any(|line| line == format!("{NUDGE}=1"));
    for value in [u8::from(!is_set), u8::from(is_set)] {
        line.ask("SETCONF", format!("SETCONF {NUDGE}={value}")).await?;
    }
    Ok(())
}
