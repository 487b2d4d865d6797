//! The daemon dies before and after every step of plans that create, change, replace and destroy.

use exitpool::cli::demo::stage::StageError;

use super::stage::{Host, PATIENCE, condition, document, nothing_is_left_over, pids, pool, ready};

/// Far more steps than a plan here has.
const MOST_STEPS: usize = 40;

/// A wish, and how many nodes are ready when it is fulfilled.
struct Wish {
    what: &'static str,
    pool: String,
    nodes: usize,
}

/// Plans that lead from one wish to the next, round and round.
fn round() -> [Wish; 5] {
    let wish = |what, size: u16, more: &str| {
        let pool = pool("us", size, "us", 30_000).replace('}', &format!("{more}}}"));
        Wish { what, pool, nodes: size.into() }
    };
    [
        wish("create", 3, ""),
        wish("change", 3, ", torrc: {MaxMemInQueues: 256 MB}"),
        wish("replace", 3, ", torrc: {HardwareAccel: 1}"),
        wish("destroy", 1, ", torrc: {HardwareAccel: 1}"),
        wish("change back", 1, ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_at_any_step_is_followed_by_one_that_converges() {
    let document = |wish: &Wish| document(&wish.pool) + "reconcile: {max_delete: 100%, max_unavailable: 100%}\n";
    let round = round();
    let last = round.last().unwrap();
    let Some(mut host) = Host::start("wstep", &document(last)).await else { return };
    host.converged(last.nodes).await;
    let mut deaths: Vec<String> = Vec::new();
    for step in 1.. {
        assert!(step < MOST_STEPS, "a plan has no end: {deaths:?}");
        let before = deaths.len();
        for side in ["before", "after"] {
            for wish in &round {
                let died = dies(&mut host, &format!("{side}:{step}"), &document(wish), wish.nodes).await;
                deaths.extend(died.then(|| format!("{} {side} step {step}", wish.what)));
            }
        }
        if deaths.len() == before {
            break;
        }
    }
    for wish in &round {
        let of_this = deaths.iter().filter(|death| death.starts_with(&format!("{} ", wish.what))).count();
        assert!(of_this >= 2, "{} was never interrupted: {deaths:?}", wish.what);
    }
    host.strike().await;
}

/// Commits a wish to a daemon that is to die at a step, and checks what the next daemon makes of it. Says whether it
/// died: a plan may have fewer steps.
async fn dies(host: &mut Host, moment: &str, document: &str, nodes: usize) -> bool {
    host.stop_daemon().await;
    host.commits(document).await;
    host.start_daemon_in(&[("EXITPOOL_DEBUG_DIE_AT", moment)]).unwrap();
    let is_done = |report: &exitpool::daemon::socket::Report| report.converged && ready(report) == nodes;
    let died = match host.wait_for("the end of the daemon, or of its work", PATIENCE, is_done).await {
        Ok(_) => false,
        Err(StageError::Ended { .. }) => true,
        Err(other) => panic!("{other}"),
    };
    if died {
        host.start_daemon().unwrap();
    }
    let report = host.converged(nodes).await;
    nothing_is_left_over(host, &pids(&report));
    assert_eq!(condition(&report, "FirewallInSync").0, "True");
    died
}
