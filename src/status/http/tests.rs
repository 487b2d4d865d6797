//! The server over real sockets, with hand-made statuses.

use std::collections::BTreeMap;

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::status::Activity;
use crate::status::tests::world::{World, noon};

/// The longest that a test waits for anything; nothing is ever this slow.
const DEADLINE: Duration = Duration::from_secs(20);

const TEST_LIMITS: Limits = Limits {
    connections: 16,
    of_one: 4,
    streams: 1,
    header_timeout: Duration::from_secs(10),
    stall: Duration::from_secs(10),
    drain: Duration::from_millis(200),
};

const ROUTES: [&str; 9] = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/status",
    "/api/v1/nodes",
    "/api/v1/drift",
    "/api/v1/events",
    "/openapi.json",
];

struct Server {
    address: SocketAddr,
    status: watch::Sender<Arc<Status>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(status: Status, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(Arc::new(status));
        let metrics = Arc::new(Metrics::new());
        let stop = CancellationToken::new();
        let shared = Shared { metrics: Arc::clone(&metrics), ..shared(receiver) };
        let task = tokio::spawn(serve_within(listener.into(), shared, limits, stop.clone()));
        Self { address, status: sender, metrics, stop, task }
    }

    async fn healthy() -> Self {
        Self::start(World::healthy(3).status(), TEST_LIMITS).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends one request and reads the answer to its end.
    async fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, "").await
    }

    /// The same, with more headers.
    async fn ask_with(&self, method: &str, path: &str, more: &str) -> Answer {
        let mut stream = self.connect().await;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        within(stream.read_to_string(&mut text)).await.unwrap();
        Answer::parse(&text)
    }

    async fn stream(&self, more: &str) -> BufReader<TcpStream> {
        let mut stream = self.connect().await;
        let request = format!(
            "GET /api/v1/events HTTP/1.1\r\nhost: x\r\naccept: text/html, text/event-stream;q=0.9\r\n{more}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        BufReader::new(stream)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { status, headers: lines.filter_map(header).collect(), body: body.to_owned() }
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it should not take this long")
}

/// Reads lines until one holds a text, and returns that line.
async fn line_with(stream: &mut BufReader<TcpStream>, text: &str) -> String {
    within(async {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "the stream ended before `{text}`");
        }
        line
    })
    .await
}

#[tokio::test]
async fn every_route_answers_get_and_head_and_nothing_else() {
    let server = Server::healthy().await;
    for route in ROUTES {
        let get = server.ask("GET", route).await;
        assert_eq!(get.status, 200, "GET {route}: {}", get.body);
        assert!(!get.body.is_empty(), "GET {route}");
        let head = server.ask("HEAD", route).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "HEAD {route}");
        assert_eq!(head.headers["content-type"], get.headers["content-type"], "HEAD {route}");
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
            // CONNECT names a host and no path, so it reaches no route.
            let expected = if method == "CONNECT" { 400..=405 } else { 405..=405 };
            let answer = server.ask(method, route).await;
            assert!(expected.contains(&answer.status), "{method} {route}: {}", answer.status);
            if answer.status == 405 {
                assert_eq!(answer.headers["allow"], "GET, HEAD", "{method} {route}");
                assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {route}");
                assert!(answer.body.contains("\"status\":405"), "{method} {route}: {}", answer.body);
            }
        }
    }
}

#[tokio::test]
async fn head_tells_the_length_of_what_get_sends() {
    let server = Server::healthy().await;
    let get = server.ask("GET", "/api/v1/nodes").await;
    let head = server.ask("HEAD", "/api/v1/nodes").await;
    assert_eq!(head.headers["content-length"], get.body.len().to_string());
}

