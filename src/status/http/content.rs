//! The body of an answer: its bytes, plain and compressed, with the tag of each.
//!
//! What is made once for a published status is compressed once as well, however often it is asked for. Which of the two a
//! client gets, and whether it has that already, is settled in one place for every answer.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use warp::reply::Response;

use crate::desired::names::hex;

/// So many bytes of a digest tell two documents apart.
const TAG_BYTES: usize = 16;
/// What is shorter fits into one packet either way.
const LEAST_BYTES: usize = 1024;
/// Below this share of the plain bytes, in percent, it is worth sending the others.
const WORTH_PERCENT: usize = 90;

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Content {
    kind: &'static str,
    plain: Bytes,
    packed: OnceLock<Option<Bytes>>,
    effort: Compression,
    /// What tells it from other contents; `None` where it may not be kept.
    tag: Option<String>,
    /// Where the rest is.
    next: Option<HeaderValue>,
}

impl Content {
    /// A body that is sent once.
    pub(super) fn once(kind: &'static str, text: impl Into<Bytes>) -> Self {
        let (packed, effort) = (OnceLock::new(), Compression::fast());
        Self { kind, plain: text.into(), packed, effort, tag: None, next: None }
    }

    /// A body that is sent many times, and that clients may keep.
    pub(super) fn kept(kind: &'static str, text: impl Into<Bytes>) -> Self {
        let plain = text.into();
        let tag = Some(hex(&Sha256::digest(&plain)[..TAG_BYTES]));
        Self { tag, effort: Compression::default(), ..Self::once(kind, plain) }
    }

