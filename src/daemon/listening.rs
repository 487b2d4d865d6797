//! Where the page listens: at an address, or at a socket in the file system; made here, or handed over by the service
//! manager (`LISTEN_FDS`, as in `sd_listen_fds(3)`).

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{getsockname, sockopt};
use tokio::net::{TcpListener, UnixListener};

use crate::status::http::Listener;
use crate::sys::files;

use super::settings::Listen;

/// Why the page cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address or path cannot be used.
    #[error("cannot listen on {place}: free it, or choose another --listen")]
    Bind {
        /// The address or path.
        place: Listen,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that is no socket stands at the path.
    #[error("{} is there and is no socket: remove it, or choose another --listen", .0.display())]
    Taken(PathBuf),
    /// The service manager's sockets cannot be taken.
    #[error("cannot take the sockets of the service manager: {0}")]
    Inherited(String),
    /// The service manager listens elsewhere.
    #[error(
        "the service manager hands over {found}, and --listen is {place}: say the same in both, since the firewall guard follows --listen"
    )]
    Elsewhere {
        /// Where the daemon should listen.
        place: Listen,
        /// Where the service manager does.
        found: String,
    },
}

/// The page's listener, and the path that goes with it.
pub(super) struct Listening {
    pub(super) listener: Listener,
    /// Removed at the end, where we have made it.
    path: Option<PathBuf>,
}

/// Listens at a place, or takes the service manager's socket for it.
pub(super) async fn listen(place: &Listen, mode: u32) -> Result<Listening, ListenError> {
    let inherited = inherited()?;
    if !inherited.is_empty() {
        let listener = of_the_manager(inherited, place)?;
        return Ok(Listening { listener, path: None });
    }
    let failed = |source| ListenError::Bind { place: place.clone(), source };
    match place {
        Listen::Address(address) => {
            let listener = TcpListener::bind(address).await.map_err(failed)?.into();
            Ok(Listening { listener, path: None })
        }
        Listen::Path(path) => {
            clear(path)?;
            let listener = UnixListener::bind(path).map_err(failed)?;
            // Until here its mode is that of the umask, by which nobody else may write to it.
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
            Ok(Listening { listener: listener.into(), path: Some(path.clone()) })
        }
    }
}

impl Listening {
    /// The listener, and what removes its path when it is dropped.
    pub(super) fn parts(self) -> (Listener, SocketPath) {
        (self.listener, SocketPath(self.path))
    }
}

/// A path that goes when this is dropped.
pub(super) struct SocketPath(Option<PathBuf>);

impl Drop for SocketPath {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = files::remove(path)
        {
            tracing::debug!(%error, path = %path.display(), "the page's socket stays behind");
        }
    }
}

/// Removes a socket that an earlier daemon has left; the lock says that it does not run any more.
fn clear(path: &Path) -> Result<(), ListenError> {
    let failed = |source| ListenError::Bind { place: Listen::Path(path.to_owned()), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(there) if !there.file_type().is_socket() => Err(ListenError::Taken(path.to_owned())),
        Ok(_) if unix::UnixStream::connect(path).is_ok() => Err(failed(ErrorKind::AddrInUse.into())),
        Ok(_) => files::remove(path).map_err(failed),
    }
}

/// The sockets that the service manager hands over, each with its name; no tor inherits one.
fn inherited() -> Result<Vec<(String, OwnedFd)>, ListenError> {
    let sockets = sd_listen_fds::get().map_err(|error| ListenError::Inherited(error.to_string()))?;
    let closed_on_exec = |(name, socket): (Option<String>, sd_listen_fds::OwnedFd)| {
        let socket = socket.into_std();
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(|error| ListenError::Inherited(error.to_string()))?;
        Ok((name.unwrap_or_default(), socket))
    };
    sockets.into_iter().map(closed_on_exec).collect()
}

/// Takes the one socket that there should be.
fn of_the_manager(sockets: Vec<(String, OwnedFd)>, place: &Listen) -> Result<Listener, ListenError> {
    let told: Vec<String> =
        sockets.iter().map(|(name, socket)| format!("{} (`{name}`)", address(socket).unwrap_or_default())).collect();
    let fits = |socket: &OwnedFd| address(socket).is_some_and(|address| address == place.to_string());
    let elsewhere = || ListenError::Elsewhere { place: place.clone(), found: told.join(", ") };
    let mut sockets = sockets.into_iter();
    let (Some((_, socket)), None) = (sockets.next(), sockets.next()) else { return Err(elsewhere()) };
    if !fits(&socket) {
        return Err(elsewhere());
    }
    taken(socket, place).map_err(|error| ListenError::Inherited(error.to_string()))
}

fn taken(socket: OwnedFd, place: &Listen) -> io::Result<Listener> {
    if !sockopt::socket_acceptconn(&socket)? {
        return Err(io::Error::new(ErrorKind::InvalidInput, "nobody can connect to it: ListenStream= makes one"));
    }
    Ok(match place {
        Listen::Address(_) => {
            let listener = std::net::TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?.into()
        }
        Listen::Path(_) => {
            let listener = unix::UnixListener::from(socket);
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)?.into()
        }
    })
}

/// Where a socket listens, written as `--listen` is.
fn address(socket: &OwnedFd) -> Option<String> {
    let name = getsockname(socket).ok()?;
    if let Ok(address) = std::net::SocketAddr::try_from(name.clone()) {
        return Some(address.to_string());
    }
    let path = rustix::net::SocketAddrUnix::try_from(name).ok()?;
    Some(format!("unix:{}", path.path()?.to_str().ok()?))
}
