//! Changes a file where it stands: one value is replaced, and every comment and space around it stays.

use super::load::{Invalid, load};
use super::names::PoolName;
use super::tree::{self, NodeId, Tree, Value};
use crate::error::{Classify, Kind};

/// Why a file was not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file is refused as it stands, before any edit.
    #[error("the file is invalid before it is edited; correct it first")]
    InvalidBefore(#[source] Invalid),
    /// The file would be refused after the edit.
    #[error("the file would be invalid after the edit; nothing was changed")]
    InvalidAfter(#[source] Invalid),
    /// There is no such pool.
    #[error("there is no pool `{pool}`; there is {pools}")]
    NoPool {
        /// The pool.
        pool: PoolName,
        /// Those that there are, for people.
        pools: String,
    },
    /// The value belongs to several pools by an alias.
    #[error("the size of pool `{pool}` is shared by a YAML alias; edit the file by hand")]
    Shared {
        /// The pool.
        pool: PoolName,
    },
}

impl Classify for EditError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoPool { .. } => Kind::Usage,
            Self::InvalidBefore(_) | Self::InvalidAfter(_) | Self::Shared { .. } => Kind::Desired,
        }
    }
}

/// Gives a pool another size, and hands back the file's new text.
///
/// The new text is loaded again: it is handed back only if the pool's size is all that it says differently.
pub fn resize(file: &str, text: &str, pool: &PoolName, size: u16) -> Result<String, EditError> {
    let mut expected = load(file, text.as_bytes()).map_err(EditError::InvalidBefore)?.desired;
    let Some(wished) = expected.pools.iter_mut().find(|it| it.name == *pool) else {
        let names: Vec<String> = expected.pools.iter().map(|it| format!("`{}`", it.name)).collect();
        let pools = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(EditError::NoPool { pool: pool.clone(), pools });
    };
    wished.size = size;
    let shared = || EditError::Shared { pool: pool.clone() };
    let edited = replace_size(file, text, pool, size).ok_or_else(shared)?;
    let said = load(file, edited.as_bytes()).map_err(EditError::InvalidAfter)?.desired;
    if said == expected { Ok(edited) } else { Err(shared()) }
}

fn replace_size(file: &str, text: &str, pool: &PoolName, size: u16) -> Option<String> {
    let tree = tree::parse(file, text.as_bytes()).ok()?.tree;
    let pools = tree.child(Tree::ROOT, "pools")?;
    let is_meant = |id: &&NodeId| tree.child(**id, "name").is_some_and(|name| is_text(&tree, name, &pool.to_string()));
    let item = tree.children(pools).iter().find(is_meant)?;
    let range = tree.node(tree.child(*item, "size")?).span.bytes.clone();
    let mut edited = text.to_owned();
    edited.get(range.clone())?;
    edited.replace_range(range, &size.to_string());
    Some(edited)
}

fn is_text(tree: &Tree, node: NodeId, text: &str) -> bool {
    matches!(&tree.node(node).value, Value::Text(value) if value == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(text: &str, pool: &str, size: u16) -> Result<String, EditError> {
        resize("pool.yaml", text, &pool.parse().unwrap(), size)
    }

    #[test]
    fn one_number_changes_and_every_comment_stays() {
        let text = "# é\nversion: 1\npools:\n  - name: eu   # here\n    size: 10   # ten\n    socks_port: 30000\n  - {name: us, size: 5, socks_port: 30100}   # there\n";
        assert_eq!(resized(text, "eu", 7).unwrap(), text.replace("size: 10 ", "size: 7 "));
        assert_eq!(resized(text, "us", 100).unwrap(), text.replace("size: 5,", "size: 100,"));
    }

    #[test]
    fn an_alias_of_one_number_is_replaced_and_a_shared_pool_is_not() {
        let text =
            "version: 1\npools:\n  - {name: a, size: &n 2, socks_port: 1}\n  - {name: b, size: *n, socks_port: 10}\n";
        assert_eq!(resized(text, "b", 3).unwrap(), text.replace("*n", "3"));
        assert!(matches!(resized(text, "a", 3), Err(EditError::Shared { .. })));
    }

    #[test]
    fn what_would_be_invalid_is_not_handed_back() {
        let text =
            "version: 1\npools:\n  - {name: a, size: 2, socks_port: 1}\n  - {name: b, size: 2, socks_port: 10}\n";
        assert!(matches!(resized(text, "a", 10), Err(EditError::InvalidAfter(_))));
        assert!(matches!(resized(text, "a", 0), Err(EditError::InvalidAfter(_))));
        assert!(matches!(resized("version: 2\n", "a", 1), Err(EditError::InvalidBefore(_))));
        let error = resized(text, "c", 1).unwrap_err().to_string();
        assert_eq!(error, "there is no pool `c`; there is `a`, `b`");
    }
}
