//! The files that a document names besides itself: lists of addresses, of the same revision as the document.
//!
//! Pure: a source reads them, and hands them over with the document. What stands in them is `whitelist`'s business.

use std::collections::BTreeMap;
use std::fmt;

use super::tree::{self, MAX_FILE_BYTES, NodeId, Tree, Value};
use super::values::ListPath;

/// As many lists as one document names at most.
pub const MAX_LISTS: usize = 16;
/// The largest list that is read: 50,000 networks, with a comment for each.
pub const MAX_LIST_BYTES: usize = MAX_FILE_BYTES;

/// Where a document can name lists.
const PLACES: [&str; 3] = ["access.socks", "access.panel", "access.ssh.allow"];

/// The lists of one revision, or why one cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lists(BTreeMap<ListPath, Result<Vec<u8>, ListProblem>>);

/// Why a list cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ListProblem {
    /// There is no such file.
    #[error("does not exist")]
    Missing,
    /// It is a directory.
    #[error("is a directory")]
    Directory,
    /// It is a symbolic link within a repository.
    #[error("is a symbolic link")]
    Link,
    /// It is another repository.
    #[error("is a submodule")]
    Submodule,
    /// It is a device, a pipe or a socket.
    #[error("is not a file")]
    NotAFile,
    /// A symbolic link leads out of the desired state's directory.
    #[error("leads out of the directory of the desired state")]
    Outside,
    /// It is too large.
    #[error("has more than {MAX_LIST_BYTES} bytes")]
    TooLarge,
    /// The operating system refuses to read it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

impl ListProblem {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Missing => "add it to the same commit, beside this file, or correct the path",
            Self::Directory | Self::NotAFile | Self::Submodule => "name a text file",
            Self::Link => "commit the file itself, and not a link to it",
            Self::Outside => "put the file itself there, and not a link to another place",
            Self::TooLarge => "check that it is the right file, or write networks in place of addresses",
            Self::Unreadable(_) => "check who may read it, and every directory above it",
        }
    }
}

impl Lists {
    /// No list at all.
    pub const NONE: &'static Self = &Self(BTreeMap::new());

    /// The content of a list; `None` where it was not read.
    pub fn get(&self, path: &ListPath) -> Option<&Result<Vec<u8>, ListProblem>> {
        self.0.get(path)
    }

    /// All of them, by their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&ListPath, &Result<Vec<u8>, ListProblem>)> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long each list is; one that could not be had is left out.
    pub fn lengths(&self) -> BTreeMap<ListPath, usize> {
        let had = self.0.iter().filter_map(|(path, content)| Some((path.clone(), content.as_ref().ok()?.len())));
        had.collect()
    }

    /// Writes a document and, behind it, its lists, one after the other.
    pub fn append_to(&self, document: &[u8]) -> Vec<u8> {
        let contents = self.0.values().filter_map(|content| content.as_deref().ok());
        std::iter::once(document).chain(contents).collect::<Vec<_>>().concat()
    }

    /// Takes a document and its lists apart again, given how long these are; `None` where that cannot be.
    pub fn split(bytes: &[u8], lengths: BTreeMap<ListPath, usize>) -> Option<(Vec<u8>, Self)> {
        let total = lengths.values().try_fold(0_usize, |sum, length| sum.checked_add(*length))?;
        let (document, mut rest) = bytes.split_at_checked(bytes.len().checked_sub(total)?)?;
        let mut lists = Self::default();
        for (path, length) in lengths {
            let (content, behind) = rest.split_at_checked(length)?;
            lists.0.insert(path, Ok(content.to_vec()));
            rest = behind;
        }
        Some((document.to_vec(), lists))
    }
}

impl FromIterator<(ListPath, Result<Vec<u8>, ListProblem>)> for Lists {
    fn from_iter<I: IntoIterator<Item = (ListPath, Result<Vec<u8>, ListProblem>)>>(lists: I) -> Self {
        Self(lists.into_iter().collect())
    }
}

