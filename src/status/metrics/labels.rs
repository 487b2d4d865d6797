//! The closed sets of labels of requests.

use crate::export::ExportFormat;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// `/openapi.json`
    Openapi,
    /// `/export/txt` and so on.
    Export(ExportFormat),
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
    pub const ALL: [Self; 16] = [
        Self::Page,
        Self::Healthz,
        Self::Readyz,
        Self::Metrics,
        Self::Status,
        Self::Nodes,
        Self::Drift,
        Self::Events,
        Self::Openapi,
        Self::Export(ExportFormat::Txt),
        Self::Export(ExportFormat::Csv),
        Self::Export(ExportFormat::Json),
        Self::Export(ExportFormat::Proxychains),
        Self::Export(ExportFormat::Pac),
        Self::Export(ExportFormat::Curl),
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
            Self::Openapi => "/openapi.json",
            Self::Export(ExportFormat::Txt) => "/export/txt",
            Self::Export(ExportFormat::Csv) => "/export/csv",
            Self::Export(ExportFormat::Json) => "/export/json",
            Self::Export(ExportFormat::Proxychains) => "/export/proxychains",
            Self::Export(ExportFormat::Pac) => "/export/pac",
            Self::Export(ExportFormat::Curl) => "/export/curl",
            Self::Other => "other",
        }
    }

    /// The statuses with which a request can be answered.
    pub(in crate::status) fn statuses(self, method: Method) -> &'static [&'static str] {
        match (self, method) {
            (Self::Other, _) => &["400", "401", "403", "404", "413", "429", "503"],
            (Self::Healthz | Self::Readyz, Method::Other) => &["400", "403", "405", "413", "429"],
            (_, Method::Other) => &["400", "401", "403", "405", "413", "429", "503"],
            (Self::Export(_), _) => &["200", "400", "401", "403", "409", "413", "429", "503"],
            (Self::Healthz | Self::Readyz, _) => &["200", "400", "403", "413", "429", "503"],
            (Self::Events | Self::Status | Self::Nodes | Self::Drift | Self::Openapi, _) => {
                &["200", "304", "400", "401", "403", "413", "429", "503"]
            }
            // A pool that there is not.
            (Self::Page, _) => &["200", "400", "401", "403", "404", "413", "429", "503"],
            _ => &["200", "400", "401", "403", "413", "429", "503"],
        }
    }
}
