//! The adapter for ufw: a few `allow` entries, marked as ours, in front of the guard of another driver.
//!
//! Closing is the guard's business alone. ufw denies by default, so without these entries it would drop the consumers
//! that the guard lets pass; as the guard keeps the others out, each entry allows everybody. ufw's own word is not
//! enough: it lists entries that somebody has flushed in the kernel, so both are read.

mod entries;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use self::entries::{Entries, Entry, Side};
use super::iptables::Iptables;
use super::model::Guard;
use super::tool::Tool;
use super::{Firewall, FirewallError, compare};
use crate::error::chain;
use crate::observe::{Author, Observation, ObservedGuard};
use crate::sys::netns;

/// Where ufw keeps its rules.
const DIRECTORY: &str = "/etc/ufw";

/// Keeps our entries in ufw, in front of a guard.
pub struct Ufw {
    guard: Arc<dyn Firewall>,
    front: Front,
}

/// Our entries in ufw.
#[derive(Debug)]
pub struct Front {
    ufw: Tool,
    directory: PathBuf,
    /// Reads the kernel's rules; ufw uses the host's iptables.
    kernel: Iptables,
}

impl Ufw {
    /// Puts our entries in front of a guard.
    pub fn new(guard: Arc<dyn Firewall>, front: Front) -> Self {
        Self { guard, front }
    }
}

impl Front {
    /// The ufw of this host.
    pub async fn of_the_host() -> Result<Self, FirewallError> {
        Self::at("ufw", DIRECTORY.into()).await
    }

    /// A ufw somewhere else, and the directory of its rules.
    pub async fn at(program: &str, directory: PathBuf) -> Result<Self, FirewallError> {
        let ufw = Tool { program: program.to_owned(), ..Tool::new("ufw") };
        Ok(Self { ufw, directory, kernel: Iptables::of_the_host().await? })
    }

    /// Whether ufw can be spoken to at all.
    pub(super) async fn works(&self) -> Result<(), FirewallError> {
        self.ufw.run(&["version"], b"").await?;
        self.read().await.map(drop)
    }

    /// Whether entries of ours are known to be there. Where ufw is not in force they may be another network namespace's:
    /// its files are the host's.
    pub(super) async fn stands(&self) -> bool {
        let are_ours = |entries: &Entries| entries.are_in_force() || netns::is_of_the_host();
        self.read().await.is_ok_and(|entries| entries.ours().next().is_some() && are_ours(&entries))
    }

    /// Removes our entries.
    pub(super) async fn remove(&self) -> Result<(), FirewallError> {
        for entry in self.read().await?.ours() {
            self.delete(entry).await?;
        }
        Ok(())
    }

    async fn read(&self) -> Result<Entries, FirewallError> {
        let [v4, v6] = self.kernel.saved("filter").await?;
        let v4 = Side::read(&self.rules("user.rules")?, entries::in_force(&v4, "ufw-user-input"));
        let v6 = Side::read(&self.rules("user6.rules")?, entries::in_force(&v6, "ufw6-user-input"));
        Ok(Entries { v4, v6 })
    }

    /// Only root may read them.
    fn rules(&self, name: &str) -> Result<String, FirewallError> {
        let path = self.directory.join(name);
        std::fs::read_to_string(&path).map_err(|error| {
            let what = format!("cannot read {}: {error}", path.display());
            match error.kind() {
                io::ErrorKind::PermissionDenied => FirewallError::Forbidden { tool: self.ufw.name, stderr: what },
                _ => self.ufw.unreadable(what),
            }
        })
    }

    async fn allow(&self, entry: Entry) -> Result<(), FirewallError> {
        let (ports, comment) = (entry.ports_argument(), entry.purpose.comment());
        let command = ["allow", "proto", "tcp", "to", "any", "port", &ports, "comment", comment];
        self.ufw.run(&command, b"").await.map(drop)
    }

    async fn delete(&self, entry: Entry) -> Result<(), FirewallError> {
        let ports = entry.ports_argument();
        let command = ["--force", "delete", "allow", "proto", "tcp", "to", "any", "port", &ports];
        self.ufw.run(&command, b"").await.map(drop)
    }
}

#[async_trait]
impl Firewall for Ufw {
    fn name(&self) -> &'static str {
        "ufw"
    }

    async fn observe(&self, wanted: &Guard) -> Observation<ObservedGuard> {
        let (guard, entries) = tokio::join!(self.guard.observe(wanted), self.front.read());
        match entries {
            Ok(entries) => compare::in_front(guard, wanted, |guard| entries.differences(&entries::wanted(guard))),
            Err(error) => Observation::Unknown(chain(&error)),
        }
    }

    fn forget(&self) {
        self.guard.forget();
    }

    /// Of the guard alone: who changed what stands in front of it is not known.
    fn changed_by(&self) -> Option<Author> {
        self.guard.changed_by()
    }

    /// It closes before it opens: entries that are not wanted go first, then comes the guard, then the new entries.
    async fn apply(&self, guard: &Guard) -> Result<(), FirewallError> {
        let wanted = entries::wanted(guard);
        let seen = self.front.read().await?;
        for entry in seen.unwanted(&wanted) {
            self.front.delete(entry).await?;
        }
        self.guard.apply(guard).await?;
        for entry in seen.without_effect(&wanted) {
            // ufw would skip what it lists already.
            self.front.delete(entry).await?;
            self.front.allow(entry).await?;
        }
        for entry in seen.missing(&wanted) {
            self.front.allow(entry).await?;
        }
        Ok(())
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        self.front.remove().await?;
        self.guard.remove().await
    }

    async fn changed(&self) {
        self.guard.changed().await;
    }
}
