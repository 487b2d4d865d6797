//! exitpool keeps a Linux host's pool of Tor SOCKS5 proxies as a YAML file in Git says it should be.
//!
//! # The map
//!
//! One process, `exitpool run`, holds these long-lived tasks:
//!
//! | task | reads | writes |
//! |---|---|---|
//! | [`daemon`]'s loop | the wake-up channel and the resync timer | the service manager's watchdog: it lets [`reconcile`] pass and publishes the outcome |
//! | [`source`]'s watcher | the file's directory, or the repository's refs | the wake-up channel |
//! | [`daemon::fetching`]'s task | a remote repository, by `git` as a child | the clone in the state directory, the wake-up channel |
//! | [`tor`]'s actors, one per instance | the control socket, a pidfd | the wake-up channel; they answer commands |
//! | [`firewall`]'s listener | netlink's rule generations | the wake-up channel |
//! | [`status::http`]'s server | the published [`status::Status`] | nothing, but downloads to [`audit`] |
//! | [`daemon::socket`]'s server | the AF_UNIX socket in the runtime directory | the wake-up channel, and the daemon's requests |
//! | [`daemon`]'s alerting | the published status, certificates, the disk | [`alert`]'s outbox, the channels, the wake-up channel |
//! | the keeper of [`gate`]'s lockouts | who is locked out, when that changes | a file in the state directory, [`audit`], the published status |
//! | [`audit`]'s writer | the outcomes of steps | an append-only, signed database that nothing reads to decide |
//!
//! A wake-up carries no payload: it means 'look again'. A pass then observes the world, plans the
//! difference to the desired state, applies it, verifies by observing and planning again, and publishes.
//!
//! ```text
//! source ── Candidate{revision, bytes} ──► desired ── Desired ──┐
//!                                                               ▼
//! tor control sockets, process table ──┐                    plan()  ── Plan ──► apply ──► verify
//! firewall driver: read back ──────────┴── observe ── Observed ─┘                            │
//!                                                                                            ▼
//!                                 status page · JSON API · metrics · CLI · audit ◄── Status (watch channel)
//! ```
//!
//! An arrow of imports goes only to the right:
//! `main → cli → daemon → reconcile → {observe::collect, apply, status} → {tor, firewall} → {observe, plan} → {desired, error, sys}`.
//! `docs/architecture.md` says why; `tests/architecture.rs` enforces it.

pub mod alert;
pub mod apply;
pub mod audit;
pub mod backup;
pub mod cli;
pub mod daemon;
pub mod desired;
pub mod error;
pub mod export;
pub mod firewall;
pub mod gate;
pub mod health;
pub mod log;
pub mod observe;
pub mod plan;
pub mod probe;
pub mod reconcile;
pub mod rollout;
pub mod rotation;
pub mod secret;
pub mod source;
pub mod state;
pub mod status;
pub mod sys;
pub mod testnet;
pub mod tor;
pub mod trial;
pub mod web;
