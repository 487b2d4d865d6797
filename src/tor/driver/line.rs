//! The control line of one running instance, for those who change something in it.

use std::sync::Arc;
use std::time::Duration;

use super::{Session, TorDriver};
use crate::tor::control::Message;
use crate::tor::{InstanceName, TorError};

/// The longest that tor may take to carry out a command.
const PATIENCE: Duration = Duration::from_secs(10);

/// The control line of one instance.
pub(super) struct Line<'a> {
    driver: &'a TorDriver,
    name: &'a InstanceName,
    pub(super) session: Arc<Session>,
}

impl<'a> Line<'a> {
    /// Takes the line of a running instance; what was seen of it is old from now on.
    pub(super) async fn of(driver: &'a TorDriver, name: &'a InstanceName) -> Result<Self, TorError> {
        let session = driver.running(name).await?;
        session.news.doubt();
        Ok(Self { driver, name, session })
    }

    /// Sends a command and waits for its reply; `word` stands for it where tor refuses it.
    pub(super) async fn ask(&self, word: &'static str, command: String) -> Result<Message, TorError> {
        let reply = self.session.control.ask(command, PATIENCE).await;
        let reply = reply.map_err(|error| self.driver.control_error(self.name, &error))?;
        if reply.is_ok() {
            return Ok(reply);
        }
        Err(TorError::Refused { instance: self.name.clone(), command: word, reply: reply.words() })
    }
}

/// Passes over a refusal.
pub(super) fn refusable<T>(asked: Result<T, TorError>) -> Result<(), TorError> {
    match asked {
        Ok(_) | Err(TorError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
