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
mod pretty;
mod transaction;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use self::canonical::{Canonical, CanonicalError};
use self::transaction::Document;
use super::compare::{self, Form};
use super::model::Guard;
use super::netlink::{INET, Listener, Place};
use super::tool::{self, Tool};
use super::{Firewall, FirewallError};
use crate::error::chain;
use crate::observe::{Author, Observation, ObservedGuard};

/// What is touched by whoever changes ours.
const PLACES: [Place; 1] = [(INET, compile::TABLE)];

/// Keeps the guard in `table inet exitpool`.
#[derive(Debug)]
pub struct Nftables {
    nft: Tool,
    listener: Option<Listener>,
    read: Mutex<Option<Read>>,
}

/// What was read last.
#[derive(Debug, Clone)]
struct Read {
    table: Arc<Option<Canonical>>,
    /// What that was for which guard.
    judged: Option<(Guard, Observation<ObservedGuard>)>,
    /// How many transactions had been heard of before it was read.
    heard: u64,
}

impl Nftables {
    /// Makes the driver for the network namespace of the calling thread, from within a tokio runtime.
    pub fn new() -> Self {
        Self { nft: Tool::new("nft"), listener: Listener::open_or_warn(), read: Mutex::default() }
    }

    /// Reads our table; `None` when there is none.
    pub(super) async fn read(&self) -> Result<Option<Canonical>, FirewallError> {
        let table = ["-j", "list", "table", compile::FAMILY_NAME, compile::TABLE];
        let listed = match self.nft.run(&table, b"").await {
            Ok(listed) => listed,
            Err(FirewallError::Refused { stderr, .. }) if is_absent(&stderr) => return Ok(None),
            Err(error) => return Err(error),
        };
        let listing: Value = serde_json::from_slice(&listed)
            .map_err(|error| self.nft.unreadable(format_args!("it is no JSON: {error}")))?;
        Canonical::read(listing).map(Some).map_err(|error| self.nft.unreadable(error))
    }

    async fn commit(&self, transaction: &Document) -> Result<(), FirewallError> {
        let (_, pid) = self.nft.run_as(&["-j", "-f", "-"], transaction.text().as_bytes()).await?;
        if let Some(listener) = &self.listener {
            listener.is_ours(pid);
        }
        Ok(())
    }

    /// Reads our table, unless nobody has changed anything since it was read last.
    async fn table(&self) -> Result<Arc<Option<Canonical>>, FirewallError> {
        // Before reading: what is changed meanwhile is heard by the next look.
        let heard = self.heard();
        if let Some(read) = self.read_before(heard) {
            return Ok(read.table);
        }
        self.forget();
        let table = Arc::new(self.read().await?);
        *self.last_read() = heard.map(|heard| Read { table: Arc::clone(&table), judged: None, heard });
        Ok(table)
    }

    async fn compare(&self, wanted: &Guard) -> Result<Observation<ObservedGuard>, FirewallError> {
        let table = self.table().await?;
        let Some(seen) = table.as_ref() else { return Ok(Observation::Absent) };
        let judged = self.last_read().as_ref().and_then(|read| read.judged.clone());
        if let Some((_, observed)) = judged.filter(|(guard, _)| guard == wanted) {
            return Ok(observed);
        }
        let observed = compare::judge(wanted, seen).map(Observation::Present);
        let observed = observed.map_err(|error| self.nft.unreadable(error))?;
        if let Some(read) = self.last_read().as_mut().filter(|read| Arc::ptr_eq(&read.table, &table)) {
            read.judged = Some((wanted.clone(), observed.clone()));
        }
        Ok(observed)
    }

    /// How many transactions were heard of; `None` where none can be heard.
    fn heard(&self) -> Option<u64> {
        self.listener.as_ref()?.heard().ok()
    }

    /// What was read before, where nobody has changed anything since.
    fn read_before(&self, heard: Option<u64>) -> Option<Read> {
        self.last_read().clone().filter(|read| Some(read.heard) == heard)
    }

    fn last_read(&self) -> MutexGuard<'_, Option<Read>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table from within, and no more of it than differs; where the kernel refuses that, the table is made
    /// anew.
    ///
    /// Something may refer to what has to go in a way that is not understood here, and a table that cannot be mended
    /// must not stay as it is. Established connections then stall for a moment.
    async fn update(&self, guard: &Guard, seen: &Canonical) -> Result<(), FirewallError> {
        let wanted = compile::canonical(guard).map_err(|error| self.nft.unreadable(error))?;
        if let Some(refill) = transaction::refill(&wanted, seen) {
            match self.commit(&refill).await {
                Err(error @ FirewallError::Refused { .. }) => {
                    tracing::info!(error = chain(&error), "the sets are emptied and filled again");
                }
                other => return other,
            }
        }
        match self.commit(&transaction::update(guard, &wanted, seen)).await {
            Err(error @ FirewallError::Refused { .. }) => {
                tracing::warn!(error = chain(&error), "the table cannot be changed from within and is made anew");
                self.commit(&transaction::replace(guard)).await
            }
            other => other,
        }
    }
}

/// What `nft -j -f -` is given to make the table where there is none.
pub fn installation(guard: &Guard) -> String {
    transaction::install(guard).text()
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
        let compared = self.compare(wanted).await;
        if let (Ok(Observation::Present(ObservedGuard::Exact(stands))), Some(listener)) = (&compared, &self.listener)
            && stands == wanted
        {
            listener.forget_authors(&PLACES);
        }
        compared.unwrap_or_else(|error| Observation::Unknown(chain(&error)))
    }

    fn forget(&self) {
        *self.last_read() = None;
    }

    fn changed_by(&self) -> Option<Author> {
        self.listener.as_ref()?.author(&PLACES)
    }

    async fn apply(&self, guard: &Guard) -> Result<(), FirewallError> {
        let seen = self.table().await?;
        self.forget();
        match seen.as_ref() {
            Some(seen) => self.update(guard, seen).await,
            None => self.commit(&transaction::install(guard)).await,
        }
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        self.forget();
        self.commit(&transaction::remove()).await
    }

    /// Wakes on every transaction of nftables in this network namespace: others', and our own as well.
    async fn changed(&self) {
        match &self.listener {
            Some(listener) => listener.news().await,
            None => std::future::pending().await,
        }
    }
}

impl Form for Canonical {
    type Error = CanonicalError;

    fn of(guard: &Guard) -> Result<Self, CanonicalError> {
        compile::canonical(guard)
    }

    fn guard(&self) -> Option<Guard> {
        compile::decompile(self)
    }

    fn differences(&self, seen: &Self) -> Vec<String> {
        differences::between(self, seen)
    }
}

/// ENOENT is how nft says that the table is not there.
pub(super) fn is_absent(stderr: &str) -> bool {
    tool::first_line(stderr).contains("No such file or directory")
}

#[cfg(test)]
mod tests;
