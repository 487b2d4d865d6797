//! Changes a text where it stands: one value is replaced, and every comment and space around it stays. Pure: whoever
//! asks reads and writes the file.

use super::Desired;
use super::lists::{Given, Lists};
use super::load::{Invalid, load};
use super::names::PoolName;
use super::tree::{self, NodeId, Tree, Value};
use crate::error::{Classify, Kind};

/// A file's new text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resized {
    /// The size so far; `None` where the file said none.
    pub from: Option<u16>,
    /// The whole text.
    pub text: String,
}

/// Why a file was not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file is refused as it stands, before any edit.
    #[error("the file is invalid as it stands; correct it first")]
    InvalidBefore(#[source] Invalid),
    /// The file would be refused after the edit.
    #[error("the file would be invalid after the edit; nothing was changed")]
    InvalidAfter {
        /// What would be wrong.
        #[source]
        invalid: Invalid,
        /// The text that would be refused.
        text: String,
    },
    /// There is no such pool.
    #[error("there is no pool `{pool}`; there is {pools}")]
    NoPool {
        /// The pool.
        pool: PoolName,
        /// Those that there are, for people.
        pools: String,
    },
    /// The size is that of something else.
    #[error(
        "the size of pool `{pool}` is a YAML alias (line {line}): write a number in its place, or change the anchor"
    )]
    Alias {
        /// The pool.
        pool: PoolName,
        /// Where the alias stands.
        line: usize,
    },
    /// Something else takes its value from the size.
    #[error("the size of pool `{pool}` is a YAML anchor that others take their value from; edit the file by hand")]
    Anchor {
        /// The pool.
        pool: PoolName,
    },
    /// The size is written in a way that is not understood well enough to be replaced.
    #[error("cannot replace the size of pool `{pool}` as it is written; edit the file by hand")]
    Unplaced {
        /// The pool.
        pool: PoolName,
    },
}

impl Classify for EditError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoPool { .. } => Kind::Usage,
            _ => Kind::Desired,
        }
    }
}

/// Gives a pool another size, and hands back the file's new text; a size that is missing is put in.
///
/// The new text is loaded again: it is handed back only if the pool's size is all that it says differently.
pub fn resize<'a>(file: &str, text: impl Into<Given<'a>>, pool: &PoolName, size: u16) -> Result<Resized, EditError> {
    let given = text.into();
    let loaded = load(file, given);
    // A file that is not text is refused.
    let text = std::str::from_utf8(given.document).unwrap_or_default();
    let name = Name { file, lists: given.lists };
    let before = match loaded {
        Ok(loaded) => loaded.desired,
        Err(invalid) => return put_in(name, text, pool, size).unwrap_or(Err(EditError::InvalidBefore(invalid))),
    };
    let Some(wished) = before.pools.iter().find(|it| it.name == *pool) else {
        return Err(no_pool(pool, &before));
    };
    let from = wished.size;
    if from == size {
        return Ok(Resized { from: Some(from), text: text.to_owned() });
    }
    let edited = replaced(file, text, pool, size)?;
    let after = loaded_again(name, &edited)?;
    check(&before, &after, pool, size)?;
    Ok(Resized { from: Some(from), text: edited })
}

/// A file's name, and the lists that it names.
#[derive(Clone, Copy)]
struct Name<'a> {
    file: &'a str,
    lists: &'a Lists,
}

fn no_pool(pool: &PoolName, desired: &Desired) -> EditError {
    let names: Vec<String> = desired.pools.iter().map(|it| format!("`{}`", it.name)).collect();
    let pools = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    EditError::NoPool { pool: pool.clone(), pools }
}

fn loaded_again(name: Name<'_>, text: &str) -> Result<Desired, EditError> {
    let given = Given { document: text.as_bytes(), lists: name.lists };
    let again = load(name.file, given).map(|loaded| loaded.desired);
    again.map_err(|invalid| EditError::InvalidAfter { invalid, text: text.to_owned() })
}

/// Checks that an edit has changed the size of one pool, and nothing else.
fn check(before: &Desired, after: &Desired, pool: &PoolName, size: u16) -> Result<(), EditError> {
    let mut expected = before.clone();
    expected.pools.iter_mut().filter(|it| it.name == *pool).for_each(|it| it.size = size);
    match after.pool(pool) {
        _ if *after == expected => Ok(()),
        Some(resized) if resized.size == size => Err(EditError::Anchor { pool: pool.clone() }),
        _ => Err(EditError::Unplaced { pool: pool.clone() }),
    }
}

