//! The adapter for firewalld: one policy of our own, in front of the guard of another driver.
//!
//! Closing is the guard's business alone. firewalld denies by default, so without the policy it would drop the
//! consumers that the guard lets pass; as the guard keeps the others out, the policy lets everybody reach the ports.
//! Three things are read: firewalld's files, what it believes to be in force, and what stands in the kernel. No zone,
//! and no other policy, is read or written.

mod bus;
mod kernel;
mod policy;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::Value;

use self::bus::{Bus, FIREWALLD, Line};
use self::kernel::Kernel;
use self::policy::{MARK, NAME, Policy};
use super::front::InFront;
use super::model::{Guard, Ports};
use super::tool::Tool;
use super::{FirewallError, nftables};
use crate::error::chain;
use crate::sys::{files, netns};

/// Where firewalld keeps the policies of this host.
const DIRECTORY: &str = "/etc/firewalld/policies";

/// Our policy in firewalld.
#[derive(Debug)]
pub struct Front {
    bus: Bus,
    nft: Tool,
    directory: PathBuf,
}

/// What there is of our policy.
#[derive(Debug, Default)]
struct Seen {
    permanent: Option<Policy>,
    running: Option<Policy>,
    kernel: Kernel,
}

impl Seen {
    fn differences(&self, ports: &BTreeSet<Ports>) -> Vec<String> {
        let policy = Policy::of(ports);
        let mut differences = policy.differences(self.permanent.as_ref(), "firewalld, permanent");
        differences.extend(policy.differences(self.running.as_ref(), "firewalld, running"));
        if self.running.is_some() {
            differences.extend(self.kernel.differences(ports));
        }
        differences
    }

    /// What of these ports is open already, where the policy says more than that.
    fn fewer(&self, ports: &BTreeSet<Ports>) -> Option<BTreeSet<Ports>> {
        let (wanted, policies) = (Policy::of(ports), [&self.permanent, &self.running]);
        let exceeds = policies.iter().any(|seen| seen.as_ref().is_some_and(|seen| seen.exceeds(&wanted)));
        let is_open = |ports: &&Ports| policies.iter().all(|seen| seen.as_ref().is_some_and(|seen| seen.allows(ports)));
        exceeds.then(|| ports.iter().filter(is_open).copied().collect())
    }

    /// Whether it is in force as wanted: a reload is needed where it is not.
    fn is_in_force(&self, ports: &BTreeSet<Ports>) -> bool {
        self.running.as_ref() == Some(&Policy::of(ports)) && self.kernel.differences(ports).is_empty()
    }
}

impl Front {
    /// The firewalld of this host.
    pub fn of_the_host() -> Self {
        Self { bus: Bus::at(None), nft: Tool::new("nft"), directory: DIRECTORY.into() }
    }

    /// A firewalld at another bus, and the directory of its policies.
    pub fn at(address: &str, directory: PathBuf) -> Self {
        Self { bus: Bus::at(Some(address)), nft: Tool::new("nft"), directory }
    }

    /// Whether firewalld is known to be running.
    pub(super) async fn is_running(&self) -> bool {
        self.bus.open().await.is_ok()
    }

    /// Whether firewalld can be spoken to at all.
    pub(super) async fn works(&self) -> Result<(), FirewallError> {
        self.read().await.map(drop)
    }

    async fn withdraw(&self, line: &Line) -> Result<(), FirewallError> {
        let (permanent, running) = (line.permanent().await?, line.running().await?);
        if permanent.is_some_and(|policy| policy.is_ours()) {
            line.delete().await?;
        }
        if running.is_some_and(|policy| policy.is_ours()) {
            line.reload().await?;
        }
        Ok(())
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{NAME}.{ending}"))
    }

    /// Whether there is such a file, and marked as ours.
    fn has_marked(&self, ending: &str) -> bool {
        fs::read_to_string(self.file(ending)).is_ok_and(|text| text.contains(MARK))
    }

    /// Reads everything of ours; a policy of that name that is somebody else's is an error.
    async fn read(&self) -> Result<Seen, FirewallError> {
        let line = self.bus.open().await?;
        let seen =
            Seen { permanent: line.permanent().await?, running: line.running().await?, kernel: Kernel::default() };
        if [&seen.permanent, &seen.running].into_iter().flatten().any(|policy| !policy.is_ours()) {
            return Err(FirewallError::Taken { tool: FIREWALLD, name: NAME });
        }
        match line.writes_with().await?.as_str() {
            "nftables" => Ok(Seen { kernel: self.kernel().await?, ..seen }),
            other => Err(FirewallError::Unread { tool: FIREWALLD, written_with: other.to_owned() }),
        }
    }

