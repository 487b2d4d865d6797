//! Doors to the operating system: commands, files, addresses, the clock, the service manager.

pub mod addresses;
pub mod clock;
pub mod command;
pub mod files;
pub mod notify;
pub mod users;
