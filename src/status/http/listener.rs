//! Where connections come from: TCP, with TLS or without, or a socket in the file system.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Peer;

/// Where the page listens.
#[derive(Debug)]
pub enum Listener {
    /// At an address.
    Tcp(TcpListener),
    /// At a path, for a proxy on this host.
    Unix(UnixListener),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// How a request has come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Over {
    /// In the clear.
    #[default]
    Plain,
    /// By TLS.
    Tls,
    /// By a socket in the file system, from root or the daemon's own user.
    OwnSocket,
    /// By such a socket, from another user whom its mode lets in: a proxy, which says for whom it asks.
    Socket,
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, from)| Accepted::Tcp(stream, from)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

impl Accepted {
    /// Who is at the other end. A socket in the file system has no address: this host's own stands for it.
    pub(super) fn peer(&self) -> Peer {
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        match self {
            Self::Tcp(stream, from) => {
                let address = from.ip().to_canonical();
                let reached = stream.local_addr().map_or(address, |local| local.ip().to_canonical());
                Peer { address, connected: address, reached }
            }
            Self::Unix(_) => Peer { address: own, connected: own, reached: own },
        }
    }

    /// How requests come in, where no TLS is spoken.
    pub(super) fn over(&self) -> Over {
        match self {
            Self::Tcp(..) => Over::Plain,
            Self::Unix(stream) => {
                let own = rustix::process::getuid().as_raw();
                let is_ours = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own);
                if is_ours { Over::OwnSocket } else { Over::Socket }
            }
        }
    }
}
