//! Another driver's guard that still stands after the choice has changed: it goes, once the chosen driver's own stands.
//!
//! It is looked for when a driver is chosen, and not again: nobody makes one of ours behind our back.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::firewalld;
use super::front::InFront;
use super::helper::{Helped, Helper, Managed};
use super::iptables::{Flavour, Iptables};
use super::model::Guard;
use super::nftables::Nftables;
use super::ufw;
use super::{Firewall, FirewallError};
use crate::observe::{Author, Observation, ObservedGuard};

/// What an earlier choice left behind.
enum Leftover {
    /// A guard of nftables.
    Nftables(Nftables),
    /// Chains and sets of iptables.
    Iptables(Iptables),
    /// Chains of iptables, whose sets the other flavour uses: they are no flavour's own.
    Chains(Iptables),
    /// Entries in ufw, or a policy in firewalld.
    InFront(Box<dyn InFront>),
    /// A guard in iptables-legacy, which only the helper may remove.
    Helped(Helped),
}

/// Which entries in another firewall are no leftovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entries {
    /// None.
    Nowhere,
    /// Those in ufw.
    Ufw,
    /// The policy in firewalld.
    Firewalld,
}

/// Which guard is not a leftover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// None at all.
    Nothing,
    /// The table of nftables.
    Nftables,
    /// The chains of one flavour of iptables, and the sets.
    Iptables(Flavour),
}

/// A driver that takes over from others.
struct Takeover {
    driver: Arc<dyn Firewall>,
    leftovers: Mutex<Vec<Leftover>>,
}

/// Makes the driver take over from whatever other guard of ours stands on this host.
pub async fn taking_over(driver: Arc<dyn Firewall>, keeps: Keeps, entries: Entries) -> Arc<dyn Firewall> {
    let mut leftovers = left_in_front(entries).await;
    leftovers.extend(left_guards(keeps).await);
    if leftovers.is_empty() {
        return driver;
    }
    for leftover in &leftovers {
        tracing::info!(driver = driver.name(), "{}", leftover.sentence());
    }
    Arc::new(Takeover { driver, leftovers: Mutex::new(leftovers) })
}

/// What stands in another firewall goes before the guard behind it.
async fn left_in_front(entries: Entries) -> Vec<Leftover> {
    let mut found = Vec::new();
    if entries != Entries::Ufw {
        let ufw = ufw::Front::of_the_host().await.ok();
        found.extend(standing(ufw.map(|front| Box::new(front) as _), Managed::Ufw).await);
    }
    if entries != Entries::Firewalld {
        found.extend(standing(Some(Box::new(firewalld::Front::of_the_host())), Managed::Firewalld).await);
    }
    found
}

/// Finds what stands in front, by looking at it, or by asking who may.
async fn standing(front: Option<Box<dyn InFront>>, firewall: Managed) -> Option<Leftover> {
    if let Some(front) = front
        && front.stands().await
    {
        return Some(Leftover::InFront(front));
    }
    if rustix::process::geteuid().is_root() {
        return None;
    }
    Helper::of_the_host().for_a_look(firewall).await.map(|helped| Leftover::InFront(Box::new(helped)))
}

/// What cannot be looked at, for its tools are not there, is nobody's concern any more.
async fn left_guards(keeps: Keeps) -> Vec<Leftover> {
    let mut found = Vec::new();
    if keeps != Keeps::Nftables {
        let nftables = Nftables::new();
        if nftables.observe(&Guard::default()).await.present().is_some() {
            found.push(Leftover::Nftables(nftables));
        }
    }
    if keeps != Keeps::Iptables(Flavour::Legacy) && !rustix::process::geteuid().is_root() {
        found.extend(Helper::of_the_host().for_a_look(Managed::IptablesLegacy).await.map(Leftover::Helped));
    }
    found.extend(match keeps {
        Keeps::Iptables(flavour) => chains_of(flavour.other()).await,
        Keeps::Nothing | Keeps::Nftables => chains_and_sets().await,
    });
    found
}

async fn chains_of(flavour: Flavour) -> Vec<Leftover> {
    let iptables = Iptables::of(flavour);
    if iptables.has_chains().await { vec![Leftover::Chains(iptables)] } else { Vec::new() }
}

/// Both flavours see the same sets, which go with the last one that is removed.
async fn chains_and_sets() -> Vec<Leftover> {
    let mut standing = Vec::new();
    for iptables in [Flavour::Legacy, Flavour::Nft].map(Iptables::of) {
        if iptables.stands().await {
            standing.push(iptables);
        }
    }
    let last = standing.pop();
    standing.into_iter().map(Leftover::Chains).chain(last.map(Leftover::Iptables)).collect()
}

impl Leftover {
    fn sentence(&self) -> String {
        let whose = match self {
            Self::Nftables(_) => "nftables",
            Self::Iptables(_) | Self::Chains(_) | Self::Helped(_) => "iptables",
            Self::InFront(front) => {
                return format!("what we put into {} still stands, from an earlier choice", front.name());
            }
        };
        format!("a guard of the driver {whose} still stands, from an earlier choice")
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        match self {
            Self::Nftables(nftables) => nftables.remove().await,
            Self::Iptables(iptables) => iptables.remove().await,
            Self::Chains(iptables) => iptables.remove_chains().await,
            Self::InFront(front) => front.remove().await,
            Self::Helped(helped) => helped.remove_all().await,
        }
    }
}

impl Takeover {
    /// One after the other; what could not be removed is tried again.
    async fn remove_leftovers(&self) -> Result<(), FirewallError> {
        let mut leftovers = self.leftovers.lock().await;
        while let Some(leftover) = leftovers.first() {
            leftover.remove().await?;
            leftovers.remove(0);
        }
        Ok(())
    }
}

#[async_trait]
impl Firewall for Takeover {
    fn name(&self) -> &'static str {
        self.driver.name()
    }

    async fn observe(&self, wanted: &Guard) -> Observation<ObservedGuard> {
        let seen = self.driver.observe(wanted).await;
        let leftovers: Vec<String> = self.leftovers.lock().await.iter().map(Leftover::sentence).collect();
        match seen {
            _ if leftovers.is_empty() => seen,
            Observation::Unknown(_) => seen,
            Observation::Present(ObservedGuard::Altered(mut differences)) => {
                differences.extend(leftovers);
                Observation::Present(ObservedGuard::Altered(differences))
            }
            Observation::Absent | Observation::Present(ObservedGuard::Exact(_)) => {
                Observation::Present(ObservedGuard::Altered(leftovers))
            }
        }
    }

    fn forget(&self) {
        self.driver.forget();
    }

    fn changed_by(&self) -> Option<Author> {
        self.driver.changed_by()
    }

    /// The new guard stands before the old one goes.
    async fn apply(&self, guard: &Guard) -> Result<(), FirewallError> {
        self.driver.apply(guard).await?;
        self.remove_leftovers().await
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        self.driver.remove().await?;
        self.remove_leftovers().await
    }

    async fn changed(&self) {
        self.driver.changed().await;
    }
}
