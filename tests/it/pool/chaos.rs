//! Faults thrown at a pool, several at once, in an order that a seed decides: each time the host comes back to what is
//! desired, nothing is left over, and the audit trail says what was done about each of them.
//!
//! `EXITPOOL_CHAOS_SEED` repeats a run that failed, as far as the machine's own timing lets it; `EXITPOOL_CHAOS_ROUNDS`
//! makes it longer: in a round each fault comes once.

mod arena;
mod faults;

use std::process::Stdio;
use std::time::Duration;

use proptest::prelude::RngExt as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::stage::pids;
use crate::support::{is_installed, skip};
use arena::Arena;
use faults::{Fault, KINDS};

/// The most faults that are there at once, each on a node of its own.
const MOST_AT_ONCE: usize = 3;
/// How long faults last before what can be lifted is lifted.
const LASTS_UP_TO: Duration = Duration::from_secs(4);
/// The rounds of a run in which nobody says how many.
const ROUNDS: u64 = 2;

const SEED: &str = "EXITPOOL_CHAOS_SEED";

/// Runs the test below in a mount namespace of its own: its small disks are gone with it, however it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_converges_after_any_faults_and_the_trail_explains_each_repair() {
    if let Some(missing) = ["unshare", "mount", "faketime"].into_iter().find(|tool| !is_installed(tool)) {
        return skip(&format!("{missing} is not installed"));
    }
    if !rustix::process::geteuid().is_root() {
        return skip("only root can make a mount namespace");
    }
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "pool::chaos::faults_in_a_mount_namespace", "--ignored", "--nocapture"]);
    let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await.unwrap();
    assert!(status.success(), "the run above failed: its seed is in its output");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is started by another test, in a mount namespace of its own"]
async fn faults_in_a_mount_namespace() {
    let seed = number(SEED).unwrap_or_else(rand_seed);
    eprintln!("{SEED}={seed}");
    let mut dice = Dice::of(seed);
    let Some(mut arena) = Arena::start().await else { return };
    for round in 0..number("EXITPOOL_CHAOS_ROUNDS").unwrap_or(ROUNDS) {
        arena.begin_round(round).await;
        let mut left = dice.shuffled(&KINDS);
        while !left.is_empty() {
            let size = dice.below(MOST_AT_ONCE.min(left.len())) + 1;
            at_once(&mut arena, &mut dice, left.drain(..size).collect()).await;
        }
    }
    arena.strike().await;
}

/// Throws faults at different nodes, lifts what can be lifted, and sees the host come back.
async fn at_once(arena: &mut Arena, dice: &mut Dice, kinds: Vec<fn(&mut Dice) -> Fault>) {
    let before = arena.picture().await;
    let mut victims = dice.shuffled(&pids(&before.report).into_iter().collect::<Vec<_>>());
    // Who was spared so far comes first: nobody is to be restarted so often that it is held down.
    victims.sort_by_key(|(node, _)| arena.hits.get(node).copied().unwrap_or(0));
    let faults: Vec<_> = kinds.into_iter().map(|kind| kind(dice)).zip(victims).collect();
    let told = faults.iter().map(|(fault, (node, _))| format!("{fault:?} at {node}"));
    eprintln!("{}", told.collect::<Vec<_>>().join(", "));

    let mut lifted_later = Vec::new();
    for (fault, (node, pid)) in &faults {
        *arena.hits.entry(node.clone()).or_default() += 1;
        lifted_later.extend(fault.strike(arena, node, *pid).await);
    }
    tokio::time::sleep(LASTS_UP_TO.mul_f64(dice.fraction())).await;
    drop(lifted_later);

    let victims = faults.iter().map(|(_, victim)| victim.clone()).collect();
    arena.comes_back(&before, &victims).await;
    let unexplained = arena.unexplained(&before, &victims);
    let costs_rows = faults.iter().any(|(fault, _)| fault.costs_rows());
    assert!(unexplained.is_empty() || costs_rows && arena.says_that_rows_are_lost(&before), "{unexplained:?}");
}

/// Chances, which a seed decides.
pub struct Dice(TestRng);

impl Dice {
    fn of(seed: u64) -> Self {
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &seed.to_be_bytes().repeat(4)))
    }

    /// A number below another one.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0.random_range(0..limit)
    }

    /// A number from 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        self.0.random_range(0.0..1.0)
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// All of them, in another order.
    pub fn shuffled<T: Clone>(&mut self, all: &[T]) -> Vec<T> {
        let mut all = all.to_vec();
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
        all
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// A seed that no run before had.
fn rand_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() ^ u64::from(since.subsec_nanos())
}
