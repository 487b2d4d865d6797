//! Doors to the operating system: commands, files, addresses, the clock, namespaces, the service manager, and
//! what this process takes of it all.

pub mod addresses;
pub mod clock;
pub mod command;
pub mod files;
pub mod netns;
pub mod notify;
pub mod random;
pub mod usage;
pub mod users;
