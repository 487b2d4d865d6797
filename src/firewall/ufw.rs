//! The adapter for ufw: a few `allow` entries, marked as ours, in front of the guard of another driver.
//!
//! Closing is the guard's business alone. ufw denies by default, so without these entries it would drop the consumers
//! that the guard lets pass; as the guard keeps the others out, each entry allows everybody. ufw's own word is not
//! enough: it lists entries that somebody has flushed in the kernel, so both are read.

mod entries;

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;

use self::entries::{Entries, Entry, Side};
use super::FirewallError;
use super::front::InFront;
use super::iptables::Iptables;
use super::model::Guard;
use super::tool::Tool;
use crate::sys::netns;

/// Where ufw keeps its rules.
const DIRECTORY: &str = "/etc/ufw";

/// Our entries in ufw.
#[derive(Debug)]
pub struct Front {
    ufw: Tool,
    directory: PathBuf,
    /// Reads the kernel's rules; ufw uses the host's iptables.
    kernel: Iptables,
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
impl InFront for Front {
    fn name(&self) -> &'static str {
        "ufw"
    }

    async fn differences(&self, guard: &Guard) -> Result<Vec<String>, FirewallError> {
        Ok(self.read().await?.differences(&entries::wanted(guard)))
    }

    async fn narrow(&self, guard: &Guard) -> Result<(), FirewallError> {
        for entry in self.read().await?.unwanted(&entries::wanted(guard)) {
            self.delete(entry).await?;
        }
        Ok(())
    }

    async fn settle(&self, guard: &Guard) -> Result<(), FirewallError> {
        let wanted = entries::wanted(guard);
        let seen = self.read().await?;
        for entry in seen.without_effect(&wanted) {
            // ufw would skip what it lists already.
            self.delete(entry).await?;
            self.allow(entry).await?;
        }
        for entry in seen.missing(&wanted) {
            self.allow(entry).await?;
        }
        Ok(())
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        for entry in self.read().await?.ours() {
            self.delete(entry).await?;
        }
        Ok(())
    }

    /// Where ufw is not in force they may be another network namespace's: its files are the host's.
    async fn stands(&self) -> bool {
        let are_ours = |entries: &Entries| entries.are_in_force() || netns::is_of_the_host();
        self.read().await.is_ok_and(|entries| entries.ours().next().is_some() && are_ours(&entries))
    }
}
