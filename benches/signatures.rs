//! Verifying signed commits in process, beside `git verify-commit`, which starts a program for each of them.
//!
//! `cargo bench --bench signatures`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and has nobody to report errors to")]

#[expect(dead_code, reason = "the other benches need more of it")]
mod figures;
#[expect(dead_code, reason = "the tests of sources need more of it")]
#[path = "../tests/it/git_kit.rs"]
mod git_kit;

use std::hint::black_box;
use std::time::{Duration, Instant};

use exitpool::source::verify::{self, Signers};
use figures::{Amount, Figure, Target, median};
use git_kit::{Kit, git, run};
use jiff::Timestamp;

/// How many commits are verified in process.
const COMMITS: usize = 300;
/// How many of them git verifies in a time that is not to be exceeded.
const BY_GIT: usize = 30;
/// How often everything is measured; the median counts.
const ROUNDS: usize = 5;

fn main() {
    let kit = Kit::new();
    let commits: Vec<String> = (0..=COMMITS).map(|number| kit.commit(&number.to_string(), Some("ada"))).collect();
    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(timed(|| in_process(&kit, &commits)));
        gits.push(timed(|| by_git(&kit, &commits[COMMITS - BY_GIT..COMMITS])));
    }
    figures::print("Commits signed with ed25519", &table(median(ours), median(gits)));
}

/// Verifies every commit after the first one, as the daemon does.
fn in_process(kit: &Kit, commits: &[String]) {
    let repository = git2::Repository::open(kit.repo()).unwrap();
    let signers = Signers::read(&kit.at("allowed_signers"), Timestamp::now()).unwrap();
    let [first, newest] = [0, COMMITS].map(|at| git2::Oid::from_str(&commits[at]).unwrap());
    let verified = verify::range(&repository, first, newest, &signers).unwrap();
    assert_eq!(black_box(verified).len(), COMMITS);
}

/// Lets git verify commits, all of them by one call.
fn by_git(kit: &Kit, commits: &[String]) {
    let signers = format!("gpg.ssh.allowedSignersFile={}", kit.at("allowed_signers").display());
    run(git().args(["-C", &kit.repo(), "-c", &signers, "verify-commit"]).args(commits), b"");
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn table(ours: Duration, gits: Duration) -> [Figure; 2] {
    let beside = Some(Amount::Time(gits));
    let name = format!("{COMMITS} in process, beside {BY_GIT} by git");
    let total = Figure { name, measured: Amount::Time(ours), beside, target: Target::Times(1.0) };
    let each = Figure {
        name: "one in process, beside one by git".to_owned(),
        measured: Amount::Time(ours / u32::try_from(COMMITS).unwrap()),
        beside: Some(Amount::Time(gits / u32::try_from(BY_GIT).unwrap())),
        target: Target::None,
    };
    [total, each]
}
