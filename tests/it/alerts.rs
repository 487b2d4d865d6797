//! Alerts that arrive once: the real daemon, real mail servers, a real Alertmanager, and endpoints that look at every byte.

mod crash;
mod desk;
pub mod endpoint;
pub mod mail;
mod posts;
mod team;
mod verbs;
