//! Chooses the driver that the desired state names, or that this host has. It never falls back to none by itself.
//!
//! What a host has is found out first, and the choice made from that alone, with its reason.

use std::sync::Arc;

use super::firewalld;
use super::front::{Fronted, InFront};
use super::helper::{Helper, Managed};
use super::iptables::{Flavour, Iptables};
use super::nftables::Nftables;
use super::none::NoFirewall;
use super::takeover::{Entries, Keeps, taking_over};
use super::ufw;
use super::unavailable::Unavailable;
use super::{Firewall, FirewallError};
use crate::desired::DriverChoice;
use crate::error::chain;

/// Makes the driver that was chosen. What another driver of ours left behind goes once this one's guard stands.
///
/// The driver works in the network namespace of the calling thread, and needs a tokio runtime.
pub async fn select(choice: DriverChoice) -> Result<Arc<dyn Firewall>, FirewallError> {
    let chosen = match choice {
        DriverChoice::Auto => automatic().await?,
        DriverChoice::None => Chosen::alone(NoFirewall, Keeps::Nothing),
        DriverChoice::Nftables => Chosen::alone(working_nftables().await?, Keeps::Nftables),
        DriverChoice::Iptables => iptables().await?,
        DriverChoice::Ufw => behind_ufw().await?,
        DriverChoice::Firewalld => behind_firewalld().await?,
    };
    tracing::info!(driver = chosen.driver.name(), ?choice, "firewall driver chosen");
    Ok(taking_over(chosen.driver, chosen.keeps, chosen.entries).await)
}

/// Makes the driver that keeps the guard alone, for a host that is being booted: no firewall in front of it is up yet, and
/// nothing that another driver left behind is looked for.
pub(super) async fn guard_alone(choice: DriverChoice) -> Result<Arc<dyn Firewall>, FirewallError> {
    let chosen = match choice {
        DriverChoice::None => Chosen::alone(NoFirewall, Keeps::Nothing),
        DriverChoice::Nftables => Chosen::alone(working_nftables().await?, Keeps::Nftables),
        DriverChoice::Iptables => iptables().await?,
        DriverChoice::Auto | DriverChoice::Ufw | DriverChoice::Firewalld => guard().await?,
    };
    Ok(chosen.driver)
}

/// A driver, and what of ours is its own.
struct Chosen {
    driver: Arc<dyn Firewall>,
    keeps: Keeps,
    entries: Entries,
}

impl Chosen {
    fn alone(driver: impl Firewall + 'static, keeps: Keeps) -> Self {
        Self { driver: Arc::new(driver), keeps, entries: Entries::Nowhere }
    }
}

/// Stands in for the driver before there is a desired state to choose it.
pub fn unchosen() -> Arc<dyn Firewall> {
    Arc::new(Unavailable::new("auto", "no desired state has been read yet".to_owned()))
}

/// Stands in for the chosen driver while it cannot be had; `why` says what to do.
pub fn unavailable(choice: DriverChoice, why: String) -> Arc<dyn Firewall> {
    Arc::new(Unavailable::new(choice.name(), why))
}

/// Another firewall that rules on this host, and whose default deny the guard does not lift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Ufw,
    Firewalld,
}

/// Takes the guard that works here, behind the firewall that is in force; says why.
async fn automatic() -> Result<Chosen, FirewallError> {
    let (name, behind) = match manager().await {
        Some(Manager::Ufw) => ("ufw", behind_ufw().await),
        Some(Manager::Firewalld) => ("firewalld", behind_firewalld().await),
        None => return guard().await,
    };
    match behind {
        Ok(chosen) => {
            tracing::info!("auto: {name} is in force, so consumers need entries in it");
            Ok(chosen)
        }
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "{name} is in force and cannot be told: consumers reach a port only if it allows it, see docs/firewall.md"
            );
            guard().await
        }
    }
}

