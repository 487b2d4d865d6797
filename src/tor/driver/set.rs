//! Changing options of a running tor.

use std::sync::Arc;
use std::time::Duration;

use super::{Session, TorDriver};
use crate::tor::control::Message;
use crate::tor::control::answers::{Answers, settings};
use crate::tor::options::{EXIT_NODES, OptionChange, set_command};
use crate::tor::{InstanceName, TorError};

/// The longest that tor may take to carry out a change of options.
const PATIENCE: Duration = Duration::from_secs(10);
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
    let line = Line { driver, name, session: driver.running(name).await? };
    line.session.news.doubt();
    line.ask("RESETCONF", command).await?;
    if changes.iter().any(|change| change.name == EXIT_NODES) {
        line.reconsider().await?;
    }
    Ok(())
}

/// Switches the network off and on again: all connections are made anew, by the same process.
///
/// What stays off, where the second command fails, is an option that nobody wants, and is taken back as such.
pub(super) async fn reconnect(driver: &TorDriver, name: &InstanceName) -> Result<(), TorError> {
    let line = Line { driver, name, session: driver.running(name).await? };
    line.session.news.doubt();
    line.ask("SETCONF", "SETCONF DisableNetwork=1".to_owned()).await?;
    line.ask("RESETCONF", "RESETCONF DisableNetwork".to_owned()).await.map(drop)
}

/// The control line of one instance.
struct Line<'a> {
    driver: &'a TorDriver,
    name: &'a InstanceName,
    session: Arc<Session>,
}

impl Line<'_> {
    /// Makes a tor that had no usable exit see that it has some again.
    ///
    /// tor judges whether it can build circuits when its directory changes, and not when `ExitNodes` does: where it was
    /// once left without a known exit, it would build no circuit before the next consensus (seen with tor 0.4.9.11:
    /// `enough-dir-info=0` with all descriptors there). Among the options it is a change of [`NUDGE`] that has it judge
    /// anew, by `router_dir_info_changed` at the end of `options_act` in tor's src/app/config/config.c; so that option is
    /// turned and turned back.
    async fn reconsider(&self) -> Result<(), TorError> {
        let judged = self.ask("GETINFO", format!("GETINFO {ENOUGH}")).await?;
        if Answers::of(&judged).get(ENOUGH) != "0" {
            return Ok(());
        }
        let setting = self.ask("GETCONF", format!("GETCONF {NUDGE}")).await?;
        let is_set = settings(&setting).any(|line| line == format!("{NUDGE}=1"));
        for value in [u8::from(!is_set), u8::from(is_set)] {
            self.ask("SETCONF", format!("SETCONF {NUDGE}={value}")).await?;
        }
        Ok(())
    }

    async fn ask(&self, word: &'static str, command: String) -> Result<Message, TorError> {
        let reply = self.session.control.ask(command, PATIENCE).await;
        let reply = reply.map_err(|error| self.driver.control_error(self.name, &error))?;
        if reply.is_ok() {
            return Ok(reply);
        }
        Err(TorError::Refused { instance: self.name.clone(), command: word, reply: reply.words() })
    }
}