fn replaced(file: &str, text: &str, pool: &PoolName, size: u16) -> Result<String, EditError> {
    let unplaced = || EditError::Unplaced { pool: pool.clone() };
    let (tree, item) = find(file, text, pool).ok_or_else(unplaced)?;
    let span = &tree.node(tree.child(item, "size").ok_or_else(unplaced)?).span;
    let written = text.get(span.bytes.clone()).ok_or_else(unplaced)?;
    if written.starts_with('*') {
        return Err(EditError::Alias { pool: pool.clone(), line: span.line });
    }
    if !written.starts_with(|it: char| it.is_ascii_digit() || it == '+') {
        return Err(unplaced());
    }
    let mut edited = text.to_owned();
    edited.replace_range(span.bytes.clone(), &size.to_string());
    Ok(edited)
}

/// Puts the size of a pool in that has none; `None` where that is not what the file lacks.
fn put_in(name: Name<'_>, text: &str, pool: &PoolName, size: u16) -> Option<Result<Resized, EditError>> {
    let (tree, item) = find(name.file, text, pool)?;
    if tree.child(item, "size").is_some() {
        return None;
    }
    // Behind the name, which nearly always comes first; in front of it where nothing follows.
    let members = tree.children(item);
    let first = members.iter().position(|member| tree.key(*member) == Some("name"))?;
    let next = tree.key_span(*members.get(first + 1).or(members.get(first))?);
    let is_flow = text.get(tree.node(item).span.bytes.start..)?.starts_with('{');
    let (head, tail) = (text.get(..next.bytes.start)?, text.get(next.bytes.start..)?);
    let separator =
        if is_flow { ", ".to_owned() } else { format!("{}{}", line_end(text), " ".repeat(next.column - 1)) };
    let edited = format!("{head}size: {size}{separator}{tail}");
    let checked = loaded_again(name, &edited).and_then(|after| match after.pool(pool) {
        Some(resized) if resized.size == size => Ok(Resized { from: None, text: edited }),
        _ => Err(EditError::Unplaced { pool: pool.clone() }),
    });
    Some(checked)
}

/// How the lines of a text end.
fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// Finds the mapping of a pool.
fn find(file: &str, text: &str, pool: &PoolName) -> Option<(Tree, NodeId)> {
    let tree = tree::parse(file, text.as_bytes()).ok()?.tree;
    let pools = tree.child(Tree::ROOT, "pools")?;
    let is_meant = |id: &NodeId| tree.child(*id, "name").is_some_and(|name| is_text(&tree, name, &pool.to_string()));
    let item = tree.children(pools).iter().copied().find(is_meant)?;
    Some((tree, item))
}

