//! Answers, with the headers of a careful site on every one.

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use warp::reply::Response;

use crate::desired::names::hex;
use crate::export::Attempt;
use crate::export::wire::ProblemDocument;
use crate::gate::limits::Wait;
use crate::status::page;

/// So many bytes of a digest tell two documents apart.
const TAG_BYTES: usize = 16;

/// What every answer says to a browser: nothing is loaded, framed, guessed, sent along or kept.
const CAREFUL: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// A body and its content type.
pub(super) fn body(status: StatusCode, content_type: &'static str, text: String) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Plain text, one line.
pub(super) fn text(status: StatusCode, line: &str) -> Response {
    body(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// JSON, with the tag of its content.
pub(super) fn json(document: &impl Serialize) -> Response {
    let text = match serde_json::to_string(document) {
        Ok(text) => text,
        Err(error) => return broken(&error),
    };
    let tag = format!("\"{}\"", hex(&Sha256::digest(&text)[..TAG_BYTES]));
    let mut response = body(StatusCode::OK, "application/json", text);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The same answer, or 304 in its place where the client has it already.
///
/// RFC 9110, 13.1.2: tags are compared weakly, and `*` is whatever there is.
pub(super) fn unless_known(request: &HeaderMap, response: Response) -> Response {
    let Some(tag) = response.headers().get(header::ETAG).cloned() else { return response };
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let is_known =
        known.flat_map(|value| value.split(',')).map(bare).any(|known| known == "*" || tag == known.as_bytes());
    if !is_known {
        return response;
    }
    let mut unchanged = Response::new(String::new().into());
    *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
    unchanged.headers_mut().insert(header::ETAG, tag);
    unchanged
}

/// What is wrong with a request, as RFC 9457 has it. `reason` is one word of a closed list.
pub(super) fn problem(status: StatusCode, reason: &str, detail: String) -> Response {
    let document = ProblemDocument {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        status: status.as_u16(),
        detail,
        reason: reason.to_owned(),
    };
    match serde_json::to_string(&document) {
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
fn broken(error: &dyn std::error::Error) -> Response {
    tracing::error!(error = crate::error::chain(error), "cannot make an answer");
    text(StatusCode::INTERNAL_SERVER_ERROR, "this is a defect of exitpool; its log says more")
}

/// Puts the headers of a careful site on an answer.
pub(super) fn careful(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in CAREFUL {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if headers.contains_key(header::ETAG) {
        // It may be kept by whoever asked, and is asked for again each time.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, page::content_security_policy());
    response
}
