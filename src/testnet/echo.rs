//! The echo server inside the private network: it tells a client the address it is seen with.
//!
//! It runs as a process of its own, started inside the pool's namespace through a hidden verb of the program, because a
//! task would listen in the namespace of the process it belongs to.
//!
//! - `GET /` answers `{"ip": "<peer address>"}`.
//! - `GET /slow?bytes=N&seconds=S` sends N bytes evenly over S seconds: a download that is still going on.

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};
use warp::http::header::CONTENT_LENGTH;
use warp::{Filter, Rejection, Reply};

/// How often a slow answer sends a piece.
const PIECE_EVERY: Duration = Duration::from_millis(50);
/// The most bytes that a slow answer has: more is a mistake.
const MOST_BYTES: u64 = 1 << 30;
/// The most seconds that a slow answer takes.
const MOST_SECONDS: u64 = 3600;

/// What is asked of `/slow`.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Slow {
    /// How many bytes in all.
    bytes: u64,
    /// How many seconds they take.
    seconds: u64,
}

/// Listens, says where on stdout in one line, and serves until stdin ends: so it never outlives who started it.
pub async fn serve(listen: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    writeln!(io::stdout(), "{address}")?;
    tokio::select! {
        () = answer(listener) => Ok(()),
        ended = tokio::task::spawn_blocking(wait_for_end_of_stdin) => ended.map_err(io::Error::other)?,
    }
}

/// Reads stdin to its end.
fn wait_for_end_of_stdin() -> io::Result<()> {
    let mut ignored = [0; 64];
    while io::stdin().read(&mut ignored)? > 0 {}
    Ok(())
}

/// Answers whoever connects, for ever.
async fn answer(listener: TcpListener) {
    warp::serve(routes()).incoming(listener).run().await;
}

/// The routes of the server.
fn routes() -> impl Filter<Extract = impl Reply, Error = Rejection> + Clone {
    let seen = warp::path::end().and(warp::addr::remote()).map(seen);
    let slow = warp::path!("slow").and(warp::query()).map(slow);
    warp::get().and(seen.or(slow))
}

/// Answers with the peer's address.
fn seen(peer: Option<SocketAddr>) -> impl Reply {
    warp::reply::json(&serde_json::json!({ "ip": peer.map(|peer| peer.ip()) }))
}

/// Answers slowly.
fn slow(mut asked: Slow) -> impl Reply {
    asked.bytes = asked.bytes.min(MOST_BYTES);
    asked.seconds = asked.seconds.min(MOST_SECONDS);
    warp::reply::with_header(warp::reply::stream(pieces(asked)), CONTENT_LENGTH, asked.bytes)
}

/// Cuts the answer into pieces, each with the time at which it is due.
fn pieces(asked: Slow) -> impl Stream<Item = Result<Vec<u8>, Infallible>> {
    let start = Instant::now();
    let total = (Duration::from_secs(asked.seconds).as_millis() / PIECE_EVERY.as_millis()).max(1);
    stream::unfold(1, move |piece| async move {
        if piece > total {
            return None;
        }
        sleep_until(start + PIECE_EVERY * u32::try_from(piece).unwrap_or(u32::MAX)).await;
        let sent_by = |piece: u128| u128::from(asked.bytes) * piece / total;
        let length = usize::try_from(sent_by(piece) - sent_by(piece - 1)).unwrap_or_default();
        Some((Ok(vec![b'.'; length]), piece + 1))
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(answer(listener));
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(format!("{request} HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    #[tokio::test]
    async fn a_client_learns_its_own_address() {
        let answer = ask("GET /").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with(r#"{"ip":"127.0.0.1"}"#), "{answer}");
    }

    #[tokio::test]
    async fn a_slow_answer_has_the_size_that_it_announces() {
        for bytes in [0, 7, 100_000] {
            let answer = ask(&format!("GET /slow?bytes={bytes}&seconds=0")).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.to_lowercase().contains(&format!("content-length: {bytes}\r\n")), "{head}");
            assert_eq!(body.len(), bytes);
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        assert!(ask("GET /slow").await.starts_with("HTTP/1.1 400 "));
        assert!(ask("GET /elsewhere").await.starts_with("HTTP/1.1 404 "));
    }
}
