//! What a request asks for beside its format: pools, countries, how many, in which order, in which state.
//!
//! What is wrong is named by its key alone: a value may be a token in the wrong place.

use std::collections::BTreeSet;
use std::fmt;

use crate::desired::{Country, PoolName};

/// The longest seed.
pub const MAX_SEED_BYTES: usize = 64;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Query {
    /// Of which pools; empty means of all that may be had.
    pub pools: Vec<PoolName>,
    /// With exits in which countries; empty means any.
    pub countries: BTreeSet<Country>,
    /// How many nodes at most.
    pub limit: Option<usize>,
    /// In which order.
    pub order: Order,
    /// In which state.
    pub states: States,
}

/// In which order nodes are listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// By pool and index.
    #[default]
    Sorted,
    /// In another order each time.
    Random,
    /// In an order that follows from this text and the nodes' names, and from nothing else.
    Seeded(String),
}

/// In which states nodes are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum States {
    /// Those that are ready.
    #[default]
    Ready,
    /// All.
    Any,
}

/// A token as it was shown. It is never written anywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(pub String);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(…)")
    }
}

/// Why a request cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// There is no such key.
    #[error("the query has a key that is not known; `pool`, `country`, `limit`, `shuffle`, `state` and `token` are")]
    Unknown,
    /// A key that may be there once is there twice.
    #[error("`{0}` may be there once")]
    Twice(&'static str),
    /// A value is none for its key.
    #[error("`{key}` is not understood; {help}")]
    Value {
        /// The key.
        key: &'static str,
        /// What to write.
        help: &'static str,
    },
    /// A token is shown in two places.
    #[error("show the token once: in the header Authorization, or in the query")]
    TwoTokens,
}

/// The token that a request shows, in its query or in its header `Authorization`.
pub fn token(query: &str, authorization: &[&str]) -> Result<Option<Shown>, QueryError> {
    let in_query = pairs(query).filter(|(key, _)| key == "token").map(|(_, value)| value);
    let in_headers = authorization.iter().filter_map(|value| bearer(value)).map(str::to_owned);
    let mut shown = in_query.chain(in_headers);
    let first = shown.next().map(Shown);
    if shown.next().is_some() { Err(QueryError::TwoTokens) } else { Ok(first) }
}

/// What stands behind `Bearer`, in whatever case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(query.as_bytes()).map(|(key, value)| (key.into_owned(), value.into_owned()))
}

impl Query {
    /// The largest number of nodes that can be asked for; no host has as many.
    pub const MAX_LIMIT: usize = 100_000;

    /// Reads a query, as in `pool=eu&country=de,nl&limit=5&shuffle=true`.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut query = Self::default();
        let mut seen = BTreeSet::new();
        for (key, value) in pairs(text).filter(|(key, _)| key != "token") {
            let key = ["pool", "country", "limit", "shuffle", "state"].into_iter().find(|known| *known == key);
            let key = key.ok_or(QueryError::Unknown)?;
            if !seen.insert(key) && !["pool", "country"].contains(&key) {
                return Err(QueryError::Twice(key));
            }
            query.set(key, &value)?;
        }
        Ok(query)
    }

    fn set(&mut self, key: &'static str, value: &str) -> Result<(), QueryError> {
        let wrong = |help| QueryError::Value { key, help };
        match key {
            "pool" => {
                for name in value.split(',') {
                    self.pools.push(name.parse().map_err(|_| wrong("write the name of a pool"))?);
                }
            }
            "country" => {
                for code in value.split(',') {
                    self.countries.insert(code.parse().map_err(|_| wrong("write two letters, as in `de`"))?);
                }
            }
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=Self::MAX_LIMIT).contains(number));
                self.limit = Some(number.ok_or_else(|| wrong("write a number from 1 to 100000"))?);
            }
            "shuffle" => self.order = order(value).ok_or_else(|| wrong("write `true`, or a seed of your own"))?,
            _ => {
                self.states = match value {
                    "ready" => States::Ready,
                    "any" => States::Any,
                    _ => return Err(wrong("write `ready` or `any`")),
                }
            }
        }
        Ok(())
    }
}

fn order(value: &str) -> Option<Order> {
    let is_seed = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    match value {
        "true" => Some(Order::Random),
        "false" => Some(Order::Sorted),
        seed => ((1..=MAX_SEED_BYTES).contains(&seed.len()) && is_seed).then(|| Order::Seeded(seed.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_asked_for() {
        let query = Query::parse("pool=eu&country=de,nl&token=x&limit=5&shuffle=monday&state=any&pool=us").unwrap();
        let expected = Query {
            pools: vec!["eu".parse().unwrap(), "us".parse().unwrap()],
            countries: ["de".parse().unwrap(), "nl".parse().unwrap()].into(),
            limit: Some(5),
            order: Order::Seeded("monday".to_owned()),
            states: States::Any,
        };
        assert_eq!(query, expected);
        assert_eq!(Query::parse(""), Ok(Query::default()));
        assert_eq!(Query::parse("shuffle=true").unwrap().order, Order::Random);
        assert_eq!(Query::parse("shuffle=false").unwrap().order, Order::Sorted);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key_alone() {
        for wrong in [
            "pools=canary",
            "pool=CANARY",
            "pool=",
            "country=canary",
            "country=uk",
            "limit=0",
            "limit=-1",
            "limit=canary",
            "limit=99999999999999999999999",
            "limit=1&limit=2",
            "shuffle=",
            "shuffle=can%0aary",
            "state=canary",
            "shuffle=true&shuffle=true",
        ] {
            let error = Query::parse(wrong).expect_err(wrong).to_string();
            assert!(!error.to_lowercase().contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_token_is_shown_once() {
        let shown = |query: &str, headers: &[&str]| token(query, headers).map(|shown| shown.map(|it| it.0));
        assert_eq!(shown("limit=1", &[]), Ok(None));
        assert_eq!(shown("limit=1&token=a.b", &[]), Ok(Some("a.b".to_owned())));
        assert_eq!(shown("", &["Bearer a.b"]), Ok(Some("a.b".to_owned())));
        assert_eq!(shown("", &["bearer  a.b"]), Ok(Some("a.b".to_owned())));
        assert_eq!(shown("", &["Basic YTpi"]), Ok(None));
        for (query, headers) in
            [("token=a&token=b", &[][..]), ("token=a", &["Bearer a"]), ("", &["Bearer a", "Bearer b"])]
        {
            assert_eq!(shown(query, headers), Err(QueryError::TwoTokens), "{query} {headers:?}");
        }
        assert_eq!(format!("{:?}", token("token=canary", &[])), "Ok(Some(Shown(…)))");
    }
}
