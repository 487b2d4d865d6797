//! The driver for hosts whose operator guards them by other means: it wants no guard and has none.

use async_trait::async_trait;

use super::model::Guard;
use super::{Firewall, FirewallError};
use crate::observe::{Observation, ObservedGuard};

/// No firewall at all.
#[derive(Debug, Default)]
pub struct NoFirewall;

#[async_trait]
impl Firewall for NoFirewall {
    fn name(&self) -> &'static str {
        "none"
    }

    async fn observe(&self, _wanted: &Guard) -> Observation<ObservedGuard> {
        Observation::Absent
    }

    async fn apply(&self, _guard: &Guard) -> Result<(), FirewallError> {
        Ok(())
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        Ok(())
    }

    async fn changed(&self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_claims_nothing_and_changes_nothing() {
        let guard = Guard { panel_port: Some(8080), ..Guard::default() };
        NoFirewall.apply(&guard).await.unwrap();
        assert_eq!(NoFirewall.observe(&guard).await, Observation::Absent);
        NoFirewall.remove().await.unwrap();
    }

    #[tokio::test]
    async fn it_never_has_news() {
        assert!(tokio::time::timeout(Duration::ZERO, NoFirewall.changed()).await.is_err());
    }
}