/// Takes nftables where it works, and iptables elsewhere; says why.
async fn guard() -> Result<Chosen, FirewallError> {
    let unusable = match working_nftables().await {
        Ok(driver) => {
            tracing::info!("auto: nftables works here");
            return Ok(Chosen::alone(driver, Keeps::Nftables));
        }
        Err(error) => error,
    };
    match iptables().await {
        Ok(chosen) => {
            tracing::info!(reason = chain(&unusable), "auto: nftables does not work here, and iptables does");
            Ok(chosen)
        }
        // A process without rights has neither; on a host without tools, both are named.
        Err(_) if matches!(unusable, FirewallError::Forbidden { .. }) => Err(unusable),
        Err(error) => Err(FirewallError::NotChosen(format!(
            "this host has no firewall that works: install nftables, or iptables and ipset ({}; {})",
            chain(&unusable),
            chain(&error)
        ))),
    }
}

/// Finds out which other firewall is in force: in the kernel, or on its bus, for a setting alone proves nothing.
async fn manager() -> Option<Manager> {
    if firewalld::Front::of_the_host().is_running().await {
        return Some(Manager::Firewalld);
    }
    let filter = Iptables::of_the_host().await.ok()?.saved("filter").await.ok()?;
    filter.iter().any(|save| save.lines().any(|line| line.starts_with(":ufw-user-input "))).then_some(Manager::Ufw)
}

/// The flavour of this host; the legacy one by the helper, where this process is not root.
async fn iptables() -> Result<Chosen, FirewallError> {
    let driver = Iptables::of_the_host().await?;
    let keeps = Keeps::Iptables(driver.flavour());
    match tolerate(driver.read().await.map(drop)) {
        Ok(()) => Ok(Chosen::alone(driver, keeps)),
        Err(refused) if driver.flavour() == Flavour::Legacy => {
            let helped = Helper::of_the_host().instead_of(Managed::IptablesLegacy, refused).await?;
            Ok(Chosen::alone(helped, keeps))
        }
        Err(refused) => Err(refused),
    }
}

async fn behind_ufw() -> Result<Chosen, FirewallError> {
    let front: Box<dyn InFront> = match working_ufw().await {
        Ok(front) => Box::new(front),
        Err(refused) => Box::new(Helper::of_the_host().instead_of(Managed::Ufw, refused).await?),
    };
    behind(front, Entries::Ufw).await
}

async fn behind_firewalld() -> Result<Chosen, FirewallError> {
    let front: Box<dyn InFront> = match working_firewalld().await {
        Ok(front) => Box::new(front),
        Err(refused) => Box::new(Helper::of_the_host().instead_of(Managed::Firewalld, refused).await?),
    };
    behind(front, Entries::Firewalld).await
}

async fn behind(front: Box<dyn InFront>, entries: Entries) -> Result<Chosen, FirewallError> {
    let guard = guard().await?;
    Ok(Chosen { driver: Arc::new(Fronted::boxed(guard.driver, front)), entries, ..guard })
}

/// Refuses a host that has no nft or a process that may not use it.
///
/// A table that cannot be read is no reason: the next observation says so, and somebody can put it right meanwhile.
async fn working_nftables() -> Result<Nftables, FirewallError> {
    let driver = Nftables::new();
    tolerate(driver.read().await.map(drop))?;
    Ok(driver)
}

/// Likewise, a host without ufw, and a process that is not root.
async fn working_ufw() -> Result<ufw::Front, FirewallError> {
    let front = ufw::Front::of_the_host().await?;
    tolerate(front.works().await)?;
    Ok(front)
}

/// Likewise, a host without a bus, and a process whom firewalld does not obey. One that is not running may be started
/// meanwhile.
async fn working_firewalld() -> Result<firewalld::Front, FirewallError> {
    let front = firewalld::Front::of_the_host();
    tolerate(front.works().await)?;
    Ok(front)
}

fn tolerate(read: Result<(), FirewallError>) -> Result<(), FirewallError> {
    match read {
        Err(
            error @ (FirewallError::Missing { .. }
            | FirewallError::Forbidden { .. }
            | FirewallError::NoBus(_)
            | FirewallError::RootOnly { .. }
            | FirewallError::Unread { .. }),
        ) => Err(error),
        Err(error) => {
            tracing::warn!(error = chain(&error), "the firewall is there, but cannot be read now");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn none_is_only_chosen_by_name() {
        assert_eq!(select(DriverChoice::None).await.unwrap().name(), "none");
    }
}
