//! Answers, with the headers of a careful site on every one.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use warp::reply::Response;

use super::content::Content;
use super::listener::Over;
use crate::export::Attempt;
use crate::export::wire::{MisuseDocument, ProblemDocument};
use crate::gate::limits::Wait;
use crate::status::page;
use crate::status::wire::query::Misuse;

/// What every answer says to a browser: nothing is loaded, framed, guessed, sent along or kept.
const CAREFUL: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// For how long a browser asks here by TLS alone; said over TLS, and nowhere else (RFC 6797, 7.2).
const A_YEAR_OF_TLS: &str = "max-age=31536000";
/// Has the page share no window with another site. Browsers heed it where a site is secure, and complain elsewhere.
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// A body and its content type.
pub(super) fn body(status: StatusCode, content_type: &'static str, text: String) -> Response {
    Arc::new(Content::once(content_type, text)).response(status)
}

/// Plain text, one line.
pub(super) fn text(status: StatusCode, line: &str) -> Response {
    body(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// What is wrong with a request, as RFC 9457 has it. `reason` is one word of a closed list.
pub(super) fn problem(status: StatusCode, reason: &str, detail: String) -> Response {
    written(status, &document(status, reason, detail))
}

/// Says what is wrong with which parameters of a request, and what is allowed.
pub(super) fn misused(misuses: &[Misuse]) -> Response {
    let detail: Vec<&str> = misuses.iter().map(|misuse| misuse.detail.as_str()).collect();
    let status = StatusCode::BAD_REQUEST;
    let errors = misuses.iter().cloned().map(|Misuse { parameter, detail }| MisuseDocument { parameter, detail });
    let problem = document(status, "query", detail.join("; "));
    written(status, &ProblemDocument { errors: errors.collect(), ..problem })
}

fn document(status: StatusCode, reason: &str, detail: String) -> ProblemDocument {
    ProblemDocument {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        status: status.as_u16(),
        detail,
        reason: reason.to_owned(),
        errors: Vec::new(),
    }
}

fn written(status: StatusCode, problem: &ProblemDocument) -> Response {
    match serde_json::to_string(problem) {
        Ok(text) => body(status, "application/problem+json", text),
        Err(error) => broken(&error),
    }
}

/// Tells a client to wait.
pub(super) fn too_many(wait: Wait, detail: String) -> Response {
    after(wait, problem(StatusCode::TOO_MANY_REQUESTS, Attempt::Limited.label(), detail))
}

/// Says how long a client should wait before it asks again.
pub(super) fn after(wait: Wait, mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, wait.seconds().into());
    response
}

/// The page.
pub(super) fn html(page: Result<String, minijinja::Error>) -> Response {
    match page {
        Ok(text) => body(StatusCode::OK, "text/html; charset=utf-8", text),
        Err(error) => broken(&error),
    }
}

/// A defect of this program.
pub(super) fn broken(error: &dyn std::error::Error) -> Response {
    tracing::error!(error = crate::error::chain(error), "cannot make an answer");
    text(StatusCode::INTERNAL_SERVER_ERROR, "this is a defect of exitpool; its log says more")
}

/// Puts the headers of a careful site on an answer.
pub(super) fn careful(mut response: Response, over: Over) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in CAREFUL {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if headers.contains_key(header::ETAG) {
        // It may be kept by whoever asked, and is asked for again each time.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    if over != Over::Plain {
        headers.insert(OPENER, HeaderValue::from_static("same-origin"));
    }
    if over == Over::Tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(A_YEAR_OF_TLS));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, page::content_security_policy());
    response
}
