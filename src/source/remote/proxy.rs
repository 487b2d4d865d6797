//! A SOCKS5 proxy on the way to a remote that is reached over SSH: what `ALL_PROXY` names, and the way through it.
//!
//! ssh speaks no SOCKS. It runs this program as its `ProxyCommand`, which reads the same variable: a password in it is on
//! no command line. HTTPS needs none of this, since git's own transport knows proxies.

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};
use tokio_socks::tcp::Socks5Stream;

/// The variables that name a proxy; the first that is set counts.
pub(super) const VARIABLES: [&str; 2] = ["ALL_PROXY", "all_proxy"];

/// A SOCKS5 proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Socks {
    /// Its host and port.
    address: String,
    /// The user and the password that it is told, where there are any; to tor they tell streams apart.
    credentials: Option<(String, String)>,
    names: Names,
}

/// Who resolves the names of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// This host: `socks5://`.
    Here,
    /// The proxy: `socks5h://`.
    There,
}

/// Why there is no way through a proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No proxy is named.
    #[error("no proxy is named: ALL_PROXY is not set")]
    None,
    /// What is named is nothing that SSH can go through.
    #[error("ALL_PROXY is no `socks5h://[user:password@]host:port`, which is all that SSH can go through")]
    NotSocks,
    /// The name is not known here.
    #[error("cannot resolve {host} here; with `socks5h://` the proxy does it")]
    Resolve {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The proxy does not lead there.
    #[error("the proxy {proxy} does not lead to {host}:{port}")]
    Refused {
        /// The proxy.
        proxy: String,
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: tokio_socks::Error,
    },
}

/// The proxy that the environment names, as it is named.
pub(super) fn named() -> Option<OsString> {
    VARIABLES.iter().find_map(env::var_os).filter(|proxy| !proxy.is_empty())
}

impl Socks {
    /// Reads the environment.
    pub fn of_this_environment() -> Result<Self, ProxyError> {
        let named = named().ok_or(ProxyError::None)?;
        named.to_str().and_then(Self::parse).ok_or(ProxyError::NotSocks)
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let names = match scheme.to_ascii_lowercase().as_str() {
            "socks5" => Names::Here,
            "socks5h" => Names::There,
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let (host, port) = address.rsplit_once(':')?;
        port.parse::<u16>().ok().filter(|_| !host.is_empty())?;
        let pair = |text: &str| {
            let (user, password) = text.split_once(':').unwrap_or((text, ""));
            (user.to_owned(), password.to_owned())
        };
        Some(Self { address: address.to_owned(), credentials: credentials.map(pair), names })
    }

    /// Connects to a port of a host through the proxy.
    pub async fn connect(&self, host: &str, port: u16) -> Result<Socks5Stream<TcpStream>, ProxyError> {
        let target = match self.names {
            Names::There => (host.to_owned(), port),
            Names::Here => (resolved(host, port).await?.ip().to_string(), port),
        };
        let proxy = self.address.as_str();
        let connected = match &self.credentials {
            Some((user, password)) => Socks5Stream::connect_with_password(proxy, target, user, password).await,
            None => Socks5Stream::connect(proxy, target).await,
        };
        let (proxy, host) = (self.address.clone(), host.to_owned());
        connected.map_err(|source| ProxyError::Refused { proxy, host, port, source })
    }
}

async fn resolved(host: &str, port: u16) -> Result<SocketAddr, ProxyError> {
    let failed = |source| ProxyError::Resolve { host: host.to_owned(), source };
    let unknown = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let mut found = lookup_host((host, port)).await.map_err(failed)?;
    found.next().ok_or_else(|| failed(unknown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_socks_with_a_port_is_a_proxy_for_ssh() {
        let plain = |names, address: &str| Some(Socks { address: address.to_owned(), credentials: None, names });
        assert!(Socks::parse("socks5h://127.0.0.1:30000/") == plain(Names::There, "127.0.0.1:30000"));
        assert!(Socks::parse("SOCKS5://[::1]:9050") == plain(Names::Here, "[::1]:9050"));
        let credentials = Socks::parse("socks5h://ada:p@ss:word@proxy:1080").unwrap().credentials;
        assert_eq!(credentials, Some(("ada".to_owned(), "p@ss:word".to_owned())));
        for no in
            ["", "127.0.0.1:9050", "http://proxy:3128", "socks4://proxy:1080", "socks5h://proxy", "socks5h://:1080"]
        {
            assert!(Socks::parse(no).is_none(), "{no}");
        }
    }
}
