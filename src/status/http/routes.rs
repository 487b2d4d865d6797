//! The routes: a closed list, each answered from the published status.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method as HttpMethod, StatusCode};
use jiff::Timestamp;
use warp::path::FullPath;
use warp::reply::{Reply as _, Response};
use warp::{Filter, Rejection};

use super::listener::Over;
use super::{Context, Peer, content, door, events, exports, reply, sign_in};
use crate::status::metrics::{Endpoint, Method};
use crate::status::wire::query::EventsQuery;
use crate::status::{Status, page};

/// How often a silent stream says that it is still there, below the usual timeout of a proxy.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a request asks.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) endpoint: Endpoint,
    pub(super) room: Room,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) peer: Peer,
    pub(super) over: Over,
}

/// Whom a path is for, whether there is anything at it or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Readers of the page.
    Page,
    /// Consumers who fetch lists.
    Lists,
}

impl Room {
    fn of(path: &str) -> Self {
        if path.starts_with("/export/") { Self::Lists } else { Self::Page }
    }
}

/// Makes the filter that answers every request.
pub(super) fn routes(
    context: Arc<Context>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .and(warp::ext::optional::<Over>())
        .then(move |method, path: FullPath, query, headers, peer, over: Option<Over>| {
            let (method, endpoint) = (method_of(&method), endpoint_of(path.as_str()));
            let over = over.unwrap_or_default();
            let asked = Asked { method, endpoint, room: Room::of(path.as_str()), query, headers, peer, over };
            counted(Arc::clone(&context), asked)
        })
}

fn method_of(method: &HttpMethod) -> Method {
    match *method {
        HttpMethod::GET => Method::Get,
        HttpMethod::HEAD => Method::Head,
        _ => Method::Other,
    }
}

fn endpoint_of(path: &str) -> Endpoint {
    Endpoint::ALL.into_iter().find(|endpoint| endpoint.label() == path).unwrap_or(Endpoint::Other)
}

/// Answers, and counts the answer.
async fn counted(context: Arc<Context>, mut asked: Asked) -> Response {
    let mut timer = context.shared.metrics.request(asked.method, asked.endpoint);
    let answer = answer(&context, &mut asked).await;
    let response = reply::careful(content::settle(&asked.headers, answer), asked.over);
    timer.answered(response.status().as_u16());
    response
}

async fn answer(context: &Context, asked: &mut Asked) -> Response {
    let status = Arc::clone(&context.shared.status.borrow());
    let refused = match door::refusal(context, asked, &status) {
        Some(refused) => Some(refused),
        None => sign_in::refusal(context, asked, &status).await,
    };
    refused.unwrap_or_else(|| read(context, asked, &status))
}

/// Answers whoever may ask.
fn read(context: &Context, asked: &Asked, status: &Arc<Status>) -> Response {
    if asked.endpoint == Endpoint::Other && asked.room == Room::Lists {
        return exports::no_such_format();
    }
    if asked.endpoint == Endpoint::Other {
        return reply::problem(StatusCode::NOT_FOUND, "not_found", "there is nothing here".to_owned());
    }
    if asked.method == Method::Other {
        return only_reading();
    }
    match asked.endpoint {
        Endpoint::Page => page(context, asked, status),
        Endpoint::Healthz => healthz(status, (context.shared.now)()),
        Endpoint::Readyz => readyz(status),
        Endpoint::Metrics => context.scrape.answer(context, status),
        Endpoint::Export(format) => exports::answer(context, asked, status, format),
        Endpoint::Events if wants_stream(&asked.headers) => stream(context, asked, status),
        _ => context.documents.answer(asked, status),
    }
}

fn only_reading() -> Response {
    let detail = "this can only be read: GET or HEAD. `exitpool` on the host, and commits, change things";
    let mut response = reply::problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail.to_owned());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn page(context: &Context, asked: &Asked, status: &Status) -> Response {
    let wanted = page::Asked::of(&asked.query);
    if !page::has(status, &wanted) {
        let detail = "there is no such pool: the page lists those that there are".to_owned();
        return reply::problem(StatusCode::NOT_FOUND, "not_found", detail);
    }
    let visit = page::Visit { client: asked.peer.address, now: (context.shared.now)(), asked: wanted };
    reply::html(page::render(status, &visit))
}

/// Whether the daemon is alive: it answers, and passes end in time.
fn healthz(status: &Status, now: Timestamp) -> Response {
    match status.pulse(now).hung {
        Some(hung) => reply::text(StatusCode::SERVICE_UNAVAILABLE, &format!("hung: {hung}")),
        None => reply::text(StatusCode::OK, "ok"),
    }
}

/// Whether the first pass over a revision is done.
fn readyz(status: &Status) -> Response {
    match status.ready_since {
        Some(_) => reply::text(StatusCode::OK, "ready"),
        None => reply::text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the first pass is not done"),
    }
}

/// Events as a stream.
fn stream(context: &Context, asked: &Asked, status: &Status) -> Response {
    let query = match EventsQuery::parse_for_a_stream(&asked.query) {
        Ok(query) => query,
        Err(misuses) => return reply::misused(&misuses),
    };
    if asked.method == Method::Head {
        let mut response = Response::default();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        return response;
    }
    let Ok(slot) = Arc::clone(&context.streams).try_acquire_owned() else {
        let detail = "too many streams are open: try again later".to_owned();
        return reply::problem(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
    };
    let stream = events::stream(events::Subscription {
        status: context.shared.status.clone(),
        peer: asked.peer,
        seen: last_event_id(&asked.headers, status),
        query,
        stop: context.stop.clone(),
        slot,
    });
    warp::sse::reply(warp::sse::keep_alive().interval(KEEP_ALIVE).stream(stream)).into_response()
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|accept| {
        accept.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("text/event-stream"))
    })
}

/// The id of the last event that a client has; one that we never sent counts as none.
fn last_event_id(headers: &HeaderMap, status: &Status) -> u64 {
    let sent = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let newest = status.events.back().map_or(0, |event| event.id);
    sent.filter(|id| *id <= newest).unwrap_or(0)
}
