//! Chooses the driver that the desired state names, or that this host has. It never falls back to none by itself.
//!
//! What a host has is found out first, and the choice made from that alone, with its reason.

use std::sync::Arc;

use super::iptables::Iptables;
use super::nftables::Nftables;
use super::none::NoFirewall;
use super::takeover::{Keeps, taking_over};
use super::tool::Tool;
use super::unavailable::Unavailable;
use super::{Firewall, FirewallError};
use crate::desired::DriverChoice;
use crate::error::chain;

/// Makes the driver that was chosen. A guard that another driver of ours left behind goes once this one's stands.
///
/// The driver works in the network namespace of the calling thread, and needs a tokio runtime.
pub async fn select(choice: DriverChoice) -> Result<Arc<dyn Firewall>, FirewallError> {
    let (driver, keeps): (Arc<dyn Firewall>, Keeps) = match choice {
        DriverChoice::Auto => automatic().await?,
        DriverChoice::None => (Arc::new(NoFirewall), Keeps::Nothing),
        DriverChoice::Nftables => (Arc::new(working_nftables().await?), Keeps::Nftables),
        DriverChoice::Iptables => of_iptables(working_iptables().await?),
        DriverChoice::Ufw => return Err(FirewallError::Unavailable("ufw")),
        DriverChoice::Firewalld => return Err(FirewallError::Unavailable("firewalld")),
    };
    tracing::info!(driver = driver.name(), ?choice, "firewall driver chosen");
    Ok(taking_over(driver, keeps).await)
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

impl Manager {
    fn warning(self) -> &'static str {
        match self {
            Self::Ufw => "ufw is active: consumers reach a port only if ufw allows it as well, see docs/firewall.md",
            Self::Firewalld => {
                "firewalld is running: consumers reach a port only if firewalld allows it as well, see docs/firewall.md"
            }
        }
    }
}

/// Takes nftables where it works, and iptables elsewhere; says why.
async fn automatic() -> Result<(Arc<dyn Firewall>, Keeps), FirewallError> {
    if let Some(manager) = manager().await {
        tracing::warn!("{}", manager.warning());
    }
    let unusable = match working_nftables().await {
        Ok(driver) => {
            tracing::info!("auto: nftables works here");
            return Ok((Arc::new(driver), Keeps::Nftables));
        }
        Err(error) => error,
    };
    match working_iptables().await {
        Ok(driver) => {
            tracing::info!(reason = chain(&unusable), "auto: nftables does not work here, and iptables does");
            Ok(of_iptables(driver))
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
    if Tool::new("firewall-cmd").run(&["--state"], b"").await.is_ok() {
        return Some(Manager::Firewalld);
    }
    let filter = Iptables::of_the_host().await.ok()?.saved("filter").await.ok()?;
    filter.iter().any(|save| save.lines().any(|line| line.starts_with(":ufw-user-input "))).then_some(Manager::Ufw)
}

fn of_iptables(driver: Iptables) -> (Arc<dyn Firewall>, Keeps) {
    let keeps = Keeps::Iptables(driver.flavour());
    (Arc::new(driver), keeps)
}

/// Refuses a host that has no nft or a process that may not use it.
///
/// A table that cannot be read is no reason: the next observation says so, and somebody can put it right meanwhile.
async fn working_nftables() -> Result<Nftables, FirewallError> {
    let driver = Nftables::new();
    tolerate(driver.read().await.map(drop))?;
    Ok(driver)
}

/// Likewise, a host that lacks one of the tools of iptables.
async fn working_iptables() -> Result<Iptables, FirewallError> {
    let driver = Iptables::of_the_host().await?;
    tolerate(driver.read().await.map(drop))?;
    Ok(driver)
}

fn tolerate(read: Result<(), FirewallError>) -> Result<(), FirewallError> {
    match read {
        Err(error @ (FirewallError::Missing { .. } | FirewallError::Forbidden { .. })) => Err(error),
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
    use crate::error::{Classify, Retry};

    #[tokio::test]
    async fn none_is_only_chosen_by_name() {
        assert_eq!(select(DriverChoice::None).await.unwrap().name(), "none");
    }

    #[tokio::test]
    async fn drivers_that_are_not_built_are_refused_by_name() {
        for (choice, name) in [(DriverChoice::Ufw, "ufw"), (DriverChoice::Firewalld, "firewalld")] {
            let Err(error) = select(choice).await else { panic!("{name} was chosen") };
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
            assert_eq!(error.retry(), Retry::Never);
        }
    }
}
