//! The driver for hosts whose operator guards them by other means: it wants no guard, and removes one of ours that
//! an earlier choice left behind.

use async_trait::async_trait;

use super::model::Guard;
use super::nftables::Nftables;
use super::{Firewall, FirewallError};
use crate::observe::{Observation, ObservedGuard};

/// No firewall at all.
#[derive(Debug, Default)]
pub struct NoFirewall {
    leftover: Option<Nftables>,
}

impl NoFirewall {
    /// Takes the driver that an earlier choice may have used, where this host has it.
    pub fn after(leftover: Option<Nftables>) -> Self {
        Self { leftover }
    }
}

#[async_trait]
impl Firewall for NoFirewall {
    fn name(&self) -> &'static str {
        "none"
    }

    /// Only a leftover is there; one that cannot be looked at is nobody's concern any more.
    async fn observe(&self, wanted: &Guard) -> Observation<ObservedGuard> {
        let Some(leftover) = &self.leftover else {
            return Observation::Absent;
        };
        match leftover.observe(wanted).await {
            Observation::Unknown(_) => Observation::Absent,
            seen => seen,
        }
    }

    fn forget(&self) {
        if let Some(leftover) = &self.leftover {
            leftover.forget();
        }
    }

    async fn apply(&self, _guard: &Guard) -> Result<(), FirewallError> {
        Ok(())
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        match &self.leftover {
            Some(leftover) => leftover.remove().await,
            None => Ok(()),
        }
    }

    async fn changed(&self) {
        match &self.leftover {
            Some(leftover) => leftover.changed().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_claims_nothing_and_changes_nothing() {
        let guard = Guard { panel_port: Some(8080), ..Guard::default() };
        let driver = NoFirewall::default();
        driver.apply(&guard).await.unwrap();
        assert_eq!(driver.observe(&guard).await, Observation::Absent);
        driver.remove().await.unwrap();
    }

    #[tokio::test]
    async fn it_never_has_news() {
        assert!(tokio::time::timeout(Duration::ZERO, NoFirewall::default().changed()).await.is_err());
    }
}
