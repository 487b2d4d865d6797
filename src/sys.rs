//! Doors to the operating system: commands, databases, files, addresses, the clock, namespaces, the service manager, and
//! what this process takes of it all.

pub mod addresses;
pub mod clock;
pub mod command;
pub mod database;
pub mod dying;
pub mod files;
pub mod host;
pub mod netns;
pub mod notify;
pub mod random;
pub mod usage;
pub mod users;
