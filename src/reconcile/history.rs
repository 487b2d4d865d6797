//! The revisions that were in force, with their documents: what a rollback goes back to.
//!
//! One small file a revision in the state directory, its first line a comment with what is known of it, so that the
//! rest is the document as it was accepted, with its lists behind it. Only the latest are kept. Which revision is in
//! force is not said here.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::desired::lists::Given;
use crate::desired::values::ListPath;
use crate::desired::{Lists, Revision};
use crate::sys::files;

/// How many revisions are kept.
pub const KEPT: usize = 20;
/// The directory in the state directory.
pub const DIRECTORY: &str = "history";
/// What the first line of a file begins with.
const MARK: &str = "# ";

/// A revision that was put in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The revision.
    pub revision: Revision,
    /// When it was last put in force.
    pub taken_up: Timestamp,
    /// Who signed it, `principals (key)` each; empty where nobody asked for signatures.
    pub signers: Vec<String>,
    /// What became of it.
    pub result: Ended,
}

/// What became of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The host has not matched it yet.
    Applying,
    /// The host matched it, so many milliseconds after it was put in force.
    Converged {
        /// How long that took.
        after_ms: u64,
    },
    /// Another revision was put in force before the host matched it.
    Superseded,
}

/// A revision with its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What is known of it.
    pub entry: Entry,
    /// The document.
    pub bytes: Vec<u8>,
    /// Its lists.
    pub lists: Lists,
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(flatten)]
    entry: Entry,
    /// How long the lists are that stand behind the document.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lists: BTreeMap<ListPath, usize>,
}

/// The directory of the revisions that were in force.
#[derive(Debug, Clone)]
pub struct History {
    directory: PathBuf,
}

impl History {
    /// The history in a state directory.
    pub fn of(state_dir: &Path) -> Self {
        Self { directory: state_dir.join(DIRECTORY) }
    }

    /// Lists what is kept, in the order in which it was accepted; a damaged file is left out.
    pub fn list(&self) -> Vec<Kept> {
        self.files().iter().filter_map(|file| Kept::read(file)).collect()
    }

    /// Keeps a revision that is put in force now; one that was before keeps its place, and who signed it.
    pub fn put(&self, kept: &Kept) -> io::Result<()> {
        let mut kept = kept.clone();
        let files = self.files();
        let mut place =
            self.directory.join(format!("{:08}.yaml", files.last().and_then(|file| number(file)).unwrap_or(0) + 1));
        for (file, mut before) in files.into_iter().filter_map(|file| Kept::read(&file).map(|kept| (file, kept))) {
            if before.entry.revision == kept.entry.revision {
                place = file;
                if kept.entry.signers.is_empty() {
                    kept.entry.signers = before.entry.signers;
                }
            } else if before.entry.result == Ended::Applying {
                before.entry.result = Ended::Superseded;
                before.write(&file)?;
            }
        }
        kept.write(&place)?;
        let files = self.files();
        files[..files.len().saturating_sub(KEPT)].iter().try_for_each(fs::remove_file)
    }

    /// Remembers that the host matches a revision, unless that is known.
    pub fn converged(&self, revision: &Revision, now: Timestamp) -> io::Result<()> {
        for file in self.files() {
            let Some(mut kept) = Kept::read(&file) else { continue };
            if kept.entry.revision == *revision && kept.entry.result == Ended::Applying {
                let after = now.duration_since(kept.entry.taken_up).as_millis();
                kept.entry.result = Ended::Converged { after_ms: u64::try_from(after).unwrap_or(0) };
                kept.write(&file)?;
            }
        }
        Ok(())
    }

    /// The files, oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| number(path).is_some()).collect();
        files.sort_unstable();
        files
    }
}

fn number(file: &Path) -> Option<u32> {
    file.file_name()?.to_str()?.strip_suffix(".yaml")?.parse().ok()
}

impl Kept {
    /// The document with its lists.
    pub fn given(&self) -> Given<'_> {
        Given { document: &self.bytes, lists: &self.lists }
    }

    fn read(file: &Path) -> Option<Self> {
        let bytes = fs::read(file).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let header: Header = serde_json::from_slice(bytes[..end].strip_prefix(MARK.as_bytes())?).ok()?;
        let (bytes, lists) = Lists::split(&bytes[end + 1..], header.lists)?;
        Some(Self { entry: header.entry, bytes, lists })
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        let mut bytes = MARK.as_bytes().to_vec();
        serde_json::to_writer(&mut bytes, &Header { entry: self.entry.clone(), lists: self.lists.lengths() })?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.lists.append_to(&self.bytes));
        files::write_atomically(file, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(number: u8, at: i64) -> Kept {
        let entry = Entry {
            revision: Revision::of_file(&[number; 32]),
            taken_up: Timestamp::from_second(at).unwrap(),
            signers: vec!["ada@example.org (SHA256:x)".to_owned()],
            result: Ended::Applying,
        };
        let list = ("a.txt".parse().unwrap(), Ok(format!("10.0.0.{number}\n").into_bytes()));
        Kept { entry, bytes: format!("version: 1 # {number}\n").into_bytes(), lists: Lists::from_iter([list]) }
    }

    fn numbers(history: &History) -> Vec<String> {
        history.list().iter().map(|kept| String::from_utf8_lossy(&kept.bytes).trim()[13..].to_owned()).collect()
    }

    #[test]
    fn the_latest_are_kept_in_the_order_in_which_they_were_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let history = History::of(directory.path());
        assert_eq!(history.list(), []);
        for number in 1..=25 {
            history.put(&kept(number, i64::from(number))).unwrap();
        }
        let expected: Vec<String> = (6..=25).map(|number| number.to_string()).collect();
        assert_eq!((numbers(&history), expected.len()), (expected.clone(), KEPT));
        assert_eq!(history.list()[0].lists, kept(6, 6).lists);
        let mut again = kept(7, 99);
        again.entry.signers.clear();
        history.put(&again).unwrap();
        assert_eq!(numbers(&history), expected);
        let entry = &history.list()[1].entry;
        assert_eq!((entry.taken_up.as_second(), entry.signers.len()), (99, 1), "who signed it is not forgotten");
    }

    #[test]
    fn what_became_of_a_revision_is_said_once() {
        let directory = tempfile::tempdir().unwrap();
        let history = History::of(directory.path());
        history.put(&kept(1, 10)).unwrap();
        history.converged(&kept(1, 10).entry.revision, Timestamp::from_second(12).unwrap()).unwrap();
        history.converged(&kept(1, 10).entry.revision, Timestamp::from_second(99).unwrap()).unwrap();
        history.put(&kept(2, 20)).unwrap();
        history.put(&kept(3, 30)).unwrap();
        let results: Vec<Ended> = history.list().iter().map(|kept| kept.entry.result).collect();
        assert_eq!(results, [Ended::Converged { after_ms: 2_000 }, Ended::Superseded, Ended::Applying]);
    }

    #[test]
    fn a_damaged_file_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let history = History::of(directory.path());
        history.put(&kept(1, 10)).unwrap();
        fs::write(directory.path().join("history/00000002.yaml"), "# {\"revision\":").unwrap();
        history.put(&kept(3, 30)).unwrap();
        assert_eq!(numbers(&history), ["1", "3"]);
    }
}