fn is_text(tree: &Tree, node: NodeId, text: &str) -> bool {
    matches!(&tree.node(node).value, Value::Text(value) if value == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(text: &str, pool: &str, size: u16) -> Result<String, EditError> {
        resize("pool.yaml", text, &pool.parse().unwrap(), size).map(|resized| resized.text)
    }

    #[test]
    fn one_number_changes_and_every_comment_stays() {
        let text = "# é\nversion: 1\npools:\n  - name: eu   # here\n    size: 10   # ten\n    socks_port: 30000\n  - {name: us, size: 5, socks_port: 30100}   # there\n";
        assert_eq!(resized(text, "eu", 7).unwrap(), text.replace("size: 10 ", "size: 7 "));
        assert_eq!(resized(text, "us", 100).unwrap(), text.replace("size: 5,", "size: 100,"));
        assert_eq!(resize("f", text, &"us".parse().unwrap(), 5).unwrap(), Resized { from: Some(5), text: text.into() });
    }

    #[test]
    fn line_ends_and_the_end_of_the_file_stay() {
        let text = "version: 1\r\npools:\r\n  - name: eu\r\n    socks_port: 30000\r\n    size:\r\n      10";
        assert_eq!(resized(text, "eu", 7).unwrap(), text.replace("      10", "      7"));
        let marked = format!("\u{feff}{text}");
        assert_eq!(resized(&marked, "eu", 7).unwrap(), marked.replace("      10", "      7"));
    }

    #[test]
    fn a_size_that_is_missing_is_put_in() {
        let block = "version: 1\r\npools:\r\n  - name: a   # first\r\n    # ports\r\n    socks_port: 1\r\n";
        let expected = block.replace("    socks_port", "    size: 3\r\n    socks_port");
        assert_eq!(resized(block, "a", 3).unwrap(), expected);
        let flow = "version: 1\npools: [{socks_port: 1, name: a}]";
        assert_eq!(resized(flow, "a", 3).unwrap(), flow.replace("name", "size: 3, name"));
        assert_eq!(resize("f", flow, &"a".parse().unwrap(), 3).unwrap().from, None);
        let worse = flow.replace("socks_port", "socks_prot");
        assert!(matches!(resized(&worse, "a", 3), Err(EditError::InvalidAfter { .. })));
    }

    #[test]
    fn what_is_shared_is_not_changed_for_all() {
        let text =
            "version: 1\npools:\n  - {name: a, size: &n 2, socks_port: 1}\n  - {name: b, size: *n, socks_port: 10}\n";
        let error = resized(text, "b", 3).unwrap_err().to_string();
        assert!(error.contains("alias (line 4)"), "{error}");
        assert!(matches!(resized(text, "a", 3), Err(EditError::Anchor { .. })));
        let alone = text.replace("*n", "2");
        assert_eq!(resized(&alone, "a", 3).unwrap(), alone.replace("&n 2", "&n 3"));
    }

    #[test]
    fn what_would_be_invalid_is_not_handed_back() {
        let text =
            "version: 1\npools:\n  - {name: a, size: 2, socks_port: 1}\n  - {name: b, size: 2, socks_port: 10}\n";
        assert!(matches!(resized(text, "a", 10), Err(EditError::InvalidAfter { .. })));
        assert!(matches!(resized(text, "a", 0), Err(EditError::InvalidAfter { .. })));
        assert!(matches!(resized("version: 2\n", "a", 1), Err(EditError::InvalidBefore(_))));
        let quoted = text.replace("size: 2", "size: '2'");
        assert!(matches!(resized(&quoted, "a", 1), Err(EditError::InvalidBefore(_))));
        let error = resized(text, "c", 1).unwrap_err().to_string();
        assert_eq!(error, "there is no pool `c`; there is `a`, `b`");
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 300, failure_persistence: None, ..Default::default() })]

        #[test]
        fn only_the_bytes_of_the_size_change(layout in layout::layouts(), size in 1u16..500) {
            let (before, from, behind) = layout;
            let text = format!("{before}{from}{behind}");
            let edited = resize("f", text.as_str(), &"eu".parse().unwrap(), size).unwrap();
            proptest::prop_assert_eq!(edited, Resized { from: Some(from), text: format!("{before}{size}{behind}") });
        }
    }

    /// Ways to lay a file out, as what stands before the size of `eu`, the size, and what stands behind it.
    mod layout {
        use proptest::prelude::*;

        const COMMENTS: [&str; 4] = ["", "   # size: 10", " # é {name: eu, size: 3}", "  #\t\u{1f9c5}"];

        pub fn layouts() -> impl Strategy<Value = (String, u16, String)> {
            let comment = || proptest::sample::select(COMMENTS.to_vec());
            let shape = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 1usize..5);
            (shape, comment(), comment(), 1u16..500).prop_map(|(shape, first, second, from)| {
                let (flow, crlf, ends, name_last, indent) = shape;
                let (before, behind) = if flow { in_flow(name_last) } else { in_block(name_last, indent) };
                let head =
                    format!("# pools{first}\nversion: 1\npools:\n  - {{name: us, size: {from}, socks_port: 1}}\n");
                let tail =
                    format!("{second}\naccess:\n  socks: [203.0.113.0/24]{first}{}", if ends { "\n" } else { "" });
                let lines = |text: String| if crlf { text.replace('\n', "\r\n") } else { text };
                (lines(head + &before), from, lines(behind + &tail))
            })
        }

        fn in_flow(name_last: bool) -> (String, String) {
            match name_last {
                true => ("  - {socks_port: 30000, size:   ".to_owned(), ",\n     name: eu }".to_owned()),
                false => ("  - { name: \"eu\", \"size\": ".to_owned(), ", socks_port: 30000}".to_owned()),
            }
        }

        fn in_block(name_last: bool, indent: usize) -> (String, String) {
            let pad = " ".repeat(indent + 3);
            let dash = format!("  -{}", " ".repeat(indent));
            match name_last {
                true => (format!("{dash}size:\n{pad}   "), format!("\n{pad}name: 'eu'\n{pad}socks_port: 30000")),
                false => (format!("{dash}name: eu\n{pad}size: "), format!(" # nodes\n{pad}socks_port: 30000")),
            }
        }
    }
}
