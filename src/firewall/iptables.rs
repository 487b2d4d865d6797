//! The iptables driver: own chains in the table `mangle`, v4 and v6, and own ipsets for the whitelists.
//!
//! ```text
//! Guard ── compile ──► canonical ── restore ──► ipset restore, then iptables-restore --noflush, v4 and v6
//! iptables-save, ip6tables-save, ipset save ──► canonical ── decompile ──► Guard, or differences
//! ```
//!
//! Ours are the chains `EXITPOOL` and `EXITPOOL-…`, the sets `exitpool-…`, and every rule of the table that calls one
//! of these chains. Both flavours of iptables are spoken to through the same tools, and read back in the same form.

mod canonical;
mod compile;
mod differences;
mod restore;
mod save;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use async_trait::async_trait;

use self::canonical::{Canonical, Sets, TABLE, Table};
use super::compare::{self, Form};
use super::model::Guard;
use super::netlink::{IPV4, IPV6, Listener, Place};
use super::tool::Tool;
use super::{Firewall, FirewallError};
use crate::error::chain;
use crate::observe::{Author, Observation, ObservedGuard};

/// The kernel tells nobody of a change of an ipset or of a table of iptables-legacy, so they are read this often.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// How long a set may still be in use after the rules that used it are gone: the kernel frees them later.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);
/// Between two attempts at destroying such a set.
const RELEASE_RETRY: Duration = Duration::from_millis(20);
/// For how many seconds iptables-legacy waits for another that holds its lock.
const LOCK_WAIT_SECONDS: &str = "5";

/// What is touched by whoever changes ours, where iptables is made of nftables.
const PLACES: [Place; 2] = [(IPV4, TABLE), (IPV6, TABLE)];

/// Which of the two programs that are called iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Its tables are tables of nftables.
    Nft,
    /// Its tables are its own.
    Legacy,
}

/// Keeps the guard in chains of iptables.
#[derive(Debug)]
pub struct Iptables {
    flavour: Flavour,
    v4: Programs,
    v6: Programs,
    ipset: Tool,
    listener: Option<Listener>,
    /// What the last observation saw.
    seen: Mutex<Option<Canonical>>,
}

/// The programs for one address family.
#[derive(Debug)]
struct Programs {
    save: Tool,
    restore: Tool,
    /// Where the kernel lists the tables of iptables-legacy.
    legacy_tables: PathBuf,
}

impl Flavour {
    /// The one that this is not.
    pub fn other(self) -> Self {
        match self {
            Self::Nft => Self::Legacy,
            Self::Legacy => Self::Nft,
        }
    }
}

impl Iptables {
    /// Makes the driver of the flavour that this host's `iptables` is of, for the network namespace of the calling
    /// thread, from within a tokio runtime.
    pub async fn of_the_host() -> Result<Self, FirewallError> {
        let version = Tool::new("iptables").run(&["--version"], b"").await?;
        // Before there was a choice, it did not say which it was.
        let is_nft = String::from_utf8_lossy(&version).contains("nf_tables");
        Ok(Self::with(if is_nft { Flavour::Nft } else { Flavour::Legacy }, ""))
    }

    /// Makes the driver of one flavour, where a host may have both.
    pub fn of(flavour: Flavour) -> Self {
        Self::with(flavour, if flavour == Flavour::Nft { "-nft" } else { "-legacy" })
    }

    fn with(flavour: Flavour, suffix: &str) -> Self {
        let tool = |name: &'static str, program: String| Tool { program, ..Tool::new(name) };
        Self {
            flavour,
            v4: Programs {
                save: tool("iptables-save", format!("iptables{suffix}-save")),
                restore: tool("iptables-restore", format!("iptables{suffix}-restore")),
                legacy_tables: "/proc/thread-self/net/ip_tables_names".into(),
            },
            v6: Programs {
                save: tool("ip6tables-save", format!("ip6tables{suffix}-save")),
                restore: tool("ip6tables-restore", format!("ip6tables{suffix}-restore")),
                legacy_tables: "/proc/thread-self/net/ip6_tables_names".into(),
            },
            ipset: Tool::new("ipset"),
            listener: if flavour == Flavour::Nft { Listener::open_or_warn() } else { None },
            seen: Mutex::default(),
        }
    }

