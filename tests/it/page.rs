//! The page in a real browser: what it shows, that it obeys its own policy, and that it asks nobody else.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use exitpool::error::Kind;
use exitpool::plan::step::{Action, Cause, Object, Step};
use exitpool::status::http::{Shared, serve};
use exitpool::status::{Activity, Failure, Fault, Metrics, SourceError, Status};
use exitpool::{desired, export, firewall, health, observe, plan, rotation, status, tor};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[path = "world.rs"]
pub mod world;

use world::{World, noon, revision};

/// The longest that a browser may take.
const DEADLINE: Duration = Duration::from_secs(90);

/// A server with a hand-made status, which stops when it is dropped.
pub struct Served {
    pub address: SocketAddr,
    pub status: watch::Sender<Arc<Status>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Served {
    pub async fn at(address: &str, status: Status) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(Arc::new(status));
        let metrics = Arc::new(Metrics::new());
        let stop = CancellationToken::new();
        let shared = Shared {
            status: receiver,
            metrics: Arc::clone(&metrics),
            visitors: Arc::default(),
            gate: Arc::default(),
            desk: Arc::default(),
            tls: None,
            now: noon,
        };
        tokio::spawn(serve(listener, shared, stop.clone()));
        Self { address, status: sender, metrics, stop }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Finds a Chromium; says why the test is skipped where there is none.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let candidates = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    let found = candidates.into_iter().find(|candidate| candidate.is_file());
    if found.is_none() {
        crate::support::skip("there is no Chromium in PATH (Debian: apt install chromium)");
    }
    found
}

/// What a browser made of a page.
struct Loaded {
    /// The document, as it stands after everything was loaded.
    document: String,
    /// What the browser wrote on its standard error, with the page's console.
    complaints: String,
    /// What the page asked for, by address; what the browser asks for itself is not in here.
    requests: BTreeSet<String>,
}

/// Loads a page as a browser does. No name is resolved, so nothing leaves this host.
async fn load(browser: PathBuf, address: SocketAddr, path: &str) -> Loaded {
    let profile = tempfile::tempdir().unwrap();
    let log = profile.path().join("net.json");
    let child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--log-level=0", "--dump-dom"])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--log-net-log={}", log.display()))
        .arg(format!("http://{address}{path}"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, child).await.expect("the browser ends").unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaints}");
    Loaded {
        document: String::from_utf8(output.stdout).unwrap(),
        complaints,
        requests: requests_of(address, &std::fs::read_to_string(log).unwrap()),
    }
}

/// Picks the page's own requests from a browser's network log, which has one event a line.
fn requests_of(address: SocketAddr, log: &str) -> BTreeSet<String> {
    let origin = format!("http://{address}");
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim_end_matches(',')).ok());
    let request = |event: Value| {
        // Only a request has a method; sockets that are opened ahead of one are logged with an address as well.
        event["params"]["method"].as_str()?;
        let url = event["params"]["url"].as_str()?.to_owned();
        (event["params"]["initiator"] == origin.as_str() || url.starts_with(&origin)).then_some(url)
    };
    events.filter_map(request).collect()
}

/// Serves a status, loads its page, and returns the document, after the checks that hold for every page.
async fn document(status: Status) -> Option<String> {
    let browser = chromium()?;
    let served = Served::at("127.0.0.1:0", status).await;
    let loaded = load(browser, served.address, "/?refresh=off").await;
    assert!(!loaded.complaints.contains("Content Security Policy"), "{}", loaded.complaints);
    assert_eq!(loaded.requests, [format!("http://{}/?refresh=off", served.address)].into());
    assert_one_request(&served.metrics);
    Some(loaded.document)
}

/// The page is one request: nothing is loaded after it, not even an icon.
fn assert_one_request(metrics: &Metrics) {
    let text = metrics.text(Activity::Idle, noon());
    let asked: Vec<&str> =
        text.lines().filter(|line| line.starts_with("api_requests_total{") && !line.ends_with(" 0")).collect();
    assert_eq!(asked, ["api_requests_total{endpoint=\"/\",method=\"GET\",status=\"200\"} 1"]);
}

fn assert_shows(document: &str, texts: &[&str]) {
    for text in texts {
        assert!(document.contains(text), "the page does not show `{text}`:\n{document}");
    }
}

/// Shows that the check would see a page that asks others, and one whose policy is broken.
#[tokio::test]
async fn a_page_that_asks_others_would_be_seen() {
    let Some(browser) = chromium() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let page = "<style>p{color:red}</style><p>x<img src=http://elsewhere.example/x.png>";
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-security-policy: style-src 'none'\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len(),
    );
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The request is read before the answer, or closing would reset the connection.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let loaded = load(browser, address, "/").await;
    server.abort();
    assert!(loaded.requests.contains("http://elsewhere.example/x.png"), "{:?}", loaded.requests);
    assert!(loaded.complaints.contains("Content Security Policy"), "{}", loaded.complaints);
}

#[tokio::test]
async fn a_browser_shows_a_healthy_host() {
    let Some(document) = document(World::healthy(9).status()).await else { return };
    assert_shows(&document, &["The host matches main@sha1:aaaaaaaaaaaa.</h1>", "9 / 9", "in sync", "eu-5", "us-2"]);
    assert_eq!(document.matches("<th scope=\"row\">eu-").count(), 6, "every node has a row");
}

#[tokio::test]
async fn a_browser_shows_a_broken_host() {
    let first = World::healthy(9);
    let mut world = first.later(60);
    let object = |name: &str| Object::Instance(name.parse().unwrap());
    *world.instance("eu-3") = observe::Instance::default();
    world.control("eu-4").bootstrap.progress = 45;
    let action = Action::StartInstance { torrc: String::new(), fresh: false };
    world.plan.steps.push(Step { object: object("eu-3"), cause: Cause::Drift, action });
    let message = "tor refuses the torrc of us-0: <b>Unknown option</b>".to_owned();
    world.failures.insert(object("us-0"), Failure { message, kind: Kind::Tor, attempts: 2, retry_at: Some(noon()) });
    let Some(document) = document(world.status_after(&first.status())).await else { return };
    assert_shows(
        &document,
        &[
            "Node us-0 failed: tor refuses the torrc of us-0: &lt;b&gt;Unknown option&lt;/b&gt;.</h1>",
            "+ node eu-3 will be started: its tor is not running",
            "bootstrapping, 45 %: Done",
            "6 / 9",
        ],
    );
}

#[tokio::test]
async fn a_browser_shows_a_refused_revision() {
    let mut world = World::healthy(3);
    world.source.offered = Some(revision('b'));
    let message = "pool.yaml:7:5: pools[0].countries[1]: `uk` is not a country".to_owned();
    world.source.error = Some(SourceError { fault: Fault::Malformed, message });
    let Some(document) = document(world.status()).await else { return };
    assert_shows(&document, &["Refused: pool.yaml:7:5", "main@sha1:aaaaaaaaaaaa stays in force.", &"b".repeat(40)]);
}

#[tokio::test]
async fn a_browser_shows_a_host_without_a_revision_and_one_with_300_nodes() {
    let Some(empty) = document(World::without_revision().status()).await else { return };
    assert_shows(&empty, &["No revision is in force yet.</h1>", "Unknown: no revision is in force."]);
    let Some(full) = document(World::healthy(300).status()).await else { return };
    assert_eq!(full.matches("title=\"eu-").count() + full.matches("title=\"us-").count(), 300);
}
