//! The main job on a private Tor network: the real daemon, real tor, real nft, real git.

mod chaos;
mod crash;
mod entry;
mod exclusive;
#[path = "../../benches/pool/flock.rs"]
mod flock;
mod gauges;
mod health;
mod hundred;
mod live;
mod load;
mod moved;
mod outage;
mod probes;
mod prometheus;
mod repairs;
mod rotate;
mod safety;
mod shared;
pub mod stage;
mod switches;
mod tamper;
mod told;
mod watch;
mod whole;
