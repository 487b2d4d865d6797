//! A pass on a converged host whose drivers answer from memory: what deciding costs, without the host.
//!
//! `cargo bench --bench pass`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and has nobody to report errors to")]

#[expect(dead_code, reason = "the other bench needs more of it")]
mod figures;
#[path = "pass/model.rs"]
mod model;
#[expect(dead_code, reason = "the tests of the plan need more of the model")]
#[path = "../tests/it/plan/world.rs"]
mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exitpool::desired::Desired;
use exitpool::desired::Fingerprint;
use exitpool::desired::load::load;
use exitpool::observe::Observation;
use exitpool::plan::hold::BY_FILE_ALONE;
use exitpool::plan::{Wish, plan};
use figures::{Amount, Figure, Target, median};
use world::World;

const SIZES: [u32; 3] = [10, 100, 1_000];
/// How many exits the Tor network has, roughly.
const EXITS: u32 = 2_000;
/// How often everything is measured; the median counts.
const ROUNDS: usize = 15;
/// What one hundred nodes may cost.
const MOST_PER_HUNDRED: Duration = Duration::from_millis(1);
/// How much more a node may cost among ten times as many: the logarithm of a map, and what no longer fits a cache.
const MOST_GROWTH: f64 = 2.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut hosts: Vec<Host> = SIZES.into_iter().map(Host::converged).collect();
    for _ in 0..ROUNDS {
        for host in &mut hosts {
            host.measure(&runtime);
        }
    }
    figures::print("A pass on a converged host, drivers modelled in memory", &table(&hosts));
}

/// A converged host, and how long things took on it.
struct Host {
    nodes: u32,
    desired: Desired,
    world: World,
    reconciler: exitpool::reconcile::Reconciler,
    plans: Vec<Duration>,
    passes: Vec<Duration>,
}

impl Host {
    fn converged(nodes: u32) -> Self {
        let document = format!(
            "version: 1\npools: [{{name: eu, size: {nodes}, countries: [de, nl], listen: 0.0.0.0, socks_port: 30000}}]\n\
             access: {{socks: [192.0.2.0/24]}}\n"
        );
        let desired = load("pool.yaml", document.as_bytes()).unwrap().desired;
        let mut world = World::new(&[
            "de", "nl", "us", "fr", "se", "ch", "at", "pl", "ro", "fi", "no", "ca", "gb", "cz", "lu", "is", "dk", "es",
            "it", "jp",
        ]);
        populate(&mut world);
        world.converge(&desired);
        let reconciler = model::reconciler(&world);
        Self { nodes, desired, world, reconciler, plans: vec![], passes: vec![] }
    }

    fn measure(&mut self, runtime: &tokio::runtime::Runtime) {
        let layout = world::layout();
        let wish = Wish {
            desired: &self.desired,
            applied: &self.world.applied,
            layout: &layout,
            panel_port: Some(8080),
            mandate: &BY_FILE_ALONE,
        };
        let (made, took) = timed(|| plan(black_box(&wish), black_box(&self.world.observed)));
        assert!(made.steps.is_empty(), "the host is not converged: {:?}", made.steps.first());
        self.plans.push(took);

        let (pass, took) = timed(|| runtime.block_on(self.reconciler.pass(black_box(&self.desired))));
        assert!(pass.outcomes.is_empty() && pass.left.steps.is_empty(), "the pass had something to do");
        self.passes.push(took);
    }
}

/// Gives the modelled Tor network as many exits as the real one has.
fn populate(world: &mut World) {
    let Observation::Present(relays) = &mut world.observed.relays else { panic!("the model knows its relays") };
    let models: Vec<_> = relays.exits().values().cloned().collect();
    for (number, model) in (0..EXITS).zip(models.into_iter().cycle()) {
        let mut fingerprint = [0xee; 20];
        fingerprint[..4].copy_from_slice(&number.to_be_bytes());
        Arc::make_mut(relays).exits_mut().insert(Fingerprint::from_bytes(fingerprint), model);
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = work();
    (result, begun.elapsed())
}

/// Each figure stands beside ten times the one of a tenth of its nodes: a ratio of one is linear.
fn table(hosts: &[Host]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (what, times) in
        [("plan", (|host: &Host| host.plans.clone()) as fn(&Host) -> _), ("pass", |host| host.passes.clone())]
    {
        let mut smaller: Option<Duration> = None;
        for host in hosts {
            let measured = median(times(host));
            let most = MOST_PER_HUNDRED * host.nodes.div_ceil(100);
            let name = format!("{what}, {} nodes", host.nodes);
            let target = Target::Below(Amount::Time(most));
            figures.push(Figure { name, measured: Amount::Time(measured), beside: None, target });
            if let Some(smaller) = smaller.replace(measured) {
                let name = format!("  beside ten times {what}, {} nodes", host.nodes / 10);
                let beside = Some(Amount::Time(smaller * 10));
                figures.push(Figure {
                    name,
                    measured: Amount::Time(measured),
                    beside,
                    target: Target::Times(MOST_GROWTH),
                });
            }
        }
    }
    figures
}
