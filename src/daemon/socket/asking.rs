//! The other side: a verb asks the daemon of a runtime directory.

use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{FILE, Question, Report, SocketError, Verb};
use crate::observe::Visitor;

/// From where whoever runs this program is logged in by SSH, as sshd says.
pub fn operator() -> Option<Visitor> {
    let variable = |name| std::env::var(name).ok().as_deref().and_then(Visitor::of_ssh);
    variable("SSH_CONNECTION").or_else(|| variable("SSH_CLIENT"))
}

/// Asks the daemon of a runtime directory.
pub async fn ask(runtime_dir: &Path, verb: Verb) -> Result<Report, SocketError> {
    let silent = || SocketError::Silent { path: runtime_dir.join(FILE) };
    let stream = asked(runtime_dir, verb).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await.map_err(|_| silent())?;
    serde_json::from_str(&answer).map_err(|_| silent())
}

/// Asks, and leaves the answer to be read.
pub(super) async fn asked(runtime_dir: &Path, verb: Verb) -> Result<UnixStream, SocketError> {
    let path = runtime_dir.join(FILE);
    let mut stream =
        UnixStream::connect(&path).await.map_err(|source| SocketError::Absent { path: path.clone(), source })?;
    let silent = || SocketError::Silent { path: path.clone() };
    let mut line = serde_json::to_vec(&Question { verb, from: operator() }).map_err(|_| silent())?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(|_| silent())?;
    Ok(stream)
}
