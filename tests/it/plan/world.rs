//! A model of the world that carries steps out as the drivers do, without a driver.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use exitpool::desired::{Country, Desired, Fingerprint, InstanceName};
use exitpool::observe::{Bootstrap, Control, Instance, Observation, Observed, ObservedGuard, Process, TorProgram};
use exitpool::plan::{Action, Applied, Mandate, Object, Plan, Step, Wish, plan};
use exitpool::tor::layout::Layout;
use exitpool::tor::options::RunningOptions;
use exitpool::tor::options::digest::TorrcDigest;
use exitpool::tor::relays::{Exit, Relays};

/// A pass needs so many rounds at the most: start, open, and one more for those that had to wait for others.
const MOST_ROUNDS: usize = 64;

#[derive(Debug, Clone)]
pub struct World {
    pub observed: Observed,
    pub applied: Applied,
    pub mandate: Mandate,
    next_pid: u32,
}

impl World {
    /// An empty host with tor, beside a Tor network with exits in these countries.
    pub fn new(countries: &[&str]) -> Self {
        let exits: BTreeMap<Fingerprint, Exit> = (1u8..)
            .zip(countries)
            .map(|(number, code)| {
                let country: Option<Country> = code.parse().ok();
                let address = [192, 0, 2, number].into();
                (Fingerprint::from_bytes([number; 20]), Exit { address, country, bandwidth: 100 })
            })
            .collect();
        let program = TorProgram { path: "/usr/bin/tor".to_owned(), version: "0.4.9.11".to_owned() };
        let observed = Observed {
            relays: Observation::Present(Arc::new(Relays::new("2026-11-01 00:00:00".to_owned(), exits))),
            tor: Observation::Present(program),
            ..Observed::default()
        };
        Self { observed, applied: Applied::default(), mandate: Mandate::default(), next_pid: 100 }
    }

    pub fn plan(&self, desired: &Desired) -> Plan {
        plan(&self.wish(desired, &layout()), &self.observed)
    }

    fn wish<'a>(&'a self, desired: &'a Desired, layout: &'a Layout) -> Wish<'a> {
        Wish { desired, applied: &self.applied, layout, panel_port: Some(8080), mandate: &self.mandate }
    }

    /// Carries plans out until one is empty; gives all steps, in order.
    pub fn converge(&mut self, desired: &Desired) -> Vec<Step> {
        let mut done = Vec::new();
        for _ in 0..MOST_ROUNDS {
            let plan = self.plan(desired);
            plan.steps.iter().for_each(|step| self.carry_out(step));
            done.extend(plan.steps.clone());
            self.settle(desired);
            if plan.steps.is_empty() {
                return done;
            }
        }
        panic!("not converged after {MOST_ROUNDS} rounds: {:#?}", self.plan(desired).steps);
    }

    /// Remembers what needs nothing more, as a pass does at its end.
    pub fn settle(&mut self, desired: &Desired) {
        let left = self.plan(desired);
        let mut applied = self.applied.clone();
        applied.settle(&self.wish(desired, &layout()), &left);
        self.applied = applied;
    }

    /// Does what the drivers do.
    pub fn carry_out(&mut self, step: &Step) {
        match (&step.object, &step.action) {
            (Object::Guard, Action::InstallGuard { guard } | Action::UpdateGuard { guard, .. }) => {
                self.observed.guard = Observation::Present(ObservedGuard::Exact(guard.clone()));
            }
            (Object::Guard, _) => self.observed.guard = Observation::Absent,
            (Object::Instance(name), Action::DestroyInstance | Action::DissolveInstance) => {
                self.observed.instances.remove(name);
            }
            (
                Object::Instance(name),
                Action::StartInstance { torrc, .. }
                | Action::ReplaceInstance { torrc, .. }
                | Action::RestartInstance { torrc, .. },
            ) => self.start(name, torrc),
            (Object::Instance(name), Action::DrainInstance { .. }) => {
                let control = self.control(name);
                control.options.set("SocksPort", ["0"]);
                control.socks_listeners.clear();
            }
            (Object::Instance(name), Action::WriteTorrc { torrc }) => {
                self.instance(name).torrc = Observation::Present(TorrcDigest::of(torrc));
            }
            (Object::Instance(name), Action::NewCircuits) => self.control(name).renewal.done += 1,
            (Object::Instance(name), Action::SetOptions { changes }) => {
                let control = self.control(name);
                for change in changes {
                    control.options.0.remove(&change.name);
                    if !change.to.is_empty() {
                        control.options.set(&change.name, change.to.iter().map(String::as_str));
                    }
                }
                let ports = control.options.values("SocksPort").to_vec();
                control.socks_listeners =
                    ports.iter().filter_map(|port| port.split(' ').next()?.parse().ok()).collect();
            }
            (object, action) => panic!("no such step: {object} {action}"),
        }
    }

    fn start(&mut self, name: &InstanceName, torrc: &str) {
        self.next_pid += 1;
        let control = Control {
            version: "0.4.9.11".to_owned(),
            options: RunningOptions::parse(torrc),
            bootstrap: Bootstrap { progress: 100, summary: "Done".to_owned(), warning: None, ..Bootstrap::default() },
            circuit_established: true,
            network_live: Some(true),
            ..Control::default()
        };
        let instance = Instance {
            torrc: Observation::Present(TorrcDigest::of(torrc)),
            process: Observation::Present(Process { pid: self.next_pid, started: 1 }),
            control: Observation::Present(Arc::new(control)),
            ..Instance::default()
        };
        self.observed.instances.insert(name.clone(), instance);
    }

    pub fn instance(&mut self, name: &InstanceName) -> &mut Instance {
        self.observed.instances.get_mut(name).unwrap_or_else(|| panic!("no instance {name}"))
    }

    pub fn control(&mut self, name: &InstanceName) -> &mut Control {
        match &mut self.instance(name).control {
            Observation::Present(control) => Arc::make_mut(control),
            other => panic!("{name} has no control socket: {other:?}"),
        }
    }

    /// Ends a process, as kill -9 does.
    pub fn kill(&mut self, name: &InstanceName) {
        let instance = self.instance(name);
        instance.process = Observation::Absent;
        instance.control = Observation::Absent;
    }

    pub fn pids(&self) -> BTreeMap<InstanceName, u32> {
        let pid = |instance: &Instance| instance.process.present().map(|process| process.pid);
        self.observed.instances.iter().filter_map(|(name, instance)| Some((name.clone(), pid(instance)?))).collect()
    }
}

pub fn layout() -> Layout {
    Layout {
        runtime_dir: PathBuf::from("/run/exitpool"),
        state_dir: PathBuf::from("/var/lib/exitpool"),
        torrc_defaults: None,
    }
}