    /// Reads everything of ours; nothing at all is the empty form.
    pub(super) async fn read(&self) -> Result<Canonical, FirewallError> {
        let (v4, v6, sets) =
            tokio::try_join!(self.v4.read(self.flavour), self.v6.read(self.flavour), self.read_sets())?;
        Ok(Canonical { v4, v6, sets })
    }

    /// Whether anything of ours stands, where that can be read.
    pub(super) async fn works(&self) -> Result<bool, FirewallError> {
        self.read().await.map(|seen| seen != Canonical::default())
    }

    /// Which of the two it is.
    pub(super) fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Saves a table of others, v4 and v6; a table that is not there is empty.
    pub(super) async fn saved(&self, table: &str) -> Result<[String; 2], FirewallError> {
        let (v4, v6) = tokio::try_join!(self.v4.saved(self.flavour, table), self.v6.saved(self.flavour, table))?;
        Ok([v4, v6].map(Option::unwrap_or_default))
    }

    /// Whether anything of ours is known to be there.
    pub(super) async fn stands(&self) -> bool {
        self.known().await.is_some_and(|seen| seen != Canonical::default())
    }

    /// Whether chains of ours are known to be there; the other flavour may use the same sets.
    pub(super) async fn has_chains(&self) -> bool {
        self.known().await.is_some_and(|seen| seen.v4 != Table::default() || seen.v6 != Table::default())
    }

    /// Reads everything of ours, where this host has the tools and this process the rights.
    async fn known(&self) -> Option<Canonical> {
        match self.read().await {
            Ok(seen) => Some(seen),
            Err(FirewallError::Missing { .. }) => None,
            Err(error) => {
                // A process without rights is told nothing about iptables-legacy, on any host.
                let error = chain(&error);
                match self.flavour {
                    Flavour::Nft => tracing::warn!(error, "cannot tell whether a guard of iptables stands here"),
                    Flavour::Legacy => {
                        tracing::debug!(error, "cannot tell whether a guard of iptables-legacy stands here")
                    }
                }
                None
            }
        }
    }

    /// Removes the chains, and leaves the sets.
    pub(super) async fn remove_chains(&self) -> Result<(), FirewallError> {
        let mut seen = self.read().await?;
        *self.last_seen() = None;
        self.restore_tables(&Canonical::default(), &mut seen).await
    }

    async fn read_sets(&self) -> Result<Sets, FirewallError> {
        let saved = self.ipset.run(&["save"], b"").await?;
        save::sets(&String::from_utf8_lossy(&saved)).map_err(|error| self.ipset.unreadable(error))
    }

    async fn restore_tables(&self, wanted: &Canonical, seen: &mut Canonical) -> Result<(), FirewallError> {
        for (programs, wanted, seen) in [(&self.v4, &wanted.v4, &mut seen.v4), (&self.v6, &wanted.v6, &mut seen.v6)] {
            if let Some(document) = restore::table(wanted, seen) {
                let arguments = ["--noflush", "-w", LOCK_WAIT_SECONDS];
                let (_, pid) = programs.restore.run_as(&arguments, document.as_bytes()).await?;
                if let Some(listener) = &self.listener {
                    listener.is_ours(pid);
                }
                seen.clone_from(wanted);
            }
        }
        Ok(())
    }

    /// Closes the whitelists and destroys what stands in the way of the sets, if anything does.
    ///
    /// A set of another kind cannot be swapped for a right one, nor destroyed while a rule uses it. Consumers are
    /// kept out for a moment.
    async fn make_way(&self, wanted: &Canonical, seen: &mut Canonical) -> Result<(), FirewallError> {
        let unusable: Vec<String> = restore::unusable(&wanted.sets, &seen.sets).cloned().collect();
        if unusable.is_empty() {
            return Ok(());
        }
        tracing::warn!(sets = ?unusable, "the whitelists are closed while their sets are made anew");
        let closed = Canonical { v4: compile::closed(&wanted.v4), v6: compile::closed(&wanted.v6), ..wanted.clone() };
        self.restore_tables(&closed, seen).await?;
        self.destroy(unusable, seen).await
    }

    async fn destroy(&self, names: Vec<String>, seen: &mut Canonical) -> Result<(), FirewallError> {
        for name in names {
            let started = tokio::time::Instant::now();
            while let Err(error) = self.ipset.run(&["destroy", &name], b"").await {
                let may_be_released =
                    matches!(&error, FirewallError::Refused { stderr, .. } if stderr.contains("in use"));
                if !may_be_released || started.elapsed() > RELEASE_DEADLINE {
                    return Err(error);
                }
                tokio::time::sleep(RELEASE_RETRY).await;
            }
            seen.sets.remove(&name);
        }
        Ok(())
    }

