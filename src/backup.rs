//! Backups of the state directory, and what is made of them.
//!
//! A backup is a gzipped tar: a manifest, the members that it names, and the sums of all of them, so that `tar` and
//! `sha256sum -c` look into it where this program is not at hand. Encrypted, that is an age file around it.
//!
//! # Flow
//!
//! [`write::write`] collects ([`members`]) and packs ([`container`]); [`check::open`] unpacks and looks at everything;
//! [`restore::restore`] does the same beside the state in force, and then puts it in its place
//! ([`state::replace`](crate::state::replace)).
//!
//! # Guarantees
//!
//! - The databases are copied as they are at one moment, while the daemon writes them. No pass waits.
//! - What is not whole, not ours or of a later format is named, and nothing is done with it.
//! - Secret keys are in a backup only when asked for, and never in the clear.
//! - A backup that could not be finished leaves no file behind.

pub mod check;
pub mod container;
pub mod envelope;
pub mod manifest;
pub mod members;
pub mod restore;
pub mod write;

mod error;

pub use error::BackupError;
