//! Names and ids, parsed at the edge: a value of these types is always well formed.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The longest pool name, so that paths of AF_UNIX sockets stay below the kernel's 108 bytes.
pub const MAX_POOL_NAME_BYTES: usize = 32;

/// Why a text is not a name or an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A pool's name has other characters, or is too long.
    #[error(
        "`{0}` is not a pool name; use 1 to {MAX_POOL_NAME_BYTES} of a-z, 0-9 and inner `-`, starting with a letter"
    )]
    Pool(String),
    /// A node's name is not `<pool>-<index>`.
    #[error("`{0}` is not a node name; it is `<pool>-<index>`, as in `eu-0`")]
    Node(String),
    /// A fingerprint is not 40 hexadecimal digits.
    #[error("`{0}` is not a relay's fingerprint; it has 40 hexadecimal digits")]
    Fingerprint(String),
    /// A revision has neither of the two forms.
    #[error("`{0}` is not a revision; it is `<branch>@sha1:<40 hex>` or `file@sha256:<64 hex>`")]
    Revision(String),
}

/// The name of a pool. It is in the name of each of its nodes, which share the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PoolName(Arc<str>);

/// The name of a node, `<pool>-<index>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName {
    pool: PoolName,
    index: u16,
}

/// The name of an instance: that of the first node it serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct InstanceName(NodeName);

/// The identity of a relay: the SHA-1 of its identity key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 20]);

/// The immutable id of one version of the source: `main@sha1:<40 hex>` or `file@sha256:<64 hex>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(String);

impl NodeName {
    /// Names the node of a pool by its index.
    pub fn of(pool: &PoolName, index: u16) -> Self {
        Self { pool: pool.clone(), index }
    }

    /// The pool's name.
    pub fn pool(&self) -> &PoolName {
        &self.pool
    }

    /// The index within the pool.
    pub fn index(&self) -> u16 {
        self.index
    }
}

impl InstanceName {
    /// The node that it is named after.
    pub fn first_node(&self) -> &NodeName {
        &self.0
    }

    /// Names an instance after the first node it serves.
    pub fn from_first_node(node: &NodeName) -> Self {
        Self(node.clone())
    }

    /// The pool's name.
    pub fn pool(&self) -> &PoolName {
        self.0.pool()
    }

    /// The index of its first node.
    pub fn index(&self) -> u16 {
        self.0.index()
    }
}

impl Fingerprint {
    /// Takes the 20 bytes of an identity.
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
}

impl Fingerprint {
    /// The bytes of the identity's digest.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl Revision {
    /// The revision of a commit on a branch; `commit` has 40 hexadecimal digits.
    pub fn of_commit(branch: &str, commit: &str) -> Result<Self, NameError> {
        format!("{branch}@sha1:{commit}").parse()
    }

    /// The revision of a file's content, by its SHA-256.
    pub fn of_file(digest: &[u8; 32]) -> Self {
        Self(format!("file@sha256:{}", hex(digest)))
    }

    /// Shortens the revision for people: the name and twelve digits.
    pub fn short(&self) -> String {
        let cut = self.0.find(':').map_or(self.0.len(), |colon| (colon + 13).min(self.0.len()));
        self.0[..cut].to_owned()
    }
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digests a value: it is the same as another one where their digests are, also in a later process. What is secret in it
/// cannot be read from that; what can be guessed can be tried.
pub fn digest(value: &impl Serialize) -> String {
    hex(&Sha256::digest(serde_json::to_vec(value).unwrap_or_default()))
}

impl FromStr for PoolName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let bytes = text.as_bytes();
        let well_formed = (1..=MAX_POOL_NAME_BYTES).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes[bytes.len() - 1] != b'-'
            && bytes.iter().copied().all(allowed);
        if well_formed { Ok(Self(text.into())) } else { Err(NameError::Pool(text.to_owned())) }
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = || NameError::Node(text.to_owned());
        let (pool, digits) = text.rsplit_once('-').ok_or_else(refuse)?;
        let index: u16 = digits.parse().map_err(|_| refuse())?;
        let name = Self { pool: pool.parse().map_err(|_| refuse())?, index };
        // `eu-00` and `eu-+1` would be second spellings of one node.
        if name.to_string() == text { Ok(name) } else { Err(refuse()) }
    }
}

impl FromStr for InstanceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().map(Self)
    }
}

impl FromStr for Fingerprint {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = || NameError::Fingerprint(text.to_owned());
        let digits = text.strip_prefix('$').unwrap_or(text);
        if digits.len() != 40 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let mut bytes = [0; 20];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Revision {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_hex = |digits: &str, length: usize| {
            digits.len() == length && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let well_formed = match text.rsplit_once('@') {
            Some((branch, id)) if !branch.is_empty() => match id.split_once(':') {
                Some(("sha1", digits)) => is_hex(digits, 40),
                Some(("sha256", digits)) => branch == "file" && is_hex(digits, 64),
                _ => false,
            },
            _ => false,
        };
        if well_formed { Ok(Self(text.to_owned())) } else { Err(NameError::Revision(text.to_owned())) }
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pool, self.index)
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digit by digit: thousands of them are written for each consensus.
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).try_for_each(|digit| f.write_char(digit))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// Index 10 comes after index 9, which the text's own order would not say.
impl Ord for NodeName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.pool, self.index).cmp(&(&other.pool, other.index))
    }
}

impl PartialOrd for NodeName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

macro_rules! through_text {
    ($($name:ty),+) => { $(
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    )+ };
}

through_text!(PoolName, NodeName, Fingerprint, Revision);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pools_are_strict() {
        for good in ["eu", "a", "eu-west-1", "x9"] {
            assert_eq!(good.parse::<PoolName>().unwrap().to_string(), good);
        }
        for bad in ["", "EU", "9x", "-eu", "eu-", "eu_west", "eu west", "../eu", &"a".repeat(33)] {
            assert!(bad.parse::<PoolName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_has_one_spelling() {
        let name: NodeName = "eu-west-12".parse().unwrap();
        assert_eq!((name.pool().to_string().as_str(), name.index()), ("eu-west", 12));
        for bad in ["eu", "eu-", "eu-01", "eu-+1", "eu-65536", "-1"] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_are_ordered_by_their_index() {
        let nine: NodeName = "eu-9".parse().unwrap();
        let ten: NodeName = "eu-10".parse().unwrap();
        assert!(nine < ten);
    }

    #[test]
    fn a_fingerprint_is_read_in_both_cases_and_with_a_dollar() {
        let text = "$000102030405060708090a0b0c0d0e0f10111213";
        let fingerprint: Fingerprint = text.parse().unwrap();
        assert_eq!(fingerprint.to_string(), text[1..].to_uppercase());
        assert!("00".parse::<Fingerprint>().is_err());
        assert!("é".repeat(20).parse::<Fingerprint>().is_err());
    }

    #[test]
    fn revisions_have_two_forms() {
        let commit = format!("main@sha1:{}", "a".repeat(40));
        assert_eq!(commit.parse::<Revision>().unwrap().short(), "main@sha1:aaaaaaaaaaaa");
        assert_eq!(Revision::of_file(&[7; 32]).to_string().parse::<Revision>().unwrap(), Revision::of_file(&[7; 32]));
        for bad in ["main", "main@sha1:abc", "@sha1:aaaa", "main@sha256:00"] {
            assert!(bad.parse::<Revision>().is_err(), "{bad}");
        }
    }
}
