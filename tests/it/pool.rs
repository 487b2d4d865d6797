//! The main job on a private Tor network: the real daemon, real tor, real nft, real git.

mod crash;
mod entry;
mod exclusive;
mod health;
mod hundred;
mod live;
mod outage;
mod rotate;
mod safety;
mod shared;
pub mod stage;
mod switches;
mod tamper;
mod watch;
mod whole;