    async fn kernel(&self) -> Result<Kernel, FirewallError> {
        let listed = match self.nft.run(&["-j", "list", "table", "inet", FIREWALLD], b"").await {
            Err(FirewallError::Refused { stderr, .. }) if nftables::is_absent(&stderr) => return Ok(Kernel::default()),
            listed => listed?,
        };
        let listing: Option<Value> = serde_json::from_slice(&listed).ok();
        let kernel = listing.as_ref().and_then(Kernel::read);
        kernel.ok_or_else(|| self.nft.unreadable("it is no listing of firewalld's table"))
    }

    /// Makes the policy what it should be, in the files and in force; firewalld reloads where nothing less will do.
    async fn open(&self, ports: &BTreeSet<Ports>) -> Result<(), FirewallError> {
        let (line, seen, wanted) = (self.bus.open().await?, self.read().await?, Policy::of(ports));
        if seen.permanent.as_ref() != Some(&wanted) {
            line.replace(&wanted).await?;
        }
        if seen.running.is_some_and(|running| running != wanted && running.has_the_frame_of(&wanted)) {
            line.change_rules(&wanted).await?;
        }
        let settled = self.read().await?;
        if settled.is_in_force(ports) {
            return Ok(());
        }
        if settled.kernel.is_missing() {
            // firewalld deletes its table before it makes a new one, and gives up where there is none to delete.
            self.nft.run(&["add", "table", "inet", FIREWALLD], b"").await?;
        }
        tracing::info!("firewalld reloads: what was changed in it and not made permanent is undone");
        line.reload().await
    }
}

#[async_trait]
impl InFront for Front {
    fn name(&self) -> &'static str {
        FIREWALLD
    }

    /// A firewalld that is not running is a difference: the guard closes without it.
    async fn differences(&self, guard: &Guard) -> Result<Vec<String>, FirewallError> {
        match self.read().await {
            Ok(seen) => Ok(seen.differences(&policy::wanted(guard))),
            Err(error @ (FirewallError::NotRunning(_) | FirewallError::Elsewhere(_))) => Ok(vec![chain(&error)]),
            Err(error) => Err(error),
        }
    }

    /// What firewalld says of itself never keeps the guard from closing.
    async fn narrow(&self, guard: &Guard) -> Result<(), FirewallError> {
        let ports = policy::wanted(guard);
        match self.read().await.ok().and_then(|seen| seen.fewer(&ports)) {
            Some(fewer) => self.open(&fewer).await,
            None => Ok(()),
        }
    }

    async fn settle(&self, guard: &Guard) -> Result<(), FirewallError> {
        self.open(&policy::wanted(guard)).await
    }

    /// With our policy goes what firewalld keeps of it.
    async fn remove(&self) -> Result<(), FirewallError> {
        match self.bus.open().await {
            Ok(line) => self.withdraw(&line).await?,
            Err(FirewallError::NotRunning(_) | FirewallError::NoBus(_)) => {}
            Err(FirewallError::Elsewhere(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        if self.has_marked("xml") {
            files::remove(&self.file("xml")).map_err(|source| FirewallError::Talk { tool: FIREWALLD, source })?;
        }
        // The copy that firewalld leaves of what it deletes: it does no harm where it may not be removed.
        if self.has_marked("xml.old")
            && let Err(error) = files::remove(&self.file("xml.old"))
        {
            tracing::warn!(%error, path = %self.file("xml.old").display(), "a copy of the policy is left behind");
        }
        Ok(())
    }

    /// firewalld need not be running.
    async fn stands(&self) -> bool {
        let is_ours = |policy: &Option<Policy>| policy.as_ref().is_some_and(Policy::is_ours);
        match self.read().await {
            Ok(seen) => is_ours(&seen.permanent) || is_ours(&seen.running),
            // These files are another network namespace's.
            Err(FirewallError::Elsewhere(_)) => false,
            Err(_) => netns::is_of_the_host() && self.has_marked("xml"),
        }
    }

    async fn news(&self) {
        self.bus.news().await;
    }
}
