//! The JSON documents, each made once for a published status, however often it is asked for.

use std::sync::{Arc, LazyLock};

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::Serialize;
use warp::reply::Response;

use super::content::Content;
use super::kept::Kept;
use super::reply;
use super::routes::Asked;
use crate::status::Status;
use crate::status::metrics::Endpoint;
use crate::status::wire::query::{self, DriftQuery, EventsQuery, Misuse, NodesQuery};
use crate::status::wire::{DriftDocument, EventsDocument, NodesDocument, StatusDocument, openapi};

/// A longer query is answered, and its answer not kept.
const LONGEST_KEPT: usize = 256;

/// The description of all routes: the same for every request.
static OPENAPI: LazyLock<Option<Arc<Content>>> = LazyLock::new(|| content(&openapi()).map(Arc::new).ok());

/// The documents that were made from the status that was published last.
#[derive(Debug, Default)]
pub(super) struct Documents(Kept<Key, Arc<Content>>);

/// What makes two documents of one status different.
type Key = (Endpoint, String);

/// Why a document cannot be had.
enum Refused {
    Misused(Vec<Misuse>),
    Broken(serde_json::Error),
}

impl Documents {
    /// Answers with the document of a route, as the query asks for it.
    pub(super) fn answer(&self, asked: &Asked, status: &Arc<Status>) -> Response {
        // What is said of the client is a part of the status document.
        let client = if asked.endpoint == Endpoint::Status { asked.peer.address.to_string() } else { String::new() };
        let key = (asked.endpoint, format!("{client}?{}", asked.query));
        let make = || make(asked, status);
        let made = if asked.query.len() <= LONGEST_KEPT { self.0.find(status, key, |_| make()) } else { make() };
        match made {
            Ok(content) => varying(asked.endpoint, content.response(StatusCode::OK)),
            Err(Refused::Misused(misuses)) => reply::misused(&misuses),
            Err(Refused::Broken(error)) => reply::broken(&error),
        }
    }
}

fn make(asked: &Asked, status: &Status) -> Result<Arc<Content>, Refused> {
    let query = asked.query.as_str();
    match asked.endpoint {
        Endpoint::Nodes => {
            let document = NodesDocument::of(status, &NodesQuery::parse(query)?);
            Ok(Arc::new(content(&document)?.before(document.next.as_deref())))
        }
        Endpoint::Events => {
            let document = EventsDocument::of(status, &EventsQuery::parse(query)?);
            Ok(Arc::new(content(&document)?.before(document.next.as_deref())))
        }
        Endpoint::Drift => Ok(Arc::new(content(&DriftDocument::of(status, &DriftQuery::parse(query)?))?)),
        endpoint => {
            query::nothing(query, endpoint)?;
            match (endpoint, &*OPENAPI) {
                (Endpoint::Openapi, Some(content)) => Ok(Arc::clone(content)),
                (Endpoint::Openapi, None) => Ok(Arc::new(content(&openapi())?)),
                _ => Ok(Arc::new(content(&StatusDocument::of(status, Some(asked.peer.address)))?)),
            }
        }
    }
}

fn content(document: &impl Serialize) -> Result<Content, serde_json::Error> {
    serde_json::to_string(document).map(|text| Content::kept("application/json", text))
}

/// Says that there is a stream at the same place, for whoever keeps answers.
fn varying(endpoint: Endpoint, mut response: Response) -> Response {
    if endpoint == Endpoint::Events {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    }
    response
}

impl From<Vec<Misuse>> for Refused {
    fn from(misuses: Vec<Misuse>) -> Self {
        Self::Misused(misuses)
    }
}

impl From<serde_json::Error> for Refused {
    fn from(error: serde_json::Error) -> Self {
        Self::Broken(error)
    }
}
