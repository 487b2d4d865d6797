//! How much of the directory the network's servers hand out, as they count it themselves.
//!
//! A client asks for the directory through a circuit of one hop, which ends, at the server, in a connection that tor counts
//! as those of an exit: `CONN_BW` tells each second, and when it is closed, what it has read from the server's side (see
//! tor's control-spec, 4.1.20). Authorities and guards are no exits, so all of that is directory. What circuits, their
//! handshakes and their padding weigh is not in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use super::Error;

/// The event is off by default, and can be switched on in private networks alone.
const LISTEN: &str = "AUTHENTICATE\r\nSETCONF TestingEnableConnBwEvent=1\r\nSETEVENTS CONN_BW\r\n";
/// Events come once a second.
const SETTLES_AFTER: Duration = Duration::from_millis(2_500);

/// Counts what the directory servers of a network hand out, from its start on.
#[derive(Debug)]
pub struct Served {
    bytes: Arc<AtomicU64>,
    _listening: Vec<AbortOnDropHandle<()>>,
}

impl Served {
    /// Begins to count at the servers with these control sockets.
    pub(super) async fn at(sockets: Vec<PathBuf>) -> Result<Self, Error> {
        let bytes = Arc::new(AtomicU64::new(0));
        let mut listening = Vec::new();
        for socket in sockets {
            let listen = async {
                let mut stream = UnixStream::connect(&socket).await?;
                stream.write_all(LISTEN.as_bytes()).await?;
                std::io::Result::Ok(BufReader::new(stream))
            };
            let lines = listen.await.map_err(Error::file("listen at", &socket))?.lines();
            listening.push(AbortOnDropHandle::new(tokio::spawn(count(lines, Arc::clone(&bytes)))));
        }
        Ok(Self { bytes, _listening: listening })
    }

    /// How many bytes it is so far, once the servers have told all of them.
    pub async fn bytes(&self) -> u64 {
        tokio::time::sleep(SETTLES_AFTER).await;
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Adds up what one server tells, until it ends.
async fn count(mut lines: tokio::io::Lines<BufReader<UnixStream>>, bytes: Arc<AtomicU64>) {
    while let Ok(Some(line)) = lines.next_line().await {
        bytes.fetch_add(handed_out(&line), Ordering::Relaxed);
    }
}

/// The bytes of a directory that an event tells of: `650 CONN_BW ID=7 TYPE=EXIT READ=2048 WRITTEN=312`.
fn handed_out(event: &str) -> u64 {
    let words: Vec<&str> = event.split_ascii_whitespace().collect();
    if !words.starts_with(&["650", "CONN_BW"]) || !words.contains(&"TYPE=EXIT") {
        return 0;
    }
    words.iter().find_map(|word| word.strip_prefix("READ=")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_out_is_read_from_connections_that_end_here() {
        assert_eq!(handed_out("650 CONN_BW ID=7 TYPE=EXIT READ=2048 WRITTEN=312"), 2048);
        assert_eq!(handed_out("650 CONN_BW ID=7 TYPE=OR READ=2048 WRITTEN=312"), 0);
        assert_eq!(handed_out("250 OK"), 0);
        assert_eq!(handed_out(""), 0);
    }
}
