//! Chooses the driver that the desired state names, or that this host has. It never falls back to none by itself.

use std::sync::Arc;

use super::iptables::Iptables;
use super::nftables::Nftables;
use super::none::NoFirewall;
use super::unavailable::Unavailable;
use super::{Firewall, FirewallError};
use crate::desired::DriverChoice;
use crate::error::chain;

/// Makes the driver that was chosen; `auto` is nftables, where it works.
///
/// The driver works in the network namespace of the calling thread, and needs a tokio runtime.
pub async fn select(choice: DriverChoice) -> Result<Arc<dyn Firewall>, FirewallError> {
    let driver: Arc<dyn Firewall> = match choice {
        DriverChoice::None => Arc::new(NoFirewall::after(working_nftables().await.ok())),
        DriverChoice::Auto | DriverChoice::Nftables => Arc::new(working_nftables().await?),
        DriverChoice::Iptables => Arc::new(working_iptables().await?),
        DriverChoice::Ufw => return Err(FirewallError::Unavailable("ufw")),
        DriverChoice::Firewalld => return Err(FirewallError::Unavailable("firewalld")),
    };
    tracing::info!(driver = driver.name(), ?choice, "firewall driver chosen");
    Ok(driver)
}

/// Stands in for the driver before there is a desired state to choose it.
pub fn unchosen() -> Arc<dyn Firewall> {
    Arc::new(Unavailable::new("auto", "no desired state has been read yet".to_owned()))
}

/// Stands in for the chosen driver while it cannot be had; `why` says what to do.
pub fn unavailable(choice: DriverChoice, why: String) -> Arc<dyn Firewall> {
    Arc::new(Unavailable::new(choice.name(), why))
}

/// Refuses a host that has no nft or a process that may not use it.
///
/// A table that cannot be read is no reason: the next observation says so, and somebody can put it right meanwhile.
async fn working_nftables() -> Result<Nftables, FirewallError> {
    let driver = Nftables::new();
    match driver.read().await {
        Ok(_) => {}
        Err(error @ (FirewallError::Missing { .. } | FirewallError::Forbidden { .. })) => return Err(error),
        Err(error) => tracing::warn!(error = chain(&error), "nftables is chosen, but cannot be read now"),
    }
    Ok(driver)
}

/// Likewise, a host that lacks one of the tools.
async fn working_iptables() -> Result<Iptables, FirewallError> {
    let driver = Iptables::of_the_host().await?;
    match driver.read().await {
        Ok(_) => {}
        Err(error @ (FirewallError::Missing { .. } | FirewallError::Forbidden { .. })) => return Err(error),
        Err(error) => tracing::warn!(error = chain(&error), "iptables is chosen, but cannot be read now"),
    }
    Ok(driver)
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
