//! Drivers that answer from a modelled world.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use exitpool::apply::Drivers;
use exitpool::desired::InstanceName;
use exitpool::firewall::model::Guard;
use exitpool::firewall::{Firewall, FirewallError};
use exitpool::observe::{Observation, ObservedGuard};
use exitpool::plan::{Action, Cause, Object, Step};
use exitpool::reconcile::Reconciler;
use exitpool::tor::options::OptionChange;
use exitpool::tor::{Tor, TorError, TorObservation};

use super::world::{self, World};

/// Makes a reconciler of a modelled host.
pub fn reconciler(world: &World) -> Reconciler {
    let model = Arc::new(Model(Mutex::new(world.clone())));
    Reconciler {
        drivers: Drivers { tor: Arc::clone(&model) as _, firewall: model, trials: None },
        layout: world::layout(),
        panel_port: Some(8080),
        applied: world.applied.clone(),
        mandate: Default::default(),
        visitors: Default::default(),
        backoffs: Default::default(),
        wellbeing: Default::default(),
        efforts: None,
    }
}

struct Model(Mutex<World>);

impl Model {
    fn carry_out(&self, object: Object, action: Action) {
        self.0.lock().unwrap().carry_out(&Step { object, cause: Cause::Change, action });
    }

    fn instance(&self, name: &InstanceName, action: Action) {
        self.carry_out(Object::Instance(name.clone()), action);
    }
}

#[async_trait]
impl Tor for Model {
    async fn observe(&self) -> TorObservation {
        let observed = self.0.lock().unwrap().observed.clone();
        TorObservation { instances: observed.instances, relays: observed.relays, program: observed.tor }
    }

    fn forget(&self) {}

    async fn start(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError> {
        self.instance(name, Action::StartInstance { torrc: torrc.to_owned(), fresh: true });
        Ok(())
    }

    async fn set_options(&self, name: &InstanceName, changes: &[OptionChange]) -> Result<(), TorError> {
        self.instance(name, Action::SetOptions { changes: changes.to_vec() });
        Ok(())
    }

    async fn reconnect(&self, _name: &InstanceName) -> Result<(), TorError> {
        Ok(())
    }

    async fn start_afresh(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError> {
        self.start(name, torrc).await
    }

    async fn new_circuits(&self, name: &InstanceName) -> Result<(), TorError> {
        self.instance(name, Action::NewCircuits);
        Ok(())
    }

    async fn write_torrc(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError> {
        self.instance(name, Action::WriteTorrc { torrc: torrc.to_owned() });
        Ok(())
    }

    async fn stop(&self, name: &InstanceName) -> Result<(), TorError> {
        self.0.lock().unwrap().kill(name);
        Ok(())
    }

    async fn destroy(&self, name: &InstanceName) -> Result<(), TorError> {
        self.instance(name, Action::DestroyInstance);
        Ok(())
    }

    async fn tend(&self) {}

    async fn changed(&self) {
        std::future::pending().await
    }
}

#[async_trait]
impl Firewall for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    async fn observe(&self, _wanted: &Guard) -> Observation<ObservedGuard> {
        self.0.lock().unwrap().observed.guard.clone()
    }

    async fn apply(&self, guard: &Guard) -> Result<(), FirewallError> {
        self.carry_out(Object::Guard, Action::InstallGuard { guard: guard.clone() });
        Ok(())
    }

    async fn remove(&self) -> Result<(), FirewallError> {
        self.carry_out(Object::Guard, Action::RemoveGuard);
        Ok(())
    }

    async fn changed(&self) {
        std::future::pending().await
    }
}