    /// The same, with the path of what comes behind it.
    pub(super) fn before(self, next: Option<&str>) -> Self {
        let next = next.and_then(|next| HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")).ok());
        Self { next, ..self }
    }

    /// An answer that has this body.
    pub(super) fn response(self: &Arc<Self>, status: StatusCode) -> Response {
        let mut response = Response::default();
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        if let Some(next) = &self.next {
            response.headers_mut().insert(header::LINK, next.clone());
        }
        response.extensions_mut().insert(Arc::clone(self));
        response
    }

    /// The compressed bytes, where they are worth sending.
    fn packed(&self) -> Option<&Bytes> {
        let pack = || {
            if self.plain.len() < LEAST_BYTES {
                return None;
            }
            let mut encoder = GzEncoder::new(Vec::new(), self.effort);
            encoder.write_all(&self.plain).ok()?;
            let packed = encoder.finish().ok()?;
            (packed.len() * 100 < self.plain.len() * WORTH_PERCENT).then(|| Bytes::from(packed))
        };
        self.packed.get_or_init(pack).as_ref()
    }

    /// The tag of the bytes that are sent: the compressed ones are others, and have another one.
    fn tag(&self, is_packed: bool) -> Option<HeaderValue> {
        let tag = self.tag.as_ref()?;
        let tag = if is_packed { format!("\"{tag}-gzip\"") } else { format!("\"{tag}\"") };
        HeaderValue::from_str(&tag).ok()
    }
}

/// Gives an answer its body as the client takes it, or 304 in its place where the client has it already.
///
/// An answer that has no content of ours is left as it is.
pub(super) fn settle(request: &HeaderMap, mut response: Response) -> Response {
    let Some(content) = response.extensions_mut().remove::<Arc<Content>>() else { return response };
    let packed = content.packed_for(request);
    let tag = content.tag(packed.is_some()).filter(|_| response.status() == StatusCode::OK);
    let headers = response.headers_mut();
    let vary = headers.get(header::VARY).and_then(|vary| vary.to_str().ok());
    let vary = if vary.is_some() { "accept, accept-encoding" } else { "accept-encoding" };
    headers.insert(header::VARY, HeaderValue::from_static(vary));
    if let Some(tag) = &tag {
        headers.insert(header::ETAG, tag.clone());
    }
    if tag.is_some_and(|tag| is_known(request, &tag)) {
        headers.remove(header::CONTENT_TYPE);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    if packed.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    *response.body_mut() = packed.unwrap_or_else(|| content.plain.clone()).into();
    response
}

impl Content {
    fn packed_for(&self, request: &HeaderMap) -> Option<Bytes> {
        if takes_gzip(request) { self.packed().cloned() } else { None }
    }
}

/// RFC 9110, 13.1.2: tags are compared weakly, and `*` is whatever there is.
fn is_known(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.flat_map(|value| value.split(',')).map(bare).any(|known| known == "*" || *tag == *known)
}

/// Whether a client wants gzip at least as much as plain bytes.
///
/// RFC 9110, 12.5.3: a coding that is not named has the weight of `*`. Plain bytes are always taken where nothing is said
/// of them, and are sent as well where a client takes nothing at all.
fn takes_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<(&str, f32)> = values.flat_map(|value| value.split(',')).map(coding).collect();
    let weight = |names: &[&str]| {
        codings.iter().find(|(name, _)| names.iter().any(|it| name.eq_ignore_ascii_case(it))).map(|(_, weight)| *weight)
    };
    let others = weight(&["*"]);
    let gzip = weight(&["gzip", "x-gzip"]).or(others).unwrap_or(0.0);
    gzip > 0.0 && gzip >= weight(&["identity"]).unwrap_or(0.0)
}

/// A coding with its weight; a weight that nobody understands is none.
fn coding(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let weight = weight.map_or(1.0, |weight| weight.parse().ok().filter(|it| (0.0..=1.0).contains(it)).unwrap_or(0.0));
    (name, weight)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn request(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn gzip_is_sent_to_whoever_wants_it_at_least_as_much() {
        let table = [
            ("gzip", true),
            ("GZIP", true),
            ("x-gzip", true),
            ("br, gzip;q=0.5", true),
            ("*", true),
            ("gzip;q=1, identity;q=0.5", true),
            ("identity;q=0, gzip;q=0.001", true),
            ("gzip; q=0.8 , deflate", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip;q=0.0, *;q=1", false),
            ("*;q=0", false),
            ("gzip;q=0.2, identity;q=0.9", false),
            ("br, deflate, zstd", false),
            ("gzip;q=two", false),
            ("gzip;q=-1", false),
            ("gzip;q=NaN", false),
        ];
        for (accepts, takes) in table {
            assert_eq!(takes_gzip(&request(&[(header::ACCEPT_ENCODING, accepts)])), takes, "{accepts}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn what_is_packed_is_the_same_and_has_a_tag_of_its_own() {
        let text = "eu-0 serves\n".repeat(500);
        let content = Arc::new(Content::kept("text/plain", text.clone()));
        let mut read = String::new();
        GzDecoder::new(&content.packed().unwrap()[..]).read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
        let gzip = request(&[(header::ACCEPT_ENCODING, "gzip")]);
        let (packed, plain) = (
            settle(&gzip, content.response(StatusCode::OK)),
            settle(&HeaderMap::new(), content.response(StatusCode::OK)),
        );
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_ne!(packed.headers()[header::ETAG], plain.headers()[header::ETAG]);
        for response in [packed, plain] {
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
        }
    }

    #[test]
    fn a_tag_stands_for_the_bytes_that_would_be_sent() {
        let content = Arc::new(Content::kept("text/plain", "eu-0 serves\n".repeat(500)));
        let plain = content.tag(false).unwrap().to_str().unwrap().to_owned();
        let ask = |accepts: &str| {
            let request = request(&[(header::IF_NONE_MATCH, &plain), (header::ACCEPT_ENCODING, accepts)]);
            settle(&request, content.response(StatusCode::OK)).status().as_u16()
        };
        assert_eq!((ask("identity"), ask("gzip")), (304, 200));
    }

    #[test]
    fn what_is_short_or_does_not_shrink_is_sent_as_it_is() {
        let gzip = request(&[(header::ACCEPT_ENCODING, "gzip")]);
        let noise: Vec<u8> = (0..200_u32).flat_map(|number| Sha256::digest(number.to_be_bytes()).to_vec()).collect();
        for content in [Content::once("text/plain", "ready"), Content::once("text/plain", noise)] {
            let response = settle(&gzip, Arc::new(content).response(StatusCode::OK));
            assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
        }
    }

    #[test]
    fn a_refusal_has_no_tag() {
        let content = Arc::new(Content::kept("text/plain", "no"));
        let any = request(&[(header::IF_NONE_MATCH, "*")]);
        let response = settle(&any, content.response(StatusCode::BAD_REQUEST));
        assert_eq!(response.status(), 400);
        assert!(!response.headers().contains_key(header::ETAG));
    }
}
