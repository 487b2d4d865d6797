//! The parameters of requests: what each one is called, what it takes, and which routes have it.

use serde_json::{Value, json};

use crate::desired::country::ASSIGNED;
use crate::desired::names::MAX_POOL_NAME_BYTES;
use crate::plan::step::ObjectKind;
use crate::status::metrics::Endpoint;
use crate::status::{NodeState, Reason, Severity};

/// The most entries that one answer can be asked to have: more than any pool has nodes.
const MAX_LIMIT: u64 = 100_000;
/// The largest id of an event that can be asked for: programs keep numbers in 64 bits with a sign.
const MAX_EVENT_ID: u64 = i64::MAX as u64;
/// The sorts of things that events are about.
const ABOUT: [&str; 5] = ["host", "source", "guard", "instance", "node"];

/// A parameter of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// Nodes of these pools.
    Pool,
    /// Nodes that leave from these countries.
    Country,
    /// Nodes in these states.
    State,
    /// Drift of these sorts of objects.
    DriftKind,
    /// Events about these sorts of things.
    EventKind,
    /// Events of these severities.
    Severity,
    /// Events for these reasons.
    Reason,
    /// So many entries at most.
    Limit,
    /// Nodes behind this one.
    AfterNode,
    /// Events behind this one.
    AfterEvent,
}

/// What a parameter takes.
pub(super) enum Takes {
    /// One word of a closed list.
    Words(Vec<&'static str>),
    /// A number from one to another.
    Number(u64, u64),
    /// A text of a pattern, which the sentence describes.
    Text(String, &'static str),
}

impl Parameter {
    /// Its name in a query.
    pub fn key(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Country => "country",
            Self::State => "state",
            Self::DriftKind | Self::EventKind => "kind",
            Self::Severity => "severity",
            Self::Reason => "reason",
            Self::Limit => "limit",
            Self::AfterNode | Self::AfterEvent => "after",
        }
    }

    /// Which parameters a route has.
    pub fn of(endpoint: Endpoint) -> &'static [Self] {
        match endpoint {
            Endpoint::Nodes => &[Self::Pool, Self::State, Self::Country, Self::Limit, Self::AfterNode],
            Endpoint::Drift => &[Self::DriftKind],
            Endpoint::Events => &[Self::EventKind, Self::Severity, Self::Reason, Self::Limit, Self::AfterEvent],
            _ => &[],
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Pool => "Nodes of these pools. Default: of all.",
            Self::Country => {
                "Nodes that leave from one of these countries, ISO 3166-1 alpha-2: by their exits, or, while these are \
                 not known, by the only country that they may leave from. Default: any."
            }
            Self::State => "Nodes in one of these states. Default: in all.",
            Self::DriftKind => "Objects of these sorts. Default: all.",
            Self::EventKind => "Events about these sorts of things. Default: all.",
            Self::Severity => "Events of these severities. Default: all.",
            Self::Reason => "Events for these reasons. Default: all.",
            Self::Limit => "So many at most; `next` leads to the others. Default: all. A stream has no limit.",
            Self::AfterNode => "Nodes behind this one, by pool and index, whether it is still there or not.",
            Self::AfterEvent => "Events that are newer than the one with this id.",
        }
    }

    pub(super) fn takes(self) -> Takes {
        let pool = format!("[a-z]([a-z0-9-]{{0,{}}}[a-z0-9])?", MAX_POOL_NAME_BYTES - 2);
        match self {
            Self::Pool => Takes::Text(format!("^{pool}$"), "the name of a pool, as in `eu`"),
            Self::Country => Takes::Words(ASSIGNED.split_ascii_whitespace().collect()),
            Self::State => Takes::Words(NodeState::ALL.map(NodeState::as_str).into()),
            Self::DriftKind => Takes::Words(ObjectKind::ALL.map(ObjectKind::label).into()),
            Self::EventKind => Takes::Words(ABOUT.into()),
            Self::Severity => Takes::Words(Severity::ALL.map(Severity::as_str).into()),
            Self::Reason => Takes::Words(Reason::ALL.iter().map(|reason| reason.as_str()).collect()),
            Self::Limit => Takes::Number(1, MAX_LIMIT),
            Self::AfterNode => {
                let index = "(0|[1-9][0-9]{0,3}|[1-5][0-9]{4})";
                Takes::Text(format!("^{pool}-{index}$"), "the name of a node, as in `eu-0`")
            }
            Self::AfterEvent => Takes::Number(0, MAX_EVENT_ID),
        }
    }

    /// Whether several values may be given, with commas between them or with the name again.
    fn is_many(self) -> bool {
        !matches!(self, Self::Limit | Self::AfterNode | Self::AfterEvent)
    }

    /// The parameter as OpenAPI describes it.
    pub fn described(self) -> Value {
        let schema = match self.takes() {
            Takes::Words(words) => json!({"type": "string", "enum": words}),
            Takes::Number(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
            Takes::Text(pattern, _) => json!({"type": "string", "pattern": pattern}),
        };
        let mut described =
            json!({"name": self.key(), "in": "query", "required": false, "description": self.description()});
        if self.is_many() {
            described["schema"] = json!({"type": "array", "items": schema, "minItems": 1});
            described["style"] = json!("form");
            described["explode"] = json!(false);
        } else {
            described["schema"] = schema;
        }
        described
    }

    /// What it takes, in words.
    pub(super) fn allowed(self) -> String {
        match self.takes() {
            // A list of all countries helps nobody.
            Takes::Words(_) if self == Self::Country => {
                "a country of ISO 3166-1 alpha-2, as in `de` or `de,nl`".to_owned()
            }
            Takes::Words(words) => format!("one or more of {}, with commas between them", words.join(", ")),
            Takes::Number(least, most) => format!("a number from {least} to {most}"),
            Takes::Text(_, sentence) => sentence.to_owned(),
        }
    }
}
