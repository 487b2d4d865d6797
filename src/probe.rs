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
use tokio_rustls::rustls::{self, CertificateError};

use crate::desired::Probe;
use crate::error::chain;
use crate::health::{Answer, Failed, Suspect};
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
    /// There is none in time.
    #[error("no answer within {0} s (health.probe.timeout)")]
    Late(u64),
    /// The answer says that something is wrong, or is somewhere else.
    #[error("it was answered {0}, and only 2xx counts")]
    Status(u16),
}

/// What helps where a site's certificate is signed by nobody who is believed.
const OWN_AUTHORITY: &str = "; where its authority is your own, name that with health.probe.ca_file";

impl Failure {
    /// Where the cause may be.
    fn suspect(&self) -> Suspect {
        match self {
            Self::Url(_) | Self::Web(WebError::Url | WebError::Trust { .. }) => Suspect::Host,
            Self::Status(_) => Suspect::Site,
            Self::Web(error) if error.of_tls().is_some() => Suspect::Site,
            Self::Web(_) | Self::Late(_) => Suspect::Node,
        }
    }

    fn advice(&self) -> &'static str {
        let Self::Web(error) = self else { return "" };
        match error.of_tls() {
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => OWN_AUTHORITY,
            _ => "",
        }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { why: chain(&failure) + failure.advice(), suspect: failure.suspect() }
    }
}

/// Requests a URL through a SOCKS port; `password` is one that was not used before.
pub async fn ask(socks: SocketAddr, probe: &Probe, password: &str) -> Result<Answer, Failed> {
    let begun = Instant::now();
    let asked = tokio::time::timeout(probe.timeout, request(socks, probe, password)).await;
    let body = asked.map_err(|_| Failure::Late(probe.timeout.as_secs()))??;
    let latency_ms = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX).max(1);
    Ok(Answer { latency_ms, address: answer::address(&body) })
}

async fn request(socks: SocketAddr, probe: &Probe, password: &str) -> Result<Bytes, Failure> {
    // Read each time: a file that was renewed counts from the next probe on.
    let trust = probe.ca_file.as_deref().map_or_else(|| Ok(Trust::public()), Trust::of_file)?;
    let refused = || Failure::Url(probe.url.clone());
    let uri: Uri = probe.url.parse().map_err(|_| refused())?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(&uri)
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Full::default())
        .map_err(|_| refused())?;
    let route = Route::Node { socks, user: USER, password: password.to_owned() };
    let answer = web::ask(&route, &trust, request).await?;
    if answer.status.is_success() { Ok(answer.body) } else { Err(Failure::Status(answer.status.as_u16())) }
}

#[cfg(test)]
mod tests;
