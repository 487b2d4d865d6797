//! One authenticated connection to one control socket.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::UnixStream;
use torut::control::{COOKIE_LENGTH, TorAuthData, TorAuthMethod, UnauthenticatedConn};

use super::framing::{Framing, FramingError, Message};

/// The events that can mean that there is something new to see.
///
/// Not `STREAM`: it comes with every connection of every consumer, and names where it goes.
const EVENTS: &str = "SETEVENTS STATUS_CLIENT CIRC CONF_CHANGED NETWORK_LIVENESS SIGNAL";

/// How much is read at once, at least.
const READ_BYTES: usize = 4 << 10;

/// Where a control socket and its cookie are.
#[derive(Debug, Clone)]
pub struct Address {
    /// The socket.
    pub socket: PathBuf,
    /// The cookie.
    pub cookie: PathBuf,
}

/// Why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket cannot be opened.
    #[error("cannot open {path}: {source}")]
    Connect {
        /// The socket.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The cookie cannot be read.
    #[error("cannot read {path}: {source}")]
    Cookie {
        /// The cookie.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// tor did not let us in.
    #[error("cannot authenticate: {0}")]
    Authenticate(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// tor closed it.
    #[error("tor closed the connection")]
    Closed,
    /// What came is not the control protocol.
    #[error("{0}")]
    Framing(FramingError),
    /// tor did not answer in time.
    #[error("tor did not answer within {0} ms")]
    Deadline(u128),
    /// Nobody serves the connection any more.
    #[error("the connection is no longer served")]
    Gone,
}

impl ConnectionError {
    /// Whether nobody answers at all, as opposed to somebody who answers something else: the socket is gone, or nobody
    /// listens at it, or what listens says nothing.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Deadline(_) => true,
            Self::Connect { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
            }
            _ => false,
        }
    }
}

/// An authenticated connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    framing: Framing,
}

impl Connection {
    /// Opens the socket, authenticates by SAFECOOKIE and asks for events.
    pub async fn open(address: &Address) -> Result<Self, ConnectionError> {
        let path = || address.socket.display().to_string();
        let connected = UnixStream::connect(&address.socket).await;
        let stream = connected.map_err(|source| ConnectionError::Connect { path: path(), source })?;
        let mut buffered = BufStream::new(stream);
        authenticate(&mut buffered, &address.cookie).await?;
        // Nothing comes unasked before SETEVENTS, so the buffer is empty here.
        let mut connection = Self { stream: buffered.into_inner(), framing: Framing::default() };
        connection.send(EVENTS).await?;
        let reply = connection.receive().await?;
        if reply.is_ok() { Ok(connection) } else { Err(ConnectionError::Authenticate(reply.words())) }
    }

    /// Sends one command.
    pub async fn send(&mut self, command: &str) -> Result<(), ConnectionError> {
        let sent = async {
            self.stream.write_all(command.as_bytes()).await?;
            self.stream.write_all(b"\r\n").await
        };
        sent.await.map_err(ConnectionError::Broken)
    }

    /// Waits for the next message. Dropping the future loses nothing: what has come stays in the buffer.
    pub async fn receive(&mut self) -> Result<Message, ConnectionError> {
        loop {
            if let Some(message) = self.framing.next().map_err(ConnectionError::Framing)? {
                return Ok(message);
            }
            self.framing.buffer.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.framing.buffer).await.map_err(ConnectionError::Broken)?;
            if read == 0 {
                return Err(ConnectionError::Closed);
            }
        }
    }
}

/// Proves that we can read the cookie, without showing it.
async fn authenticate(stream: &mut BufStream<UnixStream>, cookie: &Path) -> Result<(), ConnectionError> {
    let failed = |why: &dyn std::fmt::Debug| ConnectionError::Authenticate(format!("{why:?}"));
    let mut unauthenticated = UnauthenticatedConn::new(stream);
    let info = unauthenticated.load_protocol_info().await.map_err(|error| failed(&error))?;
    if !info.auth_methods.contains(&TorAuthMethod::SafeCookie) {
        return Err(ConnectionError::Authenticate("tor does not offer SAFECOOKIE".to_owned()));
    }
    // The cookie is the one of our own directory, whatever path the answer names.
    let read = tokio::fs::read(cookie).await;
    let secret = read.map_err(|source| ConnectionError::Cookie { path: cookie.display().to_string(), source })?;
    if secret.len() != COOKIE_LENGTH {
        return Err(ConnectionError::Authenticate(format!("{} has {} bytes", cookie.display(), secret.len())));
    }
    let data = TorAuthData::SafeCookie(Cow::Owned(secret));
    unauthenticated.authenticate(&data).await.map_err(|error| failed(&error))
}
