//! The page in a browser that is driven: how it looks, how it lives, who can use it, and that it asks nobody else.
//!
//! Pictures of it are left in `target/tmp/pictures`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use exitpool::error::Kind;
use exitpool::observe;
use exitpool::plan::step::{Action, Cause, Object, Step};
use exitpool::rollout::Why;
use exitpool::status::{Coming, Failure, Status};
use serde_json::{Value, json};

use super::page::Served;
use super::page::world::{World, noon, revision};
use crate::support::{is_installed, skip};

/// How long the page may take to follow: far more than it needs, since a test must not depend on the machine's speed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one page.
pub struct Browser {
    driver: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    /// Starts one, where the browser and what drives it are installed.
    pub fn start() -> Option<Self> {
        Self::start_by(Command::new("node"), "127.0.0.1")
    }

    /// Starts one by a command that runs `node`, as inside of a network namespace; it reaches one host alone.
    pub fn start_by(mut node: Command, host: &str) -> Option<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        if !is_installed("node") || !is_installed("chromium") || !here.join("node_modules/.installed").exists() {
            skip("there is no browser to drive (scripts/setup.sh test installs it)");
            return None;
        }
        let which = Command::new("sh").args(["-c", "command -v chromium"]).output().unwrap();
        let chromium = String::from_utf8(which.stdout).unwrap();
        let mut driver = node
            .arg(here.join("drive.mjs"))
            .args([chromium.trim(), host])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (ask, answers) = (driver.stdin.take(), BufReader::new(driver.stdout.take().unwrap()));
        Some(Self { driver, ask, answers })
    }

    /// Lets it do something.
    fn deed(&mut self, deed: &str, mut how: Value) -> Value {
        how["deed"] = deed.into();
        writeln!(self.ask.as_mut().unwrap(), "{how}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer to {how}"));
        assert_eq!(answer["failed"], Value::Null, "{how}");
        answer["done"].take()
    }

    /// Opens a page that is there; `how` has its width and height, the scheme of colours, and whether scripts run.
    pub fn open(&mut self, url: &str, mut how: Value) {
        how["url"] = url.into();
        assert_eq!(self.deed("open", how), 200, "{url}");
    }

    pub fn evaluate(&mut self, expression: &str) -> Value {
        self.deed("evaluate", json!({ "expression": expression }))
    }

    /// Waits until an expression holds in the page; says how long that took.
    pub fn until(&mut self, expression: &str) -> Duration {
        let patience = u64::try_from(PATIENCE.as_millis()).unwrap();
        let took = self.deed("until", json!({ "expression": expression, "patience": patience }));
        Duration::from_secs_f64(took.as_f64().unwrap() / 1000.0)
    }

    fn picture(&mut self, name: &str, whole: bool) {
        let path = pictures().join(format!("{name}.png"));
        self.deed("picture", json!({ "path": path, "whole": whole }));
    }

    /// Checks what holds for every page: it is accessible, nothing in it complains, and it asked this server alone.
    pub fn is_well(&mut self, url: &str) {
        assert_eq!(self.deed("violations", json!({})), json!([]));
        let told = self.deed("told", json!({}));
        let complaints = told["complaints"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
        // A browser says of every page that comes without TLS that it takes one of the headers for nothing.
        let complaints: Vec<&str> = complaints.filter(|it| !it.contains("Cross-Origin-Opener-Policy")).collect();
        assert_eq!(complaints, [""; 0]);
        let requests = told["requests"].as_array().unwrap();
        let others: Vec<&Value> = requests
            .iter()
            .filter(|it| !it.as_str().unwrap().starts_with(url) && !it.as_str().unwrap().starts_with("data:"))
            .collect();
        assert!(others.is_empty() && !requests.is_empty(), "{requests:?}");
    }
}

impl Drop for Browser {
    /// The driver closes its browser when nobody asks it any more.
    fn drop(&mut self) {
        drop(self.ask.take());
        let _ = self.driver.wait();
    }
}