    /// Waits until something else is read than the last observation saw.
    async fn polled(&self) {
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            let Some(before) = self.last_seen().clone() else { continue };
            // What cannot be read is no news: the resync reads it again, and says why.
            if self.read().await.is_ok_and(|now| now != before) && self.last_seen().as_ref() == Some(&before) {
                return;
            }
        }
    }

    fn last_seen(&self) -> MutexGuard<'_, Option<Canonical>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Programs {
    async fn read(&self, flavour: Flavour) -> Result<Table, FirewallError> {
        let Some(saved) = self.saved(flavour, TABLE).await? else { return Ok(Table::default()) };
        save::table(&saved).map_err(|error| self.save.unreadable(error))
    }

    /// Saves a table; `None` when the kernel has none of that name.
    async fn saved(&self, flavour: Flavour, table: &str) -> Result<Option<String>, FirewallError> {
        // Saving a table of iptables-legacy would make it, and its mere presence makes iptables-nft complain.
        if flavour == Flavour::Legacy && !self.has_legacy_table(table)? {
            return Ok(None);
        }
        let saved = self.save.run(&["-t", table], b"").await?;
        Ok(Some(String::from_utf8_lossy(&saved).into_owned()))
    }

    fn has_legacy_table(&self, table: &str) -> Result<bool, FirewallError> {
        match fs::read_to_string(&self.legacy_tables) {
            Ok(names) => Ok(names.lines().any(|name| name == table)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(FirewallError::Forbidden {
                tool: self.save.name,
                stderr: format!("cannot read {}: {error}", self.legacy_tables.display()),
            }),
        }
    }
}

#[async_trait]
impl Firewall for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    async fn observe(&self, wanted: &Guard) -> Observation<ObservedGuard> {
        match self.read().await {
            Ok(seen) => {
                let observed = if seen == Canonical::default() {
                    Observation::Absent
                } else {
                    let Ok(judged) = compare::judge(wanted, &seen);
                    Observation::Present(judged)
                };
                if let (Observation::Present(ObservedGuard::Exact(stands)), Some(listener)) =
                    (&observed, &self.listener)
                    && stands == wanted
                {
                    listener.forget_authors(&PLACES);
                }
                *self.last_seen() = Some(seen);
                observed
            }
            Err(error) => Observation::Unknown(chain(&error)),
        }
    }

    fn changed_by(&self) -> Option<Author> {
        self.listener.as_ref()?.author(&PLACES)
    }

    /// Fills the sets before the rules use them. Between the two, and between v4 and v6, a packet passes only if the
    /// old guard or the new one lets it.
    async fn apply(&self, guard: &Guard) -> Result<(), FirewallError> {
        let wanted = compile::canonical(guard);
        let mut seen = self.read().await?;
        *self.last_seen() = None;
        self.make_way(&wanted, &mut seen).await?;
        let sets = restore::sets(&wanted.sets, &seen.sets);
        if !sets.is_empty() {
            self.ipset.run(&["restore"], sets.as_bytes()).await?;
        }
        self.restore_tables(&wanted, &mut seen).await?;
        self.destroy(restore::surplus(&wanted.sets, &seen.sets), &mut seen).await
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        let mut seen = self.read().await?;
        *self.last_seen() = None;
        self.restore_tables(&Canonical::default(), &mut seen).await?;
        let sets: Vec<String> = seen.sets.keys().cloned().collect();
        self.destroy(sets, &mut seen).await
    }

    /// Wakes on every transaction of nftables, where this iptables is made of it, and on what polling finds.
    async fn changed(&self) {
        let heard = async {
            match &self.listener {
                Some(listener) => listener.news().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = heard => {}
            () = self.polled() => {}
        }
    }
}

impl Form for Canonical {
    type Error = Infallible;

    fn of(guard: &Guard) -> Result<Self, Infallible> {
        Ok(compile::canonical(guard))
    }

    fn guard(&self) -> Option<Guard> {
        compile::decompile(self)
    }

    fn differences(&self, seen: &Self) -> Vec<String> {
        differences::between(self, seen)
    }
}

#[cfg(test)]
mod tests;
