//! TLS of the page: a certificate and its key, read anew when their files change.
//!
//! A change cuts nobody off: a connection keeps what it began with. New files that cannot be used change nothing: what was
//! served before is served on, and the log and `exitpool_tls_certificate_stale` say so.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_util::sync::CancellationToken;
use x509_cert::der::Decode as _;

/// How often the files are looked at; where neither has changed, nothing is read.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files of a certificate and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and behind it those that lead to its root.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What is told of the certificate that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Until when it is valid.
    pub expires: Timestamp,
    /// Why newer files are not served; `None` where what is served is what the files hold.
    pub problem: Option<String>,
}

/// TLS of the page.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    served: Arc<Served>,
    config: Arc<ServerConfig>,
}

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no certificate in the file, or no key.
    #[error("{} has no {what} in PEM", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is not there.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The certificate cannot be understood.
    #[error("the certificate in {} is not understood", path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: x509_cert::der::Error,
    },
    /// The certificate's time is over.
    #[error("the certificate in {} was valid until {expired}", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Until when.
        expired: Timestamp,
    },
    /// The key is another certificate's, or of a kind that is not spoken here.
    #[error("the key in {} does not fit the certificate", path.display())]
    Mismatch {
        /// The file of the key.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// What new connections are served with.
#[derive(Debug)]
struct Served(RwLock<(Arc<CertifiedKey>, Certificate)>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).0))
    }
}

impl Tls {
    /// Reads the files; one that has expired is served all the same, since a daemon that does not start helps nobody.
    pub fn open(files: Files) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let (key, expires) = read(&files, &provider)?;
        let served = Arc::new(Served(RwLock::new((key, Certificate { expires, problem: None }))));
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Mismatch { path: files.key.clone(), source })?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&served) as _;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(Self { files, served, config: Arc::new(config) }))
    }

    /// What is told of the certificate that is served.
    pub fn certificate(&self) -> Certificate {
        self.served.0.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Greets new connections.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Follows the files until `stop`.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = self.files.look();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            let now = self.files.look();
            if now != seen {
                seen = now;
                self.renew();
            }
        }
    }

    /// Takes what the files hold now, where that can be served.
    fn renew(&self) {
        let renewed = read(&self.files, self.config.crypto_provider()).and_then(|(key, expires)| {
            let is_over = expires <= Timestamp::now() && self.certificate().expires > expires;
            let path = self.files.certificate.clone();
            if is_over { Err(TlsError::Expired { path, expired: expires }) } else { Ok((key, expires)) }
        });
        let mut served = self.served.0.write().unwrap_or_else(PoisonError::into_inner);
        match renewed {
            Ok((key, expires)) => {
                tracing::info!(%expires, "the page's certificate is another one from now on");
                *served = (key, Certificate { expires, problem: None });
            }
            Err(error) => {
                let problem = crate::error::chain(&error);
                tracing::warn!(problem, "the page's new certificate cannot be served: the one before is");
                served.1.problem = Some(problem);
            }
        }
    }
}

/// What tells one state of a file from another.
type Look = Option<(i64, i64, u64, u64)>;

impl Files {
    fn look(&self) -> [Look; 2] {
        let marks = |metadata: Metadata| (metadata.mtime(), metadata.mtime_nsec(), metadata.ino(), metadata.len());
        [&self.certificate, &self.key].map(|path| fs::metadata(path).ok().map(marks))
    }
}

fn read(files: &Files, provider: &CryptoProvider) -> Result<(Arc<CertifiedKey>, Timestamp), TlsError> {
    let (certificate, key) = (&files.certificate, &files.key);
    let missing = |path: &Path, what| {
        let path = path.to_owned();
        move |source| TlsError::Missing { path, what, source }
    };
    let text = bytes(certificate)?;
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(missing(certificate, "certificate"))?;
    let Some(first) = chain.first() else { return Err(missing(certificate, "certificate")(pem::Error::NoItemsFound)) };
    let expires = expires(first).map_err(|source| TlsError::Garbled { path: certificate.clone(), source })?;
    let secret = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(missing(key, "private key"))?;
    let certified = CertifiedKey::from_der(chain, secret, provider);
    let certified = certified.map_err(|source| TlsError::Mismatch { path: key.clone(), source })?;
    Ok((Arc::new(certified), expires))
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// Until when a certificate is valid; one that never ends by its own words ends with the last time there is.
pub fn expires(certificate: &CertificateDer<'_>) -> Result<Timestamp, x509_cert::der::Error> {
    let certificate = x509_cert::Certificate::from_der(certificate)?;
    let seconds = certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
    Ok(i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::MAX))
}
