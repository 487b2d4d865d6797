//! How documents are asked for and sent: filters, pages, problems, compression.

use std::io::Read as _;

use flate2::read::GzDecoder;

use super::*;
use crate::export::wire::ProblemDocument;
use crate::status::wire::{DriftDocument, EventsDocument, NodesDocument};

/// An answer whose body may be compressed: its status, its headers, its bytes.
async fn raw(server: &Server, method: &str, path: &str, more: &str) -> (Answer, Vec<u8>) {
    let mut stream = server.connect().await;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = bytes.split_off(end);
    (Answer::parse(&String::from_utf8(bytes).unwrap()), body)
}

fn unpacked(body: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(body).read_to_string(&mut text).unwrap();
    text
}

async fn big() -> Server {
    Server::start(World::healthy(300).status(), TEST_LIMITS).await
}

#[tokio::test]
async fn a_client_follows_the_links_from_page_to_page() {
    let server = big().await;
    let (mut path, mut seen) = ("/api/v1/nodes?pool=eu&limit=70".to_owned(), Vec::new());
    loop {
        let answer = server.ask("GET", &path).await;
        let document: NodesDocument = serde_json::from_str(&answer.body).unwrap();
        seen.extend(document.nodes.into_iter().map(|node| node.name));
        let link = answer.headers.get("link").cloned();
        assert_eq!(link, document.next.as_ref().map(|next| format!("<{next}>; rel=\"next\"")));
        let Some(next) = document.next else { break };
        path = next;
    }
    let expected: Vec<String> = (0..200).map(|index| format!("eu-{index}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn drift_and_events_are_filtered_as_well() {
    let server = Server::healthy().await;
    let drift: DriftDocument =
        serde_json::from_str(&server.ask("GET", "/api/v1/drift?kind=guard,instance").await.body).unwrap();
    assert_eq!(drift.drifted, Some(false));
    let answer = server.ask("GET", "/api/v1/events?kind=source&limit=1").await;
    let events: EventsDocument = serde_json::from_str(&answer.body).unwrap();
    assert!(events.events.iter().all(|event| event.object.kind == "source") && events.events.len() == 1);
    assert_eq!(answer.headers["vary"], "accept, accept-encoding");
}

#[tokio::test]
async fn a_stream_is_filtered_and_begins_behind_an_event() {
    let server = Server::healthy().await;
    let last = server.status.borrow().events.back().unwrap().id;
    let first = server.status.borrow().events.front().unwrap().id;
    for (query, expected) in [("kind=source", first), ("severity=info", first), (&*format!("after={}", last - 1), last)]
    {
        let mut stream = server.connect().await;
        let request = format!(
            "GET /api/v1/events?{query} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\naccept-encoding: gzip\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        line_with(&mut stream, "text/event-stream").await;
        let line = line_with(&mut stream, "id:").await;
        assert_eq!(line.trim(), format!("id:{expected}"), "{query}");
        drop(stream);
        // There is one place for a stream, and the server has to notice that it is free.
        within(async {
            while server.ask_with("GET", "/api/v1/events?limit=0", "accept: text/event-stream\r\n").await.status != 400
            {
            }
        })
        .await;
    }
    let refused = server.ask_with("GET", "/api/v1/events?limit=3", "accept: text/event-stream\r\n").await;
    assert_eq!((refused.status, refused.headers["content-type"].as_str()), (400, "application/problem+json"));
}

#[tokio::test]
async fn what_is_not_understood_is_a_problem_that_says_what_is_allowed() {
    let server = Server::healthy().await;
    for (path, parameter, allowed) in [
        ("/api/v1/nodes?pol=eu", "pol", "use `pool`, `state`, `country`, `limit`, `after`"),
        ("/api/v1/nodes?state=up", "state", "ready, bootstrapping, pending, degraded, failed, suspended"),
        ("/api/v1/drift?kind=node", "kind", "guard, instance"),
        ("/api/v1/events?after=-1", "after", "a number from 0"),
        ("/api/v1/status?pool=eu", "pool", "this takes none"),
        ("/openapi.json?x=1", "x", "this takes none"),
    ] {
        let answer = server.ask_with("GET", path, "if-none-match: *\r\n").await;
        assert_eq!(
            (answer.status, answer.headers["content-type"].as_str()),
            (400, "application/problem+json"),
            "{path}"
        );
        assert!(!answer.headers.contains_key("etag"), "{path}");
        let problem: ProblemDocument = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((problem.status, problem.reason.as_str(), problem.title.as_str()), (400, "query", "Bad Request"));
        assert_eq!(problem.errors[0].parameter, parameter);
        assert!(problem.errors[0].detail.contains(allowed) && problem.detail.contains(allowed), "{path}: {problem:?}");
        assert_eq!(server.ask("HEAD", path).await.status, 400, "{path}");
    }
    let series = "api_requests_total{endpoint=\"/api/v1/nodes\",method=\"GET\",status=\"400\"} 2\n";
    assert!(server.metrics.text(Activity::Idle, noon()).contains(series));
}

#[tokio::test]
async fn every_long_answer_is_sent_compressed_to_whoever_takes_that() {
    let server = big().await;
    for path in ROUTES {
        let (plain, body) = raw(&server, "GET", path, "").await;
        let (packed, bytes) = raw(&server, "GET", path, "accept-encoding: br;q=1.0, gzip;q=0.8\r\n").await;
        let (head, nothing) = raw(&server, "HEAD", path, "accept-encoding: gzip\r\n").await;
        assert!(plain.headers["vary"].contains("accept") && packed.headers["vary"].contains("accept"), "{path}");
        assert_eq!(plain.headers.get("content-encoding"), None, "{path}");
        assert_eq!(nothing, b"", "{path}");
        assert_eq!(packed.headers.get("content-encoding"), head.headers.get("content-encoding"), "{path}");
        if body.len() < 1024 {
            assert_eq!((packed.headers.get("content-encoding"), &bytes), (None, &body), "{path}");
            continue;
        }
        assert_eq!(packed.headers["content-encoding"], "gzip", "{path}");
        assert!(bytes.len() * 2 < body.len(), "{path}: {} of {}", bytes.len(), body.len());
        assert_eq!(packed.headers["content-length"], bytes.len().to_string(), "{path}");
        if path == "/metrics" {
            // The answers before it are counted in it.
            assert!(unpacked(&bytes).contains("# HELP tor_nodes_total "));
            continue;
        }
        assert_eq!(unpacked(&bytes).as_bytes(), body, "{path}");
        assert_eq!(head.headers["content-length"], bytes.len().to_string(), "{path}");
        if let Some(tag) = plain.headers.get("etag") {
            assert_ne!(packed.headers["etag"], *tag, "{path}");
        }
    }
    let (refused, _) = raw(&server, "GET", "/api/v1/nodes", "accept-encoding: gzip;q=0\r\n").await;
    assert_eq!(refused.headers.get("content-encoding"), None);
}

#[tokio::test]
async fn a_compressed_document_that_the_client_has_is_not_sent_again() {
    let server = big().await;
    let (first, _) = raw(&server, "GET", "/api/v1/nodes", "accept-encoding: gzip\r\n").await;
    let tag = &first.headers["etag"];
    let known = format!("accept-encoding: gzip\r\nif-none-match: {tag}\r\n");
    let (again, body) = raw(&server, "GET", "/api/v1/nodes", &known).await;
    assert_eq!((again.status, body.as_slice(), &again.headers["etag"]), (304, &b""[..], tag));
    assert!(again.headers["vary"].contains("accept-encoding"));
}
