//! Committed files that code or tests generate: one way to check them, and one to write them anew.
//!
//! The unit tests include this file, too.

use std::fs;
use std::path::Path;

/// Whether committed files are to be written anew: `EXITPOOL_UPDATE=1`, which `make generated` sets.
fn is_update() -> bool {
    std::env::var_os("EXITPOOL_UPDATE").is_some_and(|value| value == "1")
}

/// Checks that a committed file is what is generated now; with `EXITPOOL_UPDATE=1` it is written instead.
///
/// The path is relative to the root of the repository.
#[track_caller]
pub fn generated(path: impl AsRef<Path>, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
    if is_update() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    if committed == text {
        return;
    }
    let changes = similar::TextDiff::from_lines(committed.as_str(), text).unified_diff().to_string();
    panic!(
        "{} is stale: run `make generated`, look at the difference, and commit it\n{changes}",
        path.as_ref().display()
    );
}
