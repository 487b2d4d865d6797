//! The trail of a path: every directory entry that the kernel looks up on the way to it, through all symbolic links.
//!
//! If none of these entries changes, the path leads to the same file. So they are what a watch has to mind: a file that
//! is renamed over, a link that is swapped, a directory that vanishes and comes back.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// As many links as Linux follows (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// Lists the entries on the way to a path, also those that do not exist. Their parents have no link in them.
pub fn entries(path: &Path) -> BTreeSet<PathBuf> {
    let mut entries = BTreeSet::new();
    let mut rest = parts(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        match part {
            Part::Root => at = PathBuf::from("/"),
            Part::Parent => _ = at.pop(),
            Part::Name(name) => {
                let entry = at.join(name);
                entries.insert(entry.clone());
                match fs::read_link(&entry) {
                    Ok(target) if links < MOST_LINKS => {
                        links += 1;
                        rest = parts(&target).into_iter().chain(rest).collect();
                    }
                    _ => at = entry,
                }
            }
        }
    }
    entries
}

enum Part {
    Root,
    Parent,
    Name(OsString),
}

fn parts(path: &Path) -> VecDeque<Part> {
    let part = |component: Component<'_>| match component {
        Component::RootDir => Some(Part::Root),
        Component::ParentDir => Some(Part::Parent),
        Component::Normal(name) => Some(Part::Name(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}