/// A document with its lists, as it is handed to [`load`](super::load::load).
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The document.
    pub document: &'a [u8],
    /// The lists of the same revision.
    pub lists: &'a Lists,
}

impl<'a> From<&'a [u8]> for Given<'a> {
    fn from(document: &'a [u8]) -> Self {
        Self { document, lists: Lists::NONE }
    }
}

impl<'a> From<&'a Vec<u8>> for Given<'a> {
    fn from(document: &'a Vec<u8>) -> Self {
        document.as_slice().into()
    }
}

impl<'a, const LENGTH: usize> From<&'a [u8; LENGTH]> for Given<'a> {
    fn from(document: &'a [u8; LENGTH]) -> Self {
        document.as_slice().into()
    }
}

impl<'a> From<&'a str> for Given<'a> {
    fn from(document: &'a str) -> Self {
        document.as_bytes().into()
    }
}

impl<'a> From<(&'a [u8], &'a Lists)> for Given<'a> {
    fn from((document, lists): (&'a [u8], &'a Lists)) -> Self {
        Self { document, lists }
    }
}

impl fmt::Debug for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes and {} lists", self.document.len(), self.lists.0.len())
    }
}

/// The lists that a document names, at most [`MAX_LISTS`]; none where it cannot be read at all.
pub fn named(document: &[u8]) -> Vec<ListPath> {
    let Ok(parsed) = tree::parse("", document) else { return Vec::new() };
    let tree = &parsed.tree;
    let items = PLACES.iter().filter_map(|place| at(tree, place)).flat_map(|list| tree.children(list));
    let mut named = Vec::new();
    for path in items.filter_map(|item| path(tree, *item)) {
        if named.len() < MAX_LISTS && !named.contains(&path) {
            named.push(path);
        }
    }
    named
}

fn at(tree: &Tree, path: &str) -> Option<NodeId> {
    path.split('.').try_fold(Tree::ROOT, |node, key| tree.child(node, key))
}

fn path(tree: &Tree, item: NodeId) -> Option<ListPath> {
    match &tree.node(tree.child(item, "file")?).value {
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(document: &str) -> Vec<String> {
        named(document.as_bytes()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lists_are_named_where_a_whitelist_is() {
        let document = "version: 1\naccess:\n  socks: [10.0.0.1, {file: a.txt}, {file: lists/b.txt}]\n  panel: [{file: a.txt}, {file: ../c}]\n  ssh: {allow: [any, {file: d.txt}]}\n";
        assert_eq!(names(document), ["a.txt", "lists/b.txt", "d.txt"]);
        assert_eq!(names("version: 1\naccess: {socks: 3}\nalerts: {file: x}\n"), [""; 0]);
        assert_eq!(names("access: ["), [""; 0]);
    }

    #[test]
    fn what_is_kept_together_comes_apart_again() {
        let list = |name: &str, content: &str| (name.parse().unwrap(), Ok(content.as_bytes().to_vec()));
        let lists = Lists::from_iter([list("b", "10.0.0.1\n"), list("a", ""), list("c", "::1")]);
        let bytes = lists.append_to(b"version: 1\n");
        assert_eq!(Lists::split(&bytes, lists.lengths()), Some((b"version: 1\n".to_vec(), lists.clone())));
        assert_eq!(Lists::split(&bytes[..5], lists.lengths()), None);
        let huge = [("a".parse().unwrap(), usize::MAX), ("b".parse().unwrap(), 2)];
        assert_eq!(Lists::split(&bytes, huge.into()), None);
    }

    #[test]
    fn no_more_than_so_many_are_named() {
        let items: String = (0..40).map(|number| format!("{{file: f{number}}}, ")).collect();
        assert_eq!(names(&format!("access: {{socks: [{items}]}}")).len(), MAX_LISTS);
    }
}
