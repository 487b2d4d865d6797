//! Doors to the operating system: commands, files, addresses, the service manager.

pub mod addresses;
pub mod command;
pub mod files;
pub mod notify;
pub mod users;
