//! The active probe: a request of our own through a node, to see what a consumer would see.
//!
//! # What it does to a node
//!
//! It goes through the node's own SOCKS port, to the name of the URL's host, so that Tor resolves it. Its credentials are
//! new each time, and so is its circuit: it says whether the node can build one *now*, it uses up no circuit of a consumer,
//! and a site that sees both cannot tell that they belong together. What it says of the exit is therefore said of its
//! own circuit.
//!
//! # What counts
//!
//! An answer of 2xx within the timeout. No redirection is followed, so it never leaves for another scheme or host. Of the
//! body a few kilobytes are read, for the address that the site saw.

mod answer;
mod schedule;

use std::net::SocketAddr;
use std::time::Instant;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Uri};

use crate::desired::Probe;
use crate::error::chain;
use crate::health::Answer;
use crate::web::{self, Route, Trust, WebError};
pub use schedule::{Prober, Target};

/// What we call ourselves: nothing that tells this host from others.
const AGENT: &str = "Mozilla/5.0";

/// The user of a probe's credentials; the password is another one each time, and so is the circuit.
const USER: &str = "probe";

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The URL cannot be requested.
    #[error("the URL {0} cannot be requested")]
    Url(String),
    /// There is no answer.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The answer says that something is wrong, or is somewhere else.
    #[error("it was answered {0}, and only 2xx counts")]
    Status(u16),
}

/// Requests a URL through a SOCKS port; `password` is one that was not used before.
pub async fn ask(socks: SocketAddr, probe: &Probe, password: &str) -> Result<Answer, String> {
    let begun = Instant::now();
    let asked = tokio::time::timeout(probe.timeout, request(socks, &probe.url, password)).await;
    let body = match asked {
        Ok(Ok(body)) => body,
        Ok(Err(failure)) => return Err(chain(&failure)),
        Err(_) => return Err(format!("no answer within {} s (health.probe.timeout)", probe.timeout.as_secs())),
    };
    let latency_ms = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX).max(1);
    Ok(Answer { latency_ms, address: answer::address(&body) })
}

async fn request(socks: SocketAddr, url: &str, password: &str) -> Result<Bytes, Failure> {
    let refused = || Failure::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| refused())?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(&uri)
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Full::default())
        .map_err(|_| refused())?;
    let route = Route::Node { socks, user: USER, password: password.to_owned() };
    let answer = web::ask(&route, &Trust::public(), request).await?;
    if answer.status.is_success() { Ok(answer.body) } else { Err(Failure::Status(answer.status.as_u16())) }
}

#[cfg(test)]
mod tests;
