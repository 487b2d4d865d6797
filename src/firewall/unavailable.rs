//! The driver that stands in for one that cannot be had: everything is unknown, and nothing can be done.

use async_trait::async_trait;

use super::model::Guard;
use super::{Firewall, FirewallError};
use crate::observe::{Observation, ObservedGuard};

/// A driver that cannot be had, with the reason.
#[derive(Debug, Clone)]
pub struct Unavailable {
    name: &'static str,
    why: String,
}

impl Unavailable {
    /// Stands in for a driver; `why` is what the status says.
    pub fn new(name: &'static str, why: String) -> Self {
        Self { name, why }
    }
}

#[async_trait]
impl Firewall for Unavailable {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn observe(&self, _wanted: &Guard) -> Observation<ObservedGuard> {
        Observation::Unknown(self.why.clone())
    }

    async fn apply(&self, _guard: &Guard) -> Result<(), FirewallError> {
        Err(FirewallError::NotChosen(self.why.clone()))
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        Err(FirewallError::NotChosen(self.why.clone()))
    }

    async fn changed(&self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_knows_nothing_and_does_nothing() {
        let driver = Unavailable::new("ufw", "not built".to_owned());
        assert_eq!(driver.observe(&Guard::default()).await, Observation::Unknown("not built".to_owned()));
        assert_eq!(driver.apply(&Guard::default()).await.unwrap_err().to_string(), "not built");
        assert!(driver.remove().await.is_err());
    }
}
