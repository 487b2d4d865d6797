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

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_socks::TargetAddr;
use tokio_socks::tcp::Socks5Stream;

use crate::desired::Probe;
use crate::error::chain;
use crate::health::Answer;
pub use schedule::{Prober, Target};

/// The most of an answer that is read.
const MOST_BYTES: usize = 64 << 10;

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
    /// The node does not take the connection, or Tor does not make it.
    #[error("no connection through the node")]
    Connect(#[source] tokio_socks::Error),
    /// The SOCKS port cannot be reached.
    #[error("cannot open its SOCKS port")]
    Socks(#[source] std::io::Error),
    /// The site does not prove who it is.
    #[error("no TLS with {host}")]
    Tls {
        /// The site.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no answer that is one.
    #[error("no answer")]
    Http(#[source] hyper::Error),
    /// The answer's body cannot be read, or is too long.
    #[error("the answer cannot be read, or is longer than {MOST_BYTES} bytes")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    let host = uri.host().ok_or_else(refused)?.trim_matches(['[', ']']).to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });

    let socks = TcpStream::connect(reachable(socks)).await.map_err(Failure::Socks)?;
    // The name goes along as it is: Tor resolves it. An address goes along as a name too, since tor warns of those that do
    // not; only one of IPv6 it would not take for one.
    let target = match host.parse::<Ipv6Addr>() {
        Ok(address) => TargetAddr::Ip(SocketAddr::new(address.into(), port)),
        Err(_) => TargetAddr::Domain(Cow::Borrowed(&host), port),
    };
    let stream = Socks5Stream::connect_with_password_and_socket(socks, target, USER, password).await;
    let stream = stream.map_err(Failure::Connect)?;
    let response = if is_tls {
        let failed = |source| Failure::Tls { host: host.clone(), source };
        let name = ServerName::try_from(host.clone()).map_err(|_| refused())?;
        exchange(TLS.connect(name, stream).await.map_err(failed)?, &uri).await?
    } else {
        exchange(stream, &uri).await?
    };
    let status = response.status();
    if !status.is_success() {
        return Err(Failure::Status(status.as_u16()));
    }
    Ok(Limited::new(response.into_body(), MOST_BYTES).collect().await.map_err(Failure::Body)?.to_bytes())
}

/// Where a node is reached from this host itself.
fn reachable(socks: SocketAddr) -> SocketAddr {
    let ip = match socks.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, socks.port())
}

/// Sends the request and waits for the head of its answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
) -> Result<Response<Incoming>, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Http)?;
    // It ends with the sender and the answer's body; what goes wrong is told there.
    tokio::spawn(connection);
    let refused = |_| Failure::Url(uri.to_string());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(refused)?;
    sender.send_request(request).await.map_err(Failure::Http)
}

static TLS: LazyLock<TlsConnector> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
});

#[cfg(test)]
mod tests;
