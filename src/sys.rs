//! The only doors to the operating system: the clock, commands, files, signals, sd_notify.

pub mod addresses;
pub mod command;
pub mod files;
pub mod users;
