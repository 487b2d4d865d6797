//! What a request for a document may ask for: a closed list of parameters.
//!
//! Requests are read by this list, and `/openapi.json` is made from it, so that neither can say more than the other.
//! Everything that is wrong with a request is told at once.

mod parameter;

use std::collections::BTreeSet;
use std::fmt::Display;

use parameter::Takes;

use super::ObjectDocument;
use crate::desired::{Country, NodeName, PoolName};
use crate::plan::step::ObjectKind;
use crate::status::event::Event;
use crate::status::metrics::Endpoint;
use crate::status::{NodeState, NodeStatus, Reason, Severity};
pub use parameter::Parameter;

/// The longest name of a parameter that is repeated to whoever sent it, in characters.
const MAX_REPEATED: usize = 40;

/// What is wrong with a parameter of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misuse {
    /// Its name, cut short where it is long.
    pub parameter: String,
    /// What is wrong, and what is allowed.
    pub detail: String,
}

/// Which nodes are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodesQuery {
    pools: BTreeSet<PoolName>,
    countries: BTreeSet<Country>,
    states: BTreeSet<NodeState>,
    pub(super) after: Option<NodeName>,
    pub(super) page: Page,
}

/// Which drift is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DriftQuery {
    kinds: BTreeSet<String>,
}

/// Which events are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventsQuery {
    kinds: BTreeSet<String>,
    severities: BTreeSet<Severity>,
    reasons: BTreeSet<Reason>,
    /// Those behind this one.
    pub after: Option<u64>,
    pub(super) page: Page,
}

/// One page of a longer answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// So many entries at most.
    limit: Option<usize>,
    /// The rest of the query, which the next page has as well.
    rest: Vec<(String, String)>,
}

/// Reads a query by the parameters that a route has, and gathers what is wrong with it.
struct Reader {
    pairs: Vec<(String, String)>,
    misuses: Vec<Misuse>,
}

impl Reader {
    fn of(query: &str, endpoint: Endpoint) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        let pairs: Vec<(String, String)> = pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
        let known = Parameter::of(endpoint);
        let stranger = |key: &&String| known.iter().all(|parameter| parameter.key() != key.as_str());
        let strangers: BTreeSet<&String> = pairs.iter().map(|(key, _)| key).filter(stranger).collect();
        let misuses = strangers.into_iter().map(|key| unknown(key, known)).collect();
        Self { pairs, misuses }
    }

    fn values(&self, parameter: Parameter) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(key, _)| key == parameter.key()).map(|(_, value)| value.as_str())
    }

    /// The values of a parameter that may have several.
    fn many<T: Ord>(&mut self, parameter: Parameter, parse: impl Fn(&str) -> Option<T>) -> BTreeSet<T> {
        let parsed: Option<BTreeSet<T>> =
            self.values(parameter).flat_map(|value| value.split(',')).map(&parse).collect();
        self.or_misuse(parameter, parsed).unwrap_or_default()
    }

    /// The value of a parameter that may stand there once.
    fn one<T>(&mut self, parameter: Parameter, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let values: Vec<&str> = self.values(parameter).collect();
        match values[..] {
            [] => None,
            [value] => {
                let parsed = parse(value);
                self.or_misuse(parameter, parsed)
            }
            _ => {
                let detail = format!("`{}` may stand there once", parameter.key());
                self.misuses.push(Misuse { parameter: parameter.key().to_owned(), detail });
                None
            }
        }
    }

    fn number(&mut self, parameter: Parameter) -> Option<u64> {
        let Takes::Number(least, most) = parameter.takes() else { return None };
        self.one(parameter, |value| value.parse().ok().filter(|number| (least..=most).contains(number)))
    }

    fn word(&mut self, parameter: Parameter) -> BTreeSet<String> {
        let Takes::Words(words) = parameter.takes() else { return BTreeSet::new() };
        self.many(parameter, |value| words.contains(&value).then(|| value.to_owned()))
    }

    fn page(&mut self) -> Page {
        let limit = self.number(Parameter::Limit).and_then(|limit| usize::try_from(limit).ok());
        let rest = self.pairs.iter().filter(|(key, _)| key != Parameter::AfterNode.key()).cloned().collect();
        Page { limit, rest }
    }

    fn or_misuse<T>(&mut self, parameter: Parameter, parsed: Option<T>) -> Option<T> {
        if parsed.is_none() {
            let detail = format!("`{}` is not understood: it takes {}", parameter.key(), parameter.allowed());
            self.misuses.push(Misuse { parameter: parameter.key().to_owned(), detail });
        }
        parsed
    }

    fn done<T>(self, query: T) -> Result<T, Vec<Misuse>> {
        if self.misuses.is_empty() { Ok(query) } else { Err(self.misuses) }
    }
}

