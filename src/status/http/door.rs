//! The door: who is let in, before any route answers.
//!
//! In this order: whose request it is, behind proxies or not; whether they are locked out; whether they ask too often;
//! whether their address may ask for this. This host itself is never kept from the page by what others have done in its
//! name: for it, limits count where a token is shown, and nowhere else.

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use warp::reply::Response;

use super::routes::{Asked, Room};
use super::{Context, Peer, access, exports, reply};
use crate::export::Attempt;
use crate::export::address::caller;
use crate::observe::{Door, Visitor};
use crate::status::Status;

/// Lets a request in, whose peer is the client from then on, or says why not.
pub(super) fn refusal(context: &Context, asked: &mut Asked, status: &Status) -> Option<Response> {
    match access::client(status, &asked.peer, &asked.headers) {
        Ok(address) => asked.peer.address = address,
        Err(error) => return Some(reply::problem(StatusCode::BAD_REQUEST, "forwarding", error.to_string())),
    }
    let refused = too_often(context, asked, status).or_else(|| not_from_there(status, asked));
    if refused.is_none() {
        remember(context, asked, status);
    }
    refused
}

/// Refuses whoever is locked out, or asks more often than `access.rate_limit` says.
fn too_often(context: &Context, asked: &Asked, status: &Status) -> Option<Response> {
    let is_page = asked.room == Room::Page;
    if is_page && access::is_this_host(status, &asked.peer) {
        return None;
    }
    let (gate, caller, now) = (&context.shared.gate, caller(asked.peer.address), context.now());
    // Whoever asks for a list is told so where the token would be looked at, and is counted there.
    if is_page && let Err(wait) = gate.is_open_to(caller, now) {
        let detail = "this address is locked out: too many tokens or passwords from it were refused";
        return Some(reply::too_many(wait, detail.to_owned()));
    }
    let asked = gate.ask(status.access.rate_limit.as_ref(), caller, now);
    let detail = || "too many requests came from this address within a minute".to_owned();
    asked.err().map(|wait| reply::too_many(wait, detail()))
}

/// The refusal of a peer that may not ask for this.
fn not_from_there(status: &Status, asked: &Asked) -> Option<Response> {
    if access::allows(status, &asked.peer) {
        return None;
    }
    match asked.room {
        Room::Lists if access::allows_exports(status, &asked.peer) => None,
        Room::Lists => Some(exports::refused(&asked.peer)),
        Room::Page => Some(refused(&asked.peer)),
    }
}

/// Says to whom it refuses, so that they know what to ask their operator for.
fn refused(peer: &Peer) -> Response {
    let detail = format!("{} may not see this: access.panel does not have it", peer.address);
    let mut response = reply::problem(StatusCode::FORBIDDEN, Attempt::WrongAddress.label(), detail);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Remembers who reads the page from outside, as the guard knows them: who is behind a proxy comes in with it.
fn remember(context: &Context, asked: &Asked, status: &Status) {
    let connection = Peer { address: asked.peer.connected, ..asked.peer };
    if access::allows(status, &asked.peer) && !access::is_this_host(status, &connection) {
        let visitor = Visitor { address: connection.address, door: Door::Panel };
        context.shared.visitors.saw(visitor, (context.shared.now)());
    }
}
