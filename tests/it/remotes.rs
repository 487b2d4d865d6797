//! Git sources as they are met: real servers, hostile ones, damaged clones, and the real daemon before them.

mod believed;
mod damage;
pub mod host;
mod hostile;
mod refusing;
pub mod servers;
mod steady;
mod transports;
