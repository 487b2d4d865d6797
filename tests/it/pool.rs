//! The main job on a private Tor network: the real daemon, real tor, real nft, real git.

mod health;
mod outage;
mod stage;
mod switches;
mod tamper;
mod whole;