fn pictures() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    std::fs::create_dir_all(&place).unwrap();
    place
}

/// A status with hours behind it.
fn aged(mut world: World) -> Status {
    world.now = noon() - jiff::SignedDuration::from_hours(4);
    let mut status = world.status();
    for step in 0..48_u32 {
        world = world.later(300);
        let names: Vec<String> = world.observed.instances.keys().map(ToString::to_string).collect();
        for (number, name) in (0_u32..).zip(&names) {
            if let observe::Observation::Present(control) = &mut world.instance(name).control {
                Arc::make_mut(control).latency_ms = Some(150 + (number * 37 + step * step * (7 + number % 5)) % 120);
            }
        }
        status = world.status_after(&status);
    }
    status
}

/// A host on which many things are wrong at once.
fn troubled(nodes: u16) -> Status {
    let first = World::healthy(nodes);
    let mut world = first.later(60);
    let object = |name: &str| Object::Instance(name.parse().unwrap());
    *world.instance("eu-3") = observe::Instance::default();
    world.control("eu-4").bootstrap.progress = 45;
    let action = Action::StartInstance { torrc: String::new(), fresh: false };
    world.plan.steps.push(Step { object: object("eu-3"), cause: Cause::Drift, action });
    let message = "tor refuses the torrc of us-0: <b>Unknown option</b>".to_owned();
    world.failures.insert(object("us-0"), Failure { message, kind: Kind::Tor, attempts: 2, retry_at: Some(noon()) });
    world.source.offered = Some(revision('b'));
    world.source.withheld = Some(Why::Manual);
    world.source.coming = Some(Coming { panel: Default::default() });
    world.status_after(&aged(first))
}