fn unknown(key: &str, known: &[Parameter]) -> Misuse {
    let parameter: String = key.chars().take(MAX_REPEATED).collect();
    let keys: Vec<String> = known.iter().map(|parameter| format!("`{}`", parameter.key())).collect();
    let allowed = if keys.is_empty() { "this takes none".to_owned() } else { format!("use {}", keys.join(", ")) };
    Misuse { detail: format!("there is no parameter `{parameter}`: {allowed}"), parameter }
}

/// Reads the query of a route that takes no parameters.
pub fn nothing(query: &str, endpoint: Endpoint) -> Result<(), Vec<Misuse>> {
    Reader::of(query, endpoint).done(())
}

impl NodesQuery {
    /// Reads a query, as in `pool=eu&country=de,nl&limit=100`.
    pub fn parse(query: &str) -> Result<Self, Vec<Misuse>> {
        let mut reader = Reader::of(query, Endpoint::Nodes);
        let state = |value: &str| NodeState::ALL.into_iter().find(|state| state.as_str() == value);
        let query = Self {
            pools: reader.many(Parameter::Pool, |value| value.parse().ok()),
            countries: reader.many(Parameter::Country, |value| value.parse().ok()),
            states: reader.many(Parameter::State, state),
            after: reader.one(Parameter::AfterNode, |value| value.parse().ok()),
            page: reader.page(),
        };
        reader.done(query)
    }

    /// Whether a node is asked for.
    pub(super) fn wants(&self, node: &NodeStatus) -> bool {
        let is_from = |country: &Country| self.countries.contains(country);
        (self.pools.is_empty() || self.pools.contains(&node.pool))
            && (self.states.is_empty() || self.states.contains(&node.state))
            && (self.countries.is_empty() || leaves_from(node).is_some_and(|country| is_from(&country)))
            && self.after.as_ref().is_none_or(|after| node.name > *after)
    }
}

/// The country that a node leaves from: that of its exit, or the only one that it may leave from.
fn leaves_from(node: &NodeStatus) -> Option<Country> {
    let only = if node.countries.len() == 1 { node.countries.first().copied() } else { None };
    node.exit.as_ref().and_then(|exit| exit.country).or(only)
}

impl DriftQuery {
    /// Reads a query, as in `kind=guard`.
    pub fn parse(query: &str) -> Result<Self, Vec<Misuse>> {
        let mut reader = Reader::of(query, Endpoint::Drift);
        let query = Self { kinds: reader.word(Parameter::DriftKind) };
        reader.done(query)
    }

    /// Whether drift of a sort of objects is asked for.
    pub(super) fn wants(&self, kind: ObjectKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(kind.label())
    }
}

impl EventsQuery {
    /// Reads a query, as in `severity=error&after=7`.
    pub fn parse(query: &str) -> Result<Self, Vec<Misuse>> {
        let mut reader = Reader::of(query, Endpoint::Events);
        let severity = |value: &str| Severity::ALL.into_iter().find(|severity| severity.as_str() == value);
        let reason = |value: &str| Reason::ALL.iter().copied().find(|reason| reason.as_str() == value);
        let query = Self {
            kinds: reader.word(Parameter::EventKind),
            severities: reader.many(Parameter::Severity, severity),
            reasons: reader.many(Parameter::Reason, reason),
            after: reader.number(Parameter::AfterEvent),
            page: reader.page(),
        };
        reader.done(query)
    }

    /// The query of a stream, which goes on without end.
    pub fn parse_for_a_stream(query: &str) -> Result<Self, Vec<Misuse>> {
        let parsed = Self::parse(query)?;
        if parsed.page.limit.is_none() {
            return Ok(parsed);
        }
        let detail = "`limit` is for the document: a stream has no end".to_owned();
        Err(vec![Misuse { parameter: Parameter::Limit.key().to_owned(), detail }])
    }

    /// Whether an event is asked for.
    pub fn wants(&self, event: &Event) -> bool {
        (self.severities.is_empty() || self.severities.contains(&event.severity))
            && (self.reasons.is_empty() || self.reasons.contains(&event.reason))
            && (self.kinds.is_empty() || self.kinds.contains(&ObjectDocument::from(&event.about).kind))
            && self.after.is_none_or(|after| event.id > after)
    }
}

impl Page {
    /// Cuts a list to the page's length; gives what the last one of the page is called, where more come behind it.
    pub(super) fn cut<T, N: Display>(&self, entries: &mut Vec<T>, name: impl Fn(&T) -> N) -> Option<String> {
        let limit = self.limit.filter(|limit| entries.len() > *limit)?;
        entries.truncate(limit);
        entries.last().map(|last| name(last).to_string())
    }

    /// The path of the page behind an entry.
    pub(super) fn behind(&self, endpoint: Endpoint, last: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.rest).append_pair(Parameter::AfterNode.key(), last);
        format!("{}?{}", endpoint.label(), query.finish())
    }
}

#[cfg(test)]
mod tests;
