//! Requests of our own: a connection made directly or through a node's SOCKS port, TLS in it, one HTTP request over it.
//!
//! Nothing here has a deadline: whoever asks sets one over the whole of it. No redirection is followed, so a request
//! never leaves for another scheme or host, and of an answer a few kilobytes are read.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_socks::TargetAddr;
use tokio_socks::tcp::Socks5Stream;

/// The most of an answer that is read.
pub const MOST_BYTES: usize = 64 << 10;

/// Why a request failed. No message has the path of a URL, which may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The URL cannot be requested.
    #[error("the URL cannot be requested")]
    Url,
    /// The node does not take the connection, or Tor does not make it.
    #[error("no connection through the node")]
    Connect(#[source] tokio_socks::Error),
    /// The SOCKS port cannot be reached.
    #[error("cannot open its SOCKS port")]
    Socks(#[source] std::io::Error),
    /// The host cannot be reached directly.
    #[error("cannot reach {host}")]
    Direct {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The host does not prove who it is.
    #[error("no TLS with {host}")]
    Tls {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file of trusted certificates cannot be used.
    #[error("cannot read certificates from {}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no answer that is one.
    #[error("no answer")]
    Http(#[source] hyper::Error),
    /// The answer's body cannot be read, or is too long.
    #[error("the answer cannot be read, or is longer than {MOST_BYTES} bytes")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl WebError {
    /// What is wrong with the TLS that the host speaks, as its certificate; `None` where the connection ended, or nothing is.
    pub fn of_tls(&self) -> Option<&rustls::Error> {
        match self {
            Self::Tls { source, .. } => source.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

/// How a host is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum Route {
    /// As any program reaches it.
    Direct,
    /// Through a node. The credentials separate its circuit from those of others.
    Node {
        /// The node's SOCKS port.
        socks: SocketAddr,
        /// The user of the credentials.
        user: &'static str,
        /// Their password.
        password: String,
    },
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("Direct"),
            Self::Node { socks, .. } => write!(f, "Node({socks})"),
        }
    }
}

/// Whose certificates are believed.
#[derive(Clone)]
pub struct Trust(TlsConnector);

/// A stream of bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send + Sync> Stream for T {}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: hyper::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Trust {
    /// Believes the certificate authorities that browsers do, whatever this host has installed.
    pub fn public() -> Self {
        PUBLIC.clone()
    }

    /// Believes the certificates of a file in PEM, and no others.
    pub fn of_file(path: &Path) -> Result<Self, WebError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| untrusted(path, error.into()))?;
        }
        Ok(Self::of(roots))
    }

    fn of(roots: RootCertStore) -> Self {
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// Speaks TLS over a stream with a host that proves its name.
    pub async fn secure(&self, host: &str, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, WebError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| WebError::Url)?;
        let failed = |source| WebError::Tls { host: host.to_owned(), source };
        Ok(Box::new(self.0.connect(name, stream).await.map_err(failed)?))
    }
}

/// Reads the certificates of a file in PEM; there has to be one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, WebError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| untrusted(path, error.into()))?;
    if certificates.is_empty() { Err(untrusted(path, "there is none in it".into())) } else { Ok(certificates) }
}

fn untrusted(path: &Path, source: Box<dyn std::error::Error + Send + Sync>) -> WebError {
    WebError::Trust { path: path.to_owned(), source }
}

static PUBLIC: LazyLock<Trust> =
    LazyLock::new(|| Trust::of(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }));

/// Connects to a host. Through a node, the name goes along as it is: Tor resolves it.
pub async fn connect(route: &Route, host: &str, port: u16) -> Result<Box<dyn Stream>, WebError> {
    match route {
        Route::Direct => {
            let failed = |source| WebError::Direct { host: host.to_owned(), source };
            Ok(Box::new(TcpStream::connect((host, port)).await.map_err(failed)?))
        }
        Route::Node { socks, user, password } => {
            let socks = TcpStream::connect(reachable(*socks)).await.map_err(WebError::Socks)?;
            // An address goes along as a name too, since tor warns of those that do not; only one of IPv6 it would not take
            // for one.
            let target = match host.parse::<Ipv6Addr>() {
                Ok(address) => TargetAddr::Ip(SocketAddr::new(address.into(), port)),
                Err(_) => TargetAddr::Domain(Cow::Borrowed(host), port),
            };
            let stream = Socks5Stream::connect_with_password_and_socket(socks, target, user, password).await;
            Ok(Box::new(stream.map_err(WebError::Connect)?))
        }
    }
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

/// Sends a request to the host of its URL, and reads the answer. The request is to name its `Host` itself.
pub async fn ask(route: &Route, trust: &Trust, mut request: Request<Full<Bytes>>) -> Result<Answer, WebError> {
    let url = request.uri().clone();
    let host = url.host().ok_or(WebError::Url)?.trim_matches(['[', ']']);
    let is_tls = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| WebError::Url)?;

    let mut stream = connect(route, host, port).await?;
    if is_tls {
        stream = trust.secure(host, stream).await?;
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(WebError::Http)?;
    // It ends with the sender and the answer's body; what goes wrong is told there.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.map_err(WebError::Http)?.into_parts();
    let body = Limited::new(body, MOST_BYTES).collect().await.map_err(WebError::Body)?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}