#[tokio::test]
async fn what_is_not_a_route_is_not_found() {
    let server = Server::healthy().await;
    for path in [
        "/export",
        "/export/",
        "/export/xml",
        "/export/txt/",
        "/openapi.yaml",
        "/api/v1",
        "/api/v1/status/",
        "//",
        "/../etc/passwd",
        "/favicon.ico",
    ] {
        for method in ["GET", "HEAD", "POST"] {
            assert_eq!(server.ask(method, path).await.status, 404, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_of_a_careful_site() {
    let server = Server::healthy().await;
    for (method, path) in ROUTES.map(|route| ("GET", route)).into_iter().chain([("GET", "/nothing"), ("POST", "/")]) {
        let headers = server.ask(method, path).await.headers;
        assert_eq!(headers["x-content-type-options"], "nosniff", "{method} {path}");
        assert_eq!(headers["x-frame-options"], "DENY", "{method} {path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{method} {path}");
        let is_tagged = headers.contains_key("etag");
        let cache = if is_tagged { "private, no-cache" } else { "no-store" };
        assert_eq!(headers["cache-control"], cache, "{method} {path}");
        assert_eq!(is_tagged, path.starts_with("/api/") || path.starts_with("/openapi"), "{method} {path}");
        assert!(headers["content-security-policy"].starts_with("default-src 'none'; style-src 'sha256-"));
    }
}

#[tokio::test]
async fn the_documents_are_what_the_status_says() {
    let server = Server::healthy().await;
    let body = server.ask("GET", "/api/v1/status").await.body;
    let document: crate::status::wire::StatusDocument = serde_json::from_str(&body).unwrap();
    let expected =
        crate::status::wire::StatusDocument::of(&World::healthy(3).status(), Some("127.0.0.1".parse().unwrap()));
    assert_eq!(document, expected);
    assert!(expected.client.unwrap().whitelisted);
    let mut world = World::healthy(3);
    world.control("eu-1").circuit_established = false;
    server.status.send(Arc::new(world.status())).unwrap();
    let body = server.ask("GET", "/api/v1/nodes").await.body;
    let nodes: crate::status::wire::NodesDocument = serde_json::from_str(&body).unwrap();
    let states: Vec<&str> = nodes.nodes.iter().map(|node| node.state.as_str()).collect();
    assert_eq!(states, ["ready", "bootstrapping", "ready"]);
}

#[tokio::test]
async fn what_the_client_has_already_is_not_sent_again() {
    let server = Server::healthy().await;
    for path in ["/api/v1/status", "/api/v1/nodes", "/api/v1/drift", "/api/v1/events", "/openapi.json"] {
        let first = server.ask("GET", path).await;
        let tag = first.headers["etag"].clone();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let answer = server.ask_with("GET", path, &format!("if-none-match: {known}\r\n")).await;
            assert_eq!(
                (answer.status, answer.body.as_str(), &answer.headers["etag"]),
                (304, "", &tag),
                "{path} {known}"
            );
        }
        let answer = server.ask_with("GET", path, "if-none-match: \"other\"\r\n").await;
        assert_eq!((answer.status, &answer.body), (200, &first.body), "{path}");
    }
    let tag = server.ask("GET", "/api/v1/nodes").await.headers["etag"].clone();
    let mut world = World::healthy(3);
    world.control("eu-1").circuit_established = false;
    server.status.send(Arc::new(world.status())).unwrap();
    let changed = server.ask_with("GET", "/api/v1/nodes", &format!("if-none-match: {tag}\r\n")).await;
    assert_eq!(changed.status, 200);
    let page = server.ask_with("GET", "/", "if-none-match: *\r\n").await;
    assert_eq!(page.status, 200, "the page has no tag");
}

#[tokio::test]
async fn readyz_waits_for_the_first_pass() {
    let server = Server::start(World::without_revision().status(), TEST_LIMITS).await;
    assert_eq!(server.ask("GET", "/readyz").await.status, 503);
    assert_eq!(server.ask("GET", "/healthz").await.status, 200);
    server.status.send(Arc::new(World::healthy(3).status())).unwrap();
    assert_eq!(server.ask("GET", "/readyz").await.status, 200);
}

#[tokio::test]
async fn f3_healthz_tells_a_pass_that_hangs() {
    let server = Server::healthy().await;
    let status = World::healthy(3).status();
    let since = |seconds| noon() - jiff::SignedDuration::from_secs(seconds);
    server.status.send(Arc::new(status.passing(since(599)))).unwrap();
    assert_eq!(server.ask("GET", "/healthz").await.status, 200);
    server.status.send(Arc::new(status.passing(since(601)))).unwrap();
    assert!(server.ask("GET", "/metrics").await.body.contains("\nexitpool_unfinished_work_seconds 601\n"));
    let answer = server.ask("GET", "/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "hung: the pass under way began 601 s ago\n"));
    let old = World { now: since(661), ..World::healthy(3) };
    server.status.send(Arc::new(old.status())).unwrap();
    let answer = server.ask("GET", "/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "hung: the last look was 661 s ago\n"));
}

#[tokio::test]
async fn a_stream_tells_what_happened_and_what_happens_and_ends_with_the_server() {
    let server = Server::healthy().await;
    let mut stream = server.stream("").await;
    line_with(&mut stream, "text/event-stream").await;
    line_with(&mut stream, "is in force").await;
    let mut world = World::healthy(3).later(30);
    world.control("eu-1").circuit_established = false;
    let before = Arc::clone(&server.status.borrow());
    server.status.send(Arc::new(world.status_after(&before))).unwrap();
    let line = line_with(&mut stream, "is bootstrapping: ").await;
    let event: crate::status::wire::EventDocument =
        serde_json::from_str(line.trim_start_matches("data:").trim()).unwrap();
    assert_eq!(event.message, "is bootstrapping: it has no circuit yet");
    server.stop.cancel();
    let mut rest = String::new();
    within(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream ends in order: {rest:?}");
    within(server.task).await.unwrap();
}

#[tokio::test]
async fn a_client_that_comes_back_gets_only_what_it_missed() {
    let server = Server::healthy().await;
    let ids: Vec<u64> = server.status.borrow().events.iter().map(|event| event.id).collect();
    let seen = ids[ids.len() - 2];
    let mut stream = server.stream(&format!("last-event-id: {seen}\r\n")).await;
    let line = line_with(&mut stream, "id:").await;
    assert_eq!(line.trim(), format!("id:{}", ids[ids.len() - 1]));
}

#[tokio::test]
async fn streams_are_bounded_and_their_slots_come_back() {
    let server = Server::healthy().await;
    let mut first = server.stream("").await;
    line_with(&mut first, "is in force").await;
    let mut second = server.stream("").await;
    line_with(&mut second, "503").await;
    drop(first);
    within(async {
        loop {
            let mut again = server.stream("").await;
            let mut line = String::new();
            again.read_line(&mut line).await.unwrap();
            if line.contains("200") {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_when_its_client_is_no_longer_allowed() {
    let world = World::healthy(3);
    let address = "127.0.0.9".parse().unwrap();
    let peer = Peer { address, connected: address, reached: "127.0.0.1".parse().unwrap() };
    let outsider = Peer { address: "203.0.113.9".parse().unwrap(), ..peer };
    for (peer, allowed) in [(peer, true), (outsider, false)] {
        let (_sender, status) = watch::channel(Arc::new(world.status()));
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let subscription = events::Subscription {
            status,
            peer,
            seen: 0,
            query: Default::default(),
            stop: CancellationToken::new(),
            slot,
        };
        let mut stream = std::pin::pin!(events::stream(subscription));
        assert_eq!(within(futures_util::StreamExt::next(&mut stream)).await.is_some(), allowed);
    }
}

#[tokio::test]
async fn a_head_that_is_not_finished_is_cut_off() {
    let limits = Limits { header_timeout: Duration::from_millis(50), ..TEST_LIMITS };
    let server = Server::start(World::healthy(3).status(), limits).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow").await.unwrap();
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = Server::healthy().await;
    let mut stream = server.connect().await;
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(2 * MAX_HEADER_BYTES));
    // The server may close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}

#[tokio::test]
async fn the_server_stops_while_connections_are_open() {
    let server = Server::healthy().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut idle = BufReader::new(idle);
    line_with(&mut idle, "200 OK").await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HT").await.unwrap();
    server.stop.cancel();
    within(server.task).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn one_connection_waits_for_the_slot_of_another() {
    let server = Server::start(World::healthy(3).status(), Limits { connections: 1, ..TEST_LIMITS }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = BufReader::new(first);
    line_with(&mut first, "200 OK").await;
    let mut second = Box::pin(server.ask("GET", "/readyz"));
    assert!(futures_util::FutureExt::now_or_never(&mut second).is_none());
    drop(first);
    assert_eq!(second.await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_answer() {
    let server = Server::healthy().await;
    server.ask("GET", "/api/v1/status").await;
    server.ask("POST", "/api/v1/status").await;
    server.ask("GET", "/secret?token=abc").await;
    let text = server.metrics.text(Activity::Idle, noon());
    for series in [
        "api_requests_total{endpoint=\"/api/v1/status\",method=\"GET\",status=\"200\"} 1",
        "api_requests_total{endpoint=\"/api/v1/status\",method=\"other\",status=\"405\"} 1",
        "api_requests_total{endpoint=\"other\",method=\"GET\",status=\"404\"} 1",
        "api_request_duration_seconds_count 3",
    ] {
        assert!(text.contains(series), "{series}");
    }
    assert!(!text.contains("secret") && !text.contains("abc"));
}

/// What the server reads, of a status alone.
fn shared(status: watch::Receiver<Arc<Status>>) -> Shared {
    Shared {
        status,
        metrics: Arc::default(),
        visitors: Arc::default(),
        gate: Arc::default(),
        desk: Arc::default(),
        tls: None,
        now: noon,
    }
}

/// What the routes know, without a socket before them.
fn context(status: watch::Receiver<Arc<Status>>, streams: usize) -> Arc<Context> {
    Context::of(shared(status), streams, CancellationToken::new())
}

#[tokio::test]
async fn whoever_is_not_on_the_list_is_refused_on_every_route() {
    let (_sender, status) = watch::channel(Arc::new(World::healthy(3).status()));
    let service = TowerToHyperService::new(warp::service(routes::routes(context(status, 1))));
    let address = "203.0.113.9".parse().unwrap();
    let peer = Peer { address, connected: address, reached: "192.0.2.10".parse().unwrap() };
    for path in ROUTES.into_iter().chain(["/nothing"]) {
        for method in ["GET", "HEAD", "POST"] {
            let request = hyper::Request::builder().method(method).uri(path).extension(peer);
            let response = service.call(request.body(String::new()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 403, "{method} {path}");
        }
    }
}

/// The lockout guard asks the firewall for these, and the firewall knows connections.
#[tokio::test]
async fn readers_behind_a_proxy_are_remembered_as_the_proxy_and_never_as_this_host() {
    let mut world = World::healthy(3);
    let access = &mut world.desired.as_mut().unwrap().access;
    access.panel.insert("198.51.100.7/32".parse().unwrap());
    access.trusted_proxies = ["127.0.0.1/32".parse().unwrap(), "10.0.0.1/32".parse().unwrap()].into();
    let (_sender, status) = watch::channel(Arc::new(world.status()));
    let visitors = Arc::new(Visitors::default());
    let shared = Shared { visitors: Arc::clone(&visitors), ..shared(status) };
    let context = Context::of(shared, 1, CancellationToken::new());
    let service = TowerToHyperService::new(warp::service(routes::routes(context)));
    let mut seen = Vec::new();
    for (connected, client) in [("127.0.0.1", "198.51.100.7"), ("10.0.0.1", "198.51.100.7"), ("10.0.0.1", "192.0.2.77")]
    {
        let address = connected.parse().unwrap();
        let peer = Peer { address, connected: address, reached: "192.0.2.10".parse().unwrap() };
        let request = hyper::Request::builder().uri("/api/v1/status").header("x-forwarded-for", client).extension(peer);
        let response = service.call(request.body(String::new()).unwrap()).await.unwrap();
        seen.push((response.status().as_u16(), visitors.lately(noon()).len()));
    }
    assert_eq!(seen, [(200, 0), (200, 1), (403, 1)]);
    assert_eq!(visitors.lately(noon()).first().unwrap().address.to_string(), "10.0.0.1");
}

mod fuzz;
mod lists;
mod sending;
