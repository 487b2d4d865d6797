//! The closed sets of labels of requests.

/// The method of a request; a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// Anything else, which no route takes.
    Other,
}

/// The route of a request; a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/`
    Page,
    /// `/healthz`
    Healthz,
    /// `/readyz`
    Readyz,
    /// `/metrics`
    Metrics,
    /// `/api/v1/status`
    Status,
    /// `/api/v1/nodes`
    Nodes,
    /// `/api/v1/drift`
    Drift,
    /// `/api/v1/events`
    Events,
    /// Anything else, which is not found.
    Other,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 3] = [Self::Get, Self::Head, Self::Other];

    /// The method as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Other => "other",
        }
    }
}

impl Endpoint {
    /// All routes, and what is none.
    pub const ALL: [Self; 9] = [
        Self::Page,
        Self::Healthz,
        Self::Readyz,
        Self::Metrics,
        Self::Status,
        Self::Nodes,
        Self::Drift,
        Self::Events,
        Self::Other,
    ];

    /// The path as a metric label; `other` for what is not found.
    pub fn label(self) -> &'static str {
        match self {
            Self::Page => "/",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::Status => "/api/v1/status",
            Self::Nodes => "/api/v1/nodes",
            Self::Drift => "/api/v1/drift",
            Self::Events => "/api/v1/events",
            Self::Other => "other",
        }
    }

    /// The statuses with which a request can be answered.
    pub(super) fn statuses(self, method: Method) -> &'static [&'static str] {
        match (self, method) {
            (Self::Other, _) => &["403", "404"],
            (_, Method::Other) => &["403", "405"],
            (Self::Healthz | Self::Readyz | Self::Events, _) => &["200", "403", "503"],
            _ => &["200", "403"],
        }
    }
}
