//! The name of a list: a file beside the desired state, or below its directory.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ValueError, written_as_text};

/// The longest path that Linux takes in one piece is far longer; nobody types one.
const LONGEST_CHARS: usize = 255;

/// A path below the desired state's own directory: it is not absolute, and no part of it is `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListPath(String);

written_as_text!(ListPath, "ListPath", {
    "description": "A text file beside the desired state or below its directory, as in `clients.txt` or `lists/clients.txt`: an address or a network a line, comments after `#`.",
    "maxLength": LONGEST_CHARS,
    "pattern": "^([^/.][^/]*|\\.[^/.][^/]*|\\.\\.[^/]+)(/([^/.][^/]*|\\.[^/.][^/]*|\\.\\.[^/]+))*$"
});

impl FromStr for ListPath {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const HELP: &str = "name a file beside this one or below its directory, as in `lists/clients.txt`";
        let refuse = |what: &str| ValueError::new(format!("`{}` {what}; {HELP}", text.escape_debug()));
        if text.chars().count() > LONGEST_CHARS {
            return Err(ValueError::new(format!("this path has more than {LONGEST_CHARS} characters; {HELP}")));
        }
        if text.starts_with('/') {
            return Err(refuse("is an absolute path"));
        }
        if text.split('/').any(|part| part == "..") {
            return Err(refuse("leads out of the desired state's directory"));
        }
        let is_plain = text.split('/').all(|part| !matches!(part, "" | ".")) && !text.contains(char::is_control);
        if is_plain { Ok(Self(text.to_owned())) } else { Err(refuse("is not the name of a file")) }
    }
}

impl ListPath {
    /// The path, from the desired state's directory.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The path as messages name it: beside the desired state, whose name is `file`.
    pub fn beside(&self, file: &str) -> String {
        Path::new(file).with_file_name(&self.0).display().to_string()
    }
}

impl fmt::Display for ListPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ListPath> for String {
    fn from(path: ListPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_beside_the_document_or_below_it() {
        for path in ["clients.txt", "lists/a/b", ".hidden", "..x", "a b", "a/..b"] {
            assert_eq!(path.parse::<ListPath>().unwrap().to_string(), path);
        }
        for path in ["", "/etc/passwd", "..", "../a", "a/../b", "a//b", "a/", "./a", ".", "a\nb", &"x".repeat(256)] {
            assert!(path.parse::<ListPath>().is_err(), "{path:?}");
        }
        let list: ListPath = "lists/a.txt".parse().unwrap();
        assert_eq!(list.beside("hosts/a/pool.yaml"), "hosts/a/lists/a.txt");
        assert_eq!(list.beside("the desired state in force"), "lists/a.txt");
    }
}
