//! What a pool asks of the Tor network's directory, beside bare tors that each download it.

use super::flock::Flock;
use super::stage::{Host, document, pool};

/// How many nodes and how many bare tors there are. Where there are more, the ratio is smaller: the first of a pool's tors
/// downloads, and the others start from its copy.
const NODES: u16 = 40;
/// The part of the bare tors' load that the pool's may be at the most, in percent.
const MOST_PERCENT: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_asks_for_the_directory_once_where_bare_tors_ask_each() {
    let sized = |size| document(&pool("us", size, "us", 30_000)) + "allow_empty: true\nreconcile: {max_delete: 100%}\n";
    let Some(mut host) = Host::start("dload", &sized(0)).await else { return };
    host.converged(0).await;
    let served = host.network().served().await.unwrap();
    let before = served.bytes().await;

    host.commits(&sized(NODES)).await;
    host.converged(NODES.into()).await;
    let with_the_pool = served.bytes().await;
    let flock = Flock::start(&host, &Flock::torrc(&host, "us-0"), NODES).await;
    let with_both = served.bytes().await;
    drop(flock);

    let (pool, bare) = (with_the_pool - before, with_both - with_the_pool);
    eprintln!("{NODES} nodes: {pool} bytes of the directory; {NODES} bare tors: {bare} (and {before} before)");
    assert!(pool > 0, "the first tor downloads it");
    assert!(pool * 100 < bare * MOST_PERCENT, "{pool} bytes beside {bare}");
    host.strike().await;
}
