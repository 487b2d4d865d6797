//! The nftables driver: our own table, kept by the host's `nft`.
//!
//! ```text
//! Guard ── compile ──► objects ── transaction ──► nft -j -f -
//! nft -j list table ──► canonical ── decompile ──► Guard, or differences
//! ```
//!
//! Nothing outside of `table inet exitpool` is read or written: a listing of everything breaks on what others put
//! into theirs. The host's own nft is used and never another, for a newer one writes what an older one crashes on.

mod canonical;
mod compile;
mod differences;
mod interval;
mod netlink;
mod pretty;
mod transaction;

use std::os::unix::process::ExitStatusExt;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use self::canonical::{Canonical, CanonicalError};
use self::netlink::Listener;
use super::model::Guard;
use super::{Firewall, FirewallError};
use crate::error::chain;
use crate::observe::{Observation, ObservedGuard};
use crate::sys::command::{self, CommandError, Output};

/// The tool.
const NFT: &str = "nft";
/// 10,000 elements take it a tenth of a second; this long, it hangs.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much of nft's complaint is kept: it repeats the whole line that it refuses.
const MAX_STDERR_CHARS: usize = 400;

/// Keeps the guard in `table inet exitpool`.
#[derive(Debug)]
pub struct Nftables {
    program: String,
    deadline: Duration,
    listener: Option<Listener>,
    deaf: Once,
    read: Mutex<Option<Read>>,
}

/// What was read last.
#[derive(Debug, Clone)]
struct Read {
    wanted: Guard,
    seen: Observation<ObservedGuard>,
    /// How many transactions had been heard of before it was read.
    heard: u64,
}

impl Nftables {
    /// Makes the driver for the network namespace of the calling thread, from within a tokio runtime.
    pub fn new() -> Self {
        let listener = Listener::open().inspect_err(|error| {
            tracing::warn!(%error, "cannot hear of changes of the firewall: they are found by the resync");
        });
        Self {
            program: NFT.to_owned(),
            deadline: DEADLINE,
            listener: listener.ok(),
            deaf: Once::new(),
            read: Mutex::default(),
        }
    }

    /// Reads our table; `None` when there is none.
    pub(super) async fn read(&self) -> Result<Option<Canonical>, FirewallError> {
        let table = ["-j", "list", "table", compile::FAMILY_NAME, compile::TABLE];
        let output = self.nft(&table, b"").await?;
        match judge(&output) {
            Ok(()) => {}
            Err(FirewallError::Refused { stderr, .. }) if is_absent(&stderr) => return Ok(None),
            Err(error) => return Err(error),
        }
        let listing: Value = serde_json::from_slice(&output.stdout).map_err(unreadable)?;
        Canonical::read(listing).map(Some).map_err(unreadable)
    }

    async fn commit(&self, transaction: &Value) -> Result<(), FirewallError> {
        let output = self.nft(&["-j", "-f", "-"], transaction.to_string().as_bytes()).await?;
        judge(&output)
    }

    async fn nft(&self, args: &[&str], stdin: &[u8]) -> Result<Output, FirewallError> {
        command::run(&self.program, args, stdin, self.deadline).await.map_err(|error| match error {
            CommandError::Start { source, .. } => FirewallError::Missing { tool: NFT, source },
            CommandError::Talk { source, .. } => FirewallError::Talk { tool: NFT, source },
            CommandError::Deadline { deadline, .. } => {
                FirewallError::Deadline { tool: NFT, seconds: deadline.as_secs() }
            }
        })
    }

    async fn compare(&self, wanted: &Guard) -> Result<Observation<ObservedGuard>, FirewallError> {
        let Some(seen) = self.read().await? else { return Ok(Observation::Absent) };
        let compiled = compile::canonical(wanted).map_err(unreadable)?;
        if seen == compiled {
            return Ok(Observation::Present(ObservedGuard::Exact(wanted.clone())));
        }
        if let Some(other) = compile::decompile(&seen)
            && compile::canonical(&other).is_ok_and(|compiled| compiled == seen)
        {
            return Ok(Observation::Present(ObservedGuard::Exact(other)));
        }
        Ok(Observation::Present(ObservedGuard::Altered(differences::between(&compiled, &seen))))
    }

