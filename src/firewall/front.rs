//! What stands in front of a guard: entries of ours in another firewall, which would drop by default whom the guard lets
//! pass.
//!
//! Closing is the guard's business alone; what stands in front of it only ever allows.

use std::sync::Arc;

use async_trait::async_trait;

use super::model::Guard;
use super::{Firewall, FirewallError};
use crate::error::chain;
use crate::observe::{Author, Observation, ObservedGuard};

/// Another firewall, in which something of ours stands.
#[async_trait]
pub trait InFront: Send + Sync {
    /// The driver's name, as in the desired state.
    fn name(&self) -> &'static str;

    /// Says in which ways what stands there is not what a guard needs, one sentence each.
    async fn differences(&self, guard: &Guard) -> Result<Vec<String>, FirewallError>;

    /// Takes out what a guard does not need: before it stands.
    async fn narrow(&self, guard: &Guard) -> Result<(), FirewallError>;

    /// Makes it what a guard needs: once it stands.
    async fn settle(&self, guard: &Guard) -> Result<(), FirewallError>;

    /// Removes everything of ours.
    async fn remove(&self) -> Result<(), FirewallError>;

    /// Whether something of ours is known to be there.
    async fn stands(&self) -> bool;

    /// Waits for news of it; without such news, for ever.
    async fn news(&self) {
        std::future::pending().await
    }
}

/// A driver's guard, with something in front of it.
pub struct Fronted {
    guard: Arc<dyn Firewall>,
    front: Box<dyn InFront>,
}

impl Fronted {
    /// Puts it in front of a guard.
    pub fn new(guard: Arc<dyn Firewall>, front: impl InFront + 'static) -> Self {
        Self::boxed(guard, Box::new(front))
    }

    /// The same, whatever it is.
    pub fn boxed(guard: Arc<dyn Firewall>, front: Box<dyn InFront>) -> Self {
        Self { guard, front }
    }
}

#[async_trait]
impl Firewall for Fronted {
    fn name(&self) -> &'static str {
        self.front.name()
    }

    async fn observe(&self, wanted: &Guard) -> Observation<ObservedGuard> {
        let seen = self.guard.observe(wanted).await;
        let needs = match &seen {
            Observation::Present(ObservedGuard::Exact(stands)) => stands,
            _ => wanted,
        };
        match self.front.differences(needs).await {
            Ok(differences) => joined(seen, wanted, differences),
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

    /// It closes before it opens: what is not wanted goes first, then comes the guard, then the rest.
    async fn apply(&self, guard: &Guard) -> Result<(), FirewallError> {
        self.front.narrow(guard).await?;
        self.guard.apply(guard).await?;
        self.front.settle(guard).await
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        self.front.remove().await?;
        self.guard.remove().await
    }

    async fn changed(&self) {
        tokio::select! {
            () = self.guard.changed() => {}
            () = self.front.news() => {}
        }
    }
}

/// Joins what was seen of a guard with the differences of what stands in front of it.
fn joined(seen: Observation<ObservedGuard>, wanted: &Guard, differences: Vec<String>) -> Observation<ObservedGuard> {
    let altered = |sentences| Observation::Present(ObservedGuard::Altered(sentences));
    match seen {
        Observation::Present(ObservedGuard::Exact(stands)) if differences.is_empty() => {
            Observation::Present(ObservedGuard::Exact(stands))
        }
        Observation::Present(ObservedGuard::Exact(stands)) => {
            altered(wanted.differences_from(&stands).into_iter().chain(differences).collect())
        }
        Observation::Present(ObservedGuard::Altered(mut sentences)) => {
            sentences.extend(differences);
            altered(sentences)
        }
        Observation::Absent | Observation::Unknown(_) => seen,
    }
}