const WIDE: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 844);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_well_at_every_size_and_in_light_and_dark() {
    let Some(mut browser) = Browser::start() else { return };
    let statuses = [
        ("none", World::without_revision().status()),
        ("nine", aged(World::healthy(9))),
        ("troubled", troubled(9)),
        ("thousand", aged(World::healthy(1_000))),
    ];
    for (name, status) in statuses {
        let nodes = status.nodes.len();
        let served = Served::at("127.0.0.1:0", status).await;
        let url = format!("http://{}/", served.address);
        for (look, (width, height), scheme) in
            [("light", WIDE, "light"), ("dark", WIDE, "dark"), ("phone", PHONE, "light")]
        {
            browser.open(&url, json!({ "width": width, "height": height, "scheme": scheme }));
            browser.until("document.getElementById('live').textContent === 'live'");
            browser.picture(&format!("{name}-{look}"), nodes < 100);
            assert_eq!(browser.evaluate("document.querySelectorAll('.grid i').length"), nodes, "{name}");
            let overflow = browser.evaluate("document.documentElement.scrollWidth - innerWidth");
            assert!(overflow.as_i64().unwrap() <= 0, "{name} {look} is {overflow} pixels too wide");
            browser.is_well(&url);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_follows_what_happens_and_keeps_the_readers_place() {
    let Some(mut browser) = Browser::start() else { return };
    let mut world = World::healthy(9);
    let served = Served::at("127.0.0.1:0", world.status()).await;
    let url = format!("http://{}/", served.address);
    browser.open(&url, json!({}));
    browser.until("document.getElementById('live').textContent === 'live'");
    browser.evaluate(
        "window.mark = document.querySelector('h1'); document.querySelector('.nodes').closest('.scroll').focus()",
    );

    world = world.later(30);
    world.control("eu-1").circuit_established = false;
    let before = Arc::clone(&served.status.borrow());
    served.status.send(Arc::new(world.status_after(&before))).unwrap();
    browser.until("document.querySelector('h1').textContent.includes('1 node not ready yet')");
    assert_eq!(browser.evaluate("document.querySelectorAll('.grid .b').length"), 1);
    assert_eq!(
        browser.evaluate("document.querySelector('tbody tr th[scope=row] + td.st').textContent"),
        "bootstrapping"
    );
    assert_eq!(browser.evaluate("window.mark === document.querySelector('h1')"), true, "it was not loaded anew");
    assert_eq!(browser.evaluate("document.activeElement.getAttribute('aria-label')"), "Table of nodes");
    let said = "document.getElementById('say').textContent === document.querySelector('h1').textContent";
    assert_eq!(browser.evaluate(said), true, "a screen reader is told the sentence, and nothing else");
    assert_eq!(browser.evaluate("document.title.includes('1 node not ready yet')"), true);
    browser.is_well(&url);

    drop(served);
    browser.until("document.getElementById('live').className === 'lost'");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_can_be_walked_with_the_keyboard_alone() {
    const MOST_STOPS: usize = 60;
    let Some(mut browser) = Browser::start() else { return };
    let served = Served::at("127.0.0.1:0", troubled(9)).await;
    browser.open(&format!("http://{}/", served.address), json!({}));
    let mut stops = Vec::new();
    for _ in 0..MOST_STOPS {
        browser.deed("press", json!({ "key": "Tab" }));
        let stop = browser.evaluate(
            "(({activeElement: it}) => it === document.body ? null : [it.textContent.slice(0, 30) || it.id, \
             getComputedStyle(it).outlineStyle, it.getBoundingClientRect().left >= 0])(document)",
        );
        if stop.is_null() {
            break;
        }
        let [name, outline, on_screen] = stop.as_array().unwrap().as_slice() else { panic!("{stop}") };
        assert!(outline == "solid" && on_screen == true, "the focus cannot be seen: {stop}");
        stops.push(name.as_str().unwrap().to_owned());
    }
    assert!(stops.len() < MOST_STOPS, "the focus is caught: {stops:?}");
    assert_eq!(stops[0], "Skip to the content");
    for link in ["pause", "eu", "us", "api/v1/events", "status", "metrics"] {
        assert!(stops.iter().any(|stop| stop == link), "{link} in {stops:?}");
    }
    let headings = "[...document.querySelectorAll('h1,h2,h3')].map(it => +it.tagName[1])";
    let levels: Vec<i64> = serde_json::from_value(browser.evaluate(headings)).unwrap();
    assert!(levels[0] == 1 && levels.windows(2).all(|pair| pair[1] - pair[0] <= 1 && pair[1] > 1), "{levels:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_script_the_page_says_the_same_and_loads_itself_again() {
    let Some(mut browser) = Browser::start() else { return };
    let served = Served::at("127.0.0.1:0", troubled(9)).await;
    let url = format!("http://{}/", served.address);
    let text = "document.querySelector('main').innerText";
    browser.open(&url, json!({}));
    let with = browser.evaluate(text);
    browser.open(&url, json!({ "script": false }));
    assert_eq!(browser.evaluate(text), with);
    assert_eq!(browser.evaluate("document.getElementById('live').textContent"), "every 5 s");
    assert_eq!(browser.evaluate("document.querySelector('noscript meta[http-equiv=refresh]').content"), "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_nodes_are_read_page_by_page_and_pool_by_pool() {
    let Some(mut browser) = Browser::start() else { return };
    let served = Served::at("127.0.0.1:0", World::healthy(1_000).status()).await;
    let url = format!("http://{}/", served.address);
    browser.open(&url, json!({}));
    browser.deed("click", json!({ "selector": "nav.turn a[rel=next]" }));
    browser.until("document.querySelector('nav.turn span')?.textContent === '101 to 200 of 1000 nodes'");
    browser.deed("click", json!({ "selector": "a[href='?pool=us']" }));
    browser.until("document.querySelector('nav.turn span')?.textContent === '1 to 100 of 333 nodes'");
    assert_eq!(browser.evaluate("document.querySelectorAll('.grid i').length"), 333);
    assert_eq!(browser.evaluate("document.querySelectorAll('.nodes tbody tr').length"), 100);
    browser.picture("pool-light", false);
    browser.is_well(&url);
}