    /// How many transactions were heard of; `None` where none can be heard.
    fn heard(&self) -> Option<u64> {
        self.listener.as_ref()?.heard().ok()
    }

    /// What was read before, where nobody has changed anything since.
    fn read_before(&self, wanted: &Guard, heard: Option<u64>) -> Option<Observation<ObservedGuard>> {
        let read = self.last_read().clone()?;
        (read.wanted == *wanted && Some(read.heard) == heard).then_some(read.seen)
    }

    fn last_read(&self) -> MutexGuard<'_, Option<Read>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table from within; where the kernel refuses that, the table is made anew.
    ///
    /// Something may refer to what has to go in a way that is not understood here, and a table that cannot be mended
    /// must not stay as it is. Established connections then stall for a moment.
    async fn update(&self, guard: &Guard, seen: &Canonical) -> Result<(), FirewallError> {
        let wanted = compile::canonical(guard).map_err(unreadable)?;
        match self.commit(&transaction::update(guard, &wanted, seen)).await {
            Err(error @ FirewallError::Refused { .. }) => {
                tracing::warn!(error = chain(&error), "the table cannot be changed from within and is made anew");
                self.commit(&transaction::replace(guard)).await
            }
            other => other,
        }
    }
}

impl Default for Nftables {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Firewall for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    async fn observe(&self, wanted: &Guard) -> Observation<ObservedGuard> {
        // Before reading: what is changed meanwhile is heard by the next look.
        let heard = self.heard();
        if let Some(seen) = self.read_before(wanted, heard) {
            return seen;
        }
        let compared = self.compare(wanted).await;
        let read = compared.as_ref().ok().zip(heard);
        *self.last_read() = read.map(|(seen, heard)| Read { wanted: wanted.clone(), seen: seen.clone(), heard });
        compared.unwrap_or_else(|error| Observation::Unknown(chain(&error)))
    }

    fn forget(&self) {
        *self.last_read() = None;
    }

    async fn apply(&self, guard: &Guard) -> Result<(), FirewallError> {
        self.forget();
        match self.read().await? {
            Some(seen) => self.update(guard, &seen).await,
            None => self.commit(&transaction::install(guard)).await,
        }
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        self.forget();
        self.commit(&transaction::remove()).await
    }

    /// Wakes on every transaction of nftables in this network namespace: others', and our own as well.
    async fn changed(&self) {
        let Some(listener) = &self.listener else { return std::future::pending().await };
        match listener.changed().await {
            Ok(authors) => tracing::debug!(?authors, "the firewall was changed"),
            Err(error) => {
                self.deaf.call_once(|| {
                    tracing::error!(%error, "cannot hear of changes of the firewall any more: the resync finds them");
                });
                std::future::pending().await
            }
        }
    }
}

/// Says what an ended nft means; its exit status alone does not.
fn judge(output: &Output) -> Result<(), FirewallError> {
    if output.status.signal().is_some() {
        return Err(FirewallError::Crashed { tool: NFT, status: output.status });
    }
    let stderr: String = output.stderr.chars().take(MAX_STDERR_CHARS).collect();
    // Without rights nft may go on with an empty cache, and list nothing. A single command that is not permitted is
    // another thing: somebody owns the table.
    if ["you must be root", "cache initialization failed: Operation not permitted"].iter().any(|it| stderr.contains(it))
    {
        return Err(FirewallError::Forbidden { tool: NFT, stderr: first_line(&stderr) });
    }
    if output.status.success() { Ok(()) } else { Err(FirewallError::Refused { tool: NFT, stderr }) }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// ENOENT is how nft says that the table is not there.
fn is_absent(stderr: &str) -> bool {
    first_line(stderr).contains("No such file or directory")
}

fn unreadable(error: impl Into<Misread>) -> FirewallError {
    FirewallError::Unreadable { tool: NFT, what: error.into().0 }
}

/// In words, what was wrong with an answer.
struct Misread(String);

impl From<serde_json::Error> for Misread {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("it is no JSON: {error}"))
    }
}

impl From<CanonicalError> for Misread {
    fn from(error: CanonicalError) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests;
