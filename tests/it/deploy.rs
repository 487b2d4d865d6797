//! What `deploy/` has for those who run exitpool otherwise than as a service of one host: each example is run as it stands.

mod container;
mod engine;
pub mod grafana;
mod hosts;
mod kubernetes;
mod proxies;

use std::fs;
use std::path::{Path, PathBuf};

/// A place below `deploy/`.
fn root(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(place)
}

/// A file of `deploy/`.
fn shipped(file: &str) -> String {
    fs::read_to_string(root(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}
